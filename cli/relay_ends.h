// SPDX-License-Identifier: Apache-2.0
//
// What `godwit relay` carries, at each of its two ends: a stream that goes out, and one that comes
// in.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "cli/agent_options.h"
#include "cli/relay_streams.h"
#include "engine/base/result.h"
#include "engine/base/unique_fd.h"
#include "transports/control/control_listener.h"

namespace godwit::qemu {
class RelayedMultifd;
}

namespace godwit::cli {

// In paths of the destination: the name that `relay listen --guest` says.
inline constexpr char kGuestPlace[] = "{guest}";

struct RelayCliOptions {
  AgentOptions agent;
  std::string unix_path;
  std::string qmp_path;
  std::string guest;
  uint32_t limit = 0;   // of migrations at once; 0: none
  std::string address;  // --to, --listen
  std::string lane_listen;
  std::string tls_hostname;
  bool once = false;
};

// Streams that go out: one after the other, since those of one migration belong together.
class OutgoingStreams {
 public:
  // `options` outlives this and every stream.
  OutgoingStreams(const RelayCliOptions& options, const ControlSecurity& security,
                  int interrupt_fd);

  // Returns once the other side has somewhere to take what `socket` says.
  Result<std::unique_ptr<RelayStreams::Stream>> open(UniqueFd socket, uint64_t number);

 private:
  Result<std::unique_ptr<RelayStreams::Stream>> open_channel(UniqueFd socket, std::string name);

  const RelayCliOptions& options_;
  const ControlSecurity security_;
  const int interrupt_fd_;
  // Of a migration whose pages are placed, and of whose multifd channels some are still to come:
  // shared with its streams, of which any may be the last.
  std::shared_ptr<qemu::RelayedMultifd> multifd_;
};

// `migrations` counts those that come in at the moment. Both outlive the stream.
Result<std::unique_ptr<RelayStreams::Stream>> open_incoming_stream(
    std::unique_ptr<ControlConnection> control, uint64_t number, const RelayCliOptions& options,
    std::atomic<uint32_t>& migrations);

// `path` with the guest's name in its place. Errors: kRefused for a name that is no file's.
Result<std::string> path_for_guest(const std::string& path, const std::string& guest);

}  // namespace godwit::cli
