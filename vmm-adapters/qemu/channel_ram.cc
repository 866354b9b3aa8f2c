// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/channel_ram.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "vmm-adapters/linux/shared_mapping.h"

namespace godwit::qemu {
namespace {

// With these, pages come by other ways than records of the main channel, or QEMU gives memory back
// on its own. The destination's QEMU must have the same.
constexpr std::array kOtherWays = {"multifd", "postcopy-ram",        "postcopy-preempt", "compress",
                                   "x-colo",  "background-snapshot", "mapped-ram"};
// With this, a page sent from memory, which may be newer than that in the stream, is a wrong base
// for the next difference.
constexpr const char* kDifferences = "xbzrle";

Status check_capabilities(QmpClient& client, Side side, Deadline deadline) {
  ASSIGN_OR_RETURN(const Json capabilities,
                   client.execute("query-migrate-capabilities", {}, deadline));
  for (const Json& capability : capabilities) {
    if (!is_true(capability, "state")) continue;
    const std::string name = string_or(capability, "capability", "");
    const bool other_way = std::ranges::find(kOtherWays, name) != kOtherWays.end();
    if (other_way || (side == Side::kSource && name == kDifferences))
      return fail(Errc::kRefused, "QEMU's capability {} is on", name);
  }
  return {};
}

}  // namespace

Result<GuestRam> open_channel_ram(const std::string& qmp_path, Side side, Deadline deadline) {
  ASSIGN_OR_RETURN(const std::unique_ptr<QmpClient> client, QmpClient::connect(qmp_path, deadline));
  ASSIGN_OR_RETURN(const pid_t pid, client->peer_pid());
  RETURN_IF_ERROR(check_capabilities(*client, side, deadline));
  ASSIGN_OR_RETURN(GuestRam ram, GuestRam::open(*client, pid, RamChoice::kShared, deadline));
  if (side == Side::kDestination) RETURN_IF_ERROR(map_present_pages(ram.memory()));
  return ram;
}

Status check_channel_of(const GuestRam& ram, int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return fail_errno(errno, "the process at the other end of the stream");
  for (const GuestBlock& block : ram.memory()) {
    if (block.owner != peer.pid)
      return fail(Errc::kRefused, "--qmp is of process {}, but process {} has the stream",
                  block.owner, peer.pid);
  }
  return {};
}

}  // namespace godwit::qemu
