// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/channel_ram.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "engine/relay/relay_options.h"
#include "vmm-adapters/linux/shared_mapping.h"
#include "vmm-adapters/linux/unix_stream.h"
#include "vmm-adapters/qemu/json_access.h"
#include "vmm-adapters/qemu/refusals.h"

namespace godwit::qemu {
namespace {

// With this, pages come by multifd channels: by those alone, but for zero pages.
constexpr const char* kMultifdPages = "multifd";
// With these, pages come by other ways than records and packets, or QEMU gives memory back on its
// own. The destination's QEMU must have the same.
constexpr std::array kOtherWays = {"postcopy-ram", "postcopy-preempt",    "compress",
                                   "x-colo",       "background-snapshot", "mapped-ram"};
// With this, a page sent from memory, which may be newer than that in the stream, is a wrong base
// for the next difference.
constexpr const char* kDifferences = "xbzrle";

// With this, pages come in post-copy, too, as requested from the destination. What goes before may
// be of any kind.
constexpr const char* kPostCopy = "postcopy-ram";
// With these, the source's memory is not what the destination misses, once the guest stands still:
// QEMU gives back what it has sent; or pages come by channels that nobody looks into.
constexpr std::array kNotInMemory = {"release-ram", "multifd", "x-colo", "background-snapshot",
                                     "mapped-ram"};

using Capabilities = std::vector<std::string>;

// Those that are on.
Result<Capabilities> query_capabilities(QmpClient& client, Deadline deadline) {
  ASSIGN_OR_RETURN(const Json states, client.execute("query-migrate-capabilities", {}, deadline));
  Capabilities on;
  for (const Json& capability : states) {
    if (is_true(capability, "state")) on.push_back(string_or(capability, "capability", ""));
  }
  return on;
}

template <typename Names>
Status refuse(const Capabilities& on, const Names& names) {
  for (const std::string& name : on) {
    if (std::ranges::find(names, name) != std::end(names))
      return fail(Errc::kRefused, "QEMU's capability {} is on", name);
  }
  return {};
}

bool has(const Capabilities& on, const char* name) {
  return std::ranges::find(on, name) != on.end();
}

// How many channels there will be; 0 where multifd is off.
Result<size_t> check_multifd_channels(QmpClient& client, const Capabilities& on,
                                      Deadline deadline) {
  if (!has(on, kMultifdPages)) return 0;
  RETURN_IF_ERROR(check_followed_devices(client, deadline));
  ASSIGN_OR_RETURN(const Json parameters, client.execute("query-migrate-parameters", {}, deadline));
  if (const std::string method = string_or(parameters, "multifd-compression", "none");
      method != "none")
    return fail(Errc::kRefused, "multifd is on with compression {}", method);
  const int64_t channels = integer_or(parameters, "multifd-channels", 0);
  if (channels < 1 || channels > relay::kPageLanesMax)
    return fail(Errc::kRefused, "multifd has {} channels, and pages of 1 to {} can be placed",
                channels, relay::kPageLanesMax);
  return static_cast<size_t>(channels);
}

}  // namespace

Result<GuestRam> open_destination_ram(const std::string& qmp_path, MultifdPages multifd,
                                      Deadline deadline) {
  ASSIGN_OR_RETURN(const std::unique_ptr<QmpClient> client, QmpClient::connect(qmp_path, deadline));
  ASSIGN_OR_RETURN(const pid_t pid, client->peer_pid());
  ASSIGN_OR_RETURN(const Capabilities on, query_capabilities(*client, deadline));
  RETURN_IF_ERROR(refuse(on, kOtherWays));
  if (multifd == MultifdPages::kLeft) RETURN_IF_ERROR(refuse(on, std::array{kMultifdPages}));
  ASSIGN_OR_RETURN(GuestRam ram, GuestRam::open(*client, pid, RamChoice::kShared, deadline));
  RETURN_IF_ERROR(map_present_pages(ram.memory()));
  return ram;
}

Result<SourceRam> open_source_ram(const std::string& qmp_path, Deadline deadline) {
  ASSIGN_OR_RETURN(const std::unique_ptr<QmpClient> client, QmpClient::connect(qmp_path, deadline));
  ASSIGN_OR_RETURN(const pid_t pid, client->peer_pid());
  ASSIGN_OR_RETURN(const Capabilities on, query_capabilities(*client, deadline));
  const bool post_copy = has(on, kPostCopy);
  size_t channels = 0;
  if (post_copy) {
    RETURN_IF_ERROR(refuse(on, kNotInMemory));
  } else {
    RETURN_IF_ERROR(refuse(on, kOtherWays));
    RETURN_IF_ERROR(refuse(on, std::array{kDifferences}));
    ASSIGN_OR_RETURN(channels, check_multifd_channels(*client, on, deadline));
  }
  ASSIGN_OR_RETURN(GuestRam ram, GuestRam::open(*client, pid, RamChoice::kShared, deadline));
  return SourceRam{.ram = std::move(ram),
                   .use = post_copy ? SourceRamUse::kRequested : SourceRamUse::kSent,
                   .multifd_channels = channels};
}

Status check_channel_of(const GuestRam& ram, int socket) {
  ASSIGN_OR_RETURN(const pid_t peer, peer_of(socket));
  for (const GuestBlock& block : ram.memory()) {
    if (block.owner != peer)
      return fail(Errc::kRefused, "--qmp is of process {}, but process {} has the stream",
                  block.owner, peer);
  }
  return {};
}

}  // namespace godwit::qemu
