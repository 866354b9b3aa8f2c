// SPDX-License-Identifier: Apache-2.0
//
// QEMU's migration capabilities and parameters as we need them, and put back as they were.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "vmm-adapters/qemu/qmp_client.h"

namespace godwit::qemu {

enum class Side : uint8_t { kSource = 1, kDestination = 2 };

class MigrationSettings {
 public:
  // Sets what the side needs and remembers what was there.
  static Result<MigrationSettings> apply(QmpClient& client, Side side, Deadline deadline);

  // For a migration that QEMU runs itself, with its RAM in the stream: all capabilities off that
  // are not needed, and limits that are not the defaults.
  struct Limits {
    std::optional<int64_t> max_bandwidth_bytes_per_s;
    std::optional<int64_t> downtime_limit_ms;
  };
  static Result<MigrationSettings> apply_for_channel(QmpClient& client, Side side,
                                                     const Limits& limits, Deadline deadline);

  // The same, with pages of the source's in so many channels beside the stream, from where they can
  // be taken by their headers: uncompressed, and pages that are zero left to the stream. Afterwards
  // use_one_channel() puts this back, whether it went well or not.
  Status use_channels(QmpClient& client, size_t count, Deadline deadline);
  Status use_one_channel(QmpClient& client, Deadline deadline);

  // After apply_for_channel(): QEMU may be told to go over to post-copy. Errors: also that this
  // host cannot do it.
  Status allow_post_copy(QmpClient& client, Side side, const Limits& limits, Deadline deadline);

  // Puts everything back. Idempotent.
  Status restore(QmpClient& client, Deadline deadline);

  // The guest has gone or QEMU ends: there is nothing to put back.
  void forget();

  // Whether QEMU leaves out the description of its devices because we said so. Unlike a QEMU that
  // does by itself, as for machine types before 2.3, the destination's expects one then.
  bool description_left_out() const { return description_left_out_; }

 private:
  MigrationSettings() = default;

  Status switch_capabilities(QmpClient& client, const std::function<bool(std::string_view)>& wanted,
                             Deadline deadline);
  // Those that this QEMU has.
  Status set_parameters(QmpClient& client, const Json& wanted, Deadline deadline);
  Status set_or_restore(QmpClient& client, const Json& wanted, Deadline deadline);

  Json capabilities_before_ = Json::array();
  Json parameters_before_ = Json::object();
  bool description_left_out_ = false;
};

// Behind its devices QEMU sends a description of them, for tools that take streams apart: 100 KB of
// JSON, which a destination reads past. The source leaves it out of a machine that would send it:
// of the 3.4 ms that saving takes QEMU 10.0 it is 1.5.
//
// Sends it again, whoever left it out.
Status send_description(QmpClient& client, Deadline deadline);

// The destination waits for a description all the same. This is an empty one, to go behind a stream
// that has none.
inline constexpr std::array<std::byte, 5> kEmptyDescription{std::byte{0x06}};

// Hands QEMU one end of a socket pair under the name kChannelName and returns the other. "fd:" with
// that name is then a migration URI. No path in any file system, and nobody else can connect.
Result<UniqueFd> give_channel(QmpClient& client, Deadline deadline);

inline constexpr const char* kChannelName = "godwit";
inline constexpr const char* kChannelUri = "fd:godwit";

// Whether a migration with this status is over, or never was.
bool is_settled(std::string_view status);

// Waits for the migration's status to be one of the settled ones, and returns it.
Result<std::string> wait_settled(QmpClient& client, Deadline deadline);

// The status as query-migrate tells it, and the error's description where there is one.
struct MigrationStatus {
  std::string status;
  std::string error;
};
Result<MigrationStatus> query_migration(QmpClient& client, Deadline deadline);

// QEMU announces the end of a migration a moment before its run state leaves "finish-migrate", in
// which it refuses to go on; there is no event for that. Returns the run state after it.
Result<std::string> wait_run_state_after_migration(QmpClient& client, Deadline deadline);

// Returns when nothing of a migration that is settled is left in QEMU: before multifd is turned
// off.
Status wait_cleaned_up(QmpClient& client, Deadline deadline);

// Makes QEMU's migration be over, one way or the other: cancels it where it is not, or takes the
// guest back. That may be told to go on then. Requires, in post-copy: as take_back().
//
// `break_stream` is called when QEMU bears that the stream it migrates into ends, and before we
// wait for what comes of that: where it was told to go over to post-copy, and is not there yet,
// 10.0 does not. It stays in the state "device" then for ever, with a guest that nobody can make
// run (migration.c, postcopy_start(): what fails there sets "failed" in place of
// "postcopy-active", and finds "device"). Somebody has to read what it writes until then. Null:
// the stream is broken already.
Status settle_migration(QmpClient& client, Deadline deadline,
                        const std::function<void()>& break_stream = nullptr);

}  // namespace godwit::qemu
