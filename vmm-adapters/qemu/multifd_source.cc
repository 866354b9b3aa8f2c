// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/multifd_source.h"

#include <algorithm>
#include <array>
#include <utility>

#include "vmm-adapters/linux/private_listener.h"
#include "vmm-adapters/linux/unix_stream.h"
#include "vmm-adapters/qemu/migration_settings.h"
#include "vmm-adapters/qemu/qemu_page_extractor.h"
#include "vmm-adapters/qemu/refusals.h"

namespace godwit::qemu {
namespace {

// QEMU connects within milliseconds, or says that it cannot.
constexpr Clock::duration kLookEvery = milliseconds(100);

Result<UniqueFd> accept(QmpClient& client, PrivateListener& listener, Deadline deadline) {
  while (true) {
    Result<UniqueFd> socket = listener.accept(std::min(deadline, deadline_in(kLookEvery)));
    if (socket || socket.error().code != Errc::kTimeout || Clock::now() >= deadline) return socket;
    ASSIGN_OR_RETURN(const MigrationStatus status, query_migration(client, deadline));
    if (is_settled(status.status))
      return fail(Errc::kGuest, "QEMU did not connect: {}", status.error);
  }
}

// Channels tell what they are by their first bytes; a multifd channel's parser looks at its own.
Status sort_in(UniqueFd socket, const std::vector<BlockDescription>& blocks,
               MultifdMeeting& meeting, Deadline deadline, MultifdConnections& connections) {
  std::array<std::byte, kMigrationMagicBytes> first{};
  if (peek(socket.get(), first, deadline) < first.size())
    return fail(Errc::kTimeout, "QEMU has connected, and says nothing");
  const bool is_main = begins_migration(first);
  if (is_main && connections.main != nullptr)
    return fail(Errc::kGuest, "QEMU has two main channels");
  ASSIGN_OR_RETURN(std::unique_ptr<VmmStream> stream, make_unix_stream(std::move(socket)));
  if (is_main) {
    connections.main = std::move(stream);
    return {};
  }
  auto lasting = std::make_unique<LastingStream>();
  lasting->connect(std::move(stream));
  lasting->last();
  connections.channel_streams.push_back(lasting.get());
  ASSIGN_OR_RETURN(std::unique_ptr<MultifdChannel> channel,
                   MultifdChannel::make(std::move(lasting), blocks, meeting));
  connections.channels.push_back(std::move(channel));
  return {};
}

}  // namespace

Status check_multifd(QmpClient& client, const Version& version,
                     const std::vector<BlockDescription>& blocks, Deadline deadline) {
  if (version < kMultifdSince)
    return fail(Errc::kRefused, "QEMU before {}.{} may not survive a failure of multifd",
                kMultifdSince.major, kMultifdSince.minor);
  RETURN_IF_ERROR(check_followed_devices(client, deadline));
  ASSIGN_OR_RETURN(const Json parameters, client.execute("query-migrate-parameters", {}, deadline));
  if (!string_or(parameters, "tls-creds", "").empty())
    return fail(Errc::kRefused, "QEMU's migration has TLS of its own");
  ASSIGN_OR_RETURN(const Json summary, client.execute("query-memory-size-summary", {}, deadline));
  const int64_t guest_bytes =
      integer_or(summary, "base-memory", 0) + integer_or(summary, "plugged-memory", 0);
  uint64_t in_reach_bytes = 0;
  for (const BlockDescription& block : blocks) in_reach_bytes += block.size_bytes;
  if (in_reach_bytes < static_cast<uint64_t>(guest_bytes))
    return fail(Errc::kRefused, "a part of guest RAM is not shared memory at both ends");
  return {};
}

Result<MultifdConnections> begin_multifd(QmpClient& client, pid_t process,
                                         const std::string& neighbour, const WantedChannels& wanted,
                                         MultifdMeeting& meeting, Deadline deadline) {
  ASSIGN_OR_RETURN(const std::unique_ptr<PrivateListener> listener,
                   PrivateListener::open(neighbour, process));
  RETURN_IF_ERROR(client.execute("migrate", {{"uri", "unix:" + listener->path()}}, deadline));
  // From 9.0 on, QEMU says nothing on the main channel before all others are connected.
  std::vector<UniqueFd> sockets;
  while (sockets.size() < wanted.count + 1) {
    ASSIGN_OR_RETURN(UniqueFd socket, accept(client, *listener, deadline));
    sockets.push_back(std::move(socket));
  }
  MultifdConnections connections;
  for (UniqueFd& socket : sockets)
    RETURN_IF_ERROR(sort_in(std::move(socket), wanted.blocks, meeting, deadline, connections));
  if (connections.main == nullptr) return fail(Errc::kGuest, "QEMU has no main channel");
  meeting.expect(wanted.count);
  return connections;
}

}  // namespace godwit::qemu
