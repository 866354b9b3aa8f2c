// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/channel_ram.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "vmm-adapters/linux/shared_mapping.h"
#include "vmm-adapters/linux/unix_stream.h"

namespace godwit::qemu {
namespace {

// With these, pages come by other ways than records of the main channel, or QEMU gives memory back
// on its own. The destination's QEMU must have the same.
constexpr std::array kOtherWays = {"multifd", "postcopy-ram",        "postcopy-preempt", "compress",
                                   "x-colo",  "background-snapshot", "mapped-ram"};
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

Status check_placing(const Capabilities& on, Side side) {
  RETURN_IF_ERROR(refuse(on, kOtherWays));
  return side == Side::kSource ? refuse(on, std::array{kDifferences}) : Status{};
}

}  // namespace

Result<GuestRam> open_channel_ram(const std::string& qmp_path, Side side, Deadline deadline) {
  ASSIGN_OR_RETURN(const std::unique_ptr<QmpClient> client, QmpClient::connect(qmp_path, deadline));
  ASSIGN_OR_RETURN(const pid_t pid, client->peer_pid());
  ASSIGN_OR_RETURN(const Capabilities on, query_capabilities(*client, deadline));
  RETURN_IF_ERROR(check_placing(on, side));
  ASSIGN_OR_RETURN(GuestRam ram, GuestRam::open(*client, pid, RamChoice::kShared, deadline));
  if (side == Side::kDestination) RETURN_IF_ERROR(map_present_pages(ram.memory()));
  return ram;
}

Result<SourceRam> open_source_ram(const std::string& qmp_path, Deadline deadline) {
  ASSIGN_OR_RETURN(const std::unique_ptr<QmpClient> client, QmpClient::connect(qmp_path, deadline));
  ASSIGN_OR_RETURN(const pid_t pid, client->peer_pid());
  ASSIGN_OR_RETURN(const Capabilities on, query_capabilities(*client, deadline));
  const bool post_copy = std::ranges::find(on, kPostCopy) != on.end();
  RETURN_IF_ERROR(post_copy ? refuse(on, kNotInMemory) : check_placing(on, Side::kSource));
  ASSIGN_OR_RETURN(GuestRam ram, GuestRam::open(*client, pid, RamChoice::kShared, deadline));
  return SourceRam{std::move(ram), post_copy ? SourceRamUse::kRequested : SourceRamUse::kSent};
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
