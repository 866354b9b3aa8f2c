// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/relayed_multifd.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "engine/wire/describe.h"
#include "vmm-adapters/linux/lasting_stream.h"
#include "vmm-adapters/linux/unix_stream.h"
#include "vmm-adapters/qemu/qemu_page_extractor.h"

namespace godwit::qemu {
namespace {

// QEMU ends its channels at once when it sees the main channel end.
constexpr Clock::duration kChannelsLastMax = seconds(10);

}  // namespace

RelayedMultifd::RelayedMultifd(pid_t process, size_t channels, const GuestMemory& memory)
    : process_(process), channel_count_(channels), memory_(describe(memory)) {
  meeting_.expect(channels);
  wake_ = interruption_.on_raise([this] { shut_down(); });
}

void RelayedMultifd::shut_down() {
  const std::lock_guard lock(mutex_);
  for (const auto& channel : channels_) channel->shut_down();
  changed_.notify_all();
}

std::unique_ptr<PageExtractor> RelayedMultifd::make_extractor(
    const std::vector<BlockDescription>& blocks) {
  const bool in_reach = std::ranges::all_of(blocks, [this](const BlockDescription& theirs) {
    return std::ranges::any_of(memory_, [&](const BlockDescription& ours) {
      return ours.name == theirs.name && ours.size_bytes == theirs.size_bytes;
    });
  });
  if (!in_reach)
    return make_passing_extractor(blocks, "pages come by multifd, some of memory not shared here");
  blocks_ = blocks;
  return make_page_extractor_beside_channels(blocks, meeting_);
}

bool RelayedMultifd::is_complete() const {
  const std::lock_guard lock(mutex_);
  return channels_.size() == channel_count_;
}

Result<std::unique_ptr<VmmStream>> RelayedMultifd::join(UniqueFd socket) {
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0)
    return fail_errno(errno, "make a pair of sockets");
  UniqueFd near(pair[0]);
  UniqueFd far(pair[1]);
  ASSIGN_OR_RETURN(std::unique_ptr<VmmStream> connection, make_unix_stream(std::move(socket)));
  auto stream = std::make_unique<LastingStream>();
  stream->connect(std::move(connection));
  stream->last_until_peer_ends(kChannelsLastMax);
  ASSIGN_OR_RETURN(std::unique_ptr<VmmStream> onward, make_unix_stream(std::move(near)));
  ASSIGN_OR_RETURN(std::unique_ptr<VmmStream> carried, make_unix_stream(std::move(far)));
  ASSIGN_OR_RETURN(std::unique_ptr<MultifdChannel> channel,
                   MultifdChannel::make(std::move(stream), blocks_, meeting_, std::move(onward)));
  {
    const std::lock_guard lock(mutex_);
    if (blocks_.empty() || channels_.size() == channel_count_)
      return fail(Errc::kRefused, "QEMU has opened more channels than it said that it would");
    channels_.push_back(std::move(channel));
    changed_.notify_all();
  }
  // Whoever raises holds a lock of the interruption's, and wants ours.
  if (interruption_.raised()) shut_down();
  RETURN_IF_ERROR(interruption_.check());
  return carried;
}

Result<std::vector<PageChannel*>> RelayedMultifd::wait_for_all(Deadline deadline) {
  std::vector<PageChannel*> all;
  {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline, [this] {
      return channels_.size() == channel_count_ || interruption_.raised();
    });
    for (const auto& channel : channels_) all.push_back(channel.get());
  }
  RETURN_IF_ERROR(interruption_.check());
  if (all.size() == channel_count_) return all;
  return fail(Errc::kTimeout, "QEMU has opened {} of its {} multifd channels", all.size(),
              channel_count_);
}

}  // namespace godwit::qemu
