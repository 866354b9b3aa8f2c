// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/multifd_channel.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace godwit::qemu {
namespace {

// As much as a socket's buffer holds by default, or more.
constexpr int kPipeBytes = 512 * kKiB;
// With a read of this size no page comes along, as a rule.
constexpr size_t kHeaderBytes =
    stream::kMultifdHeaderBytes + stream::kMultifdPacketBytes / kBasePageBytes * 8;

}  // namespace

Result<std::unique_ptr<MultifdChannel>> MultifdChannel::make(
    std::unique_ptr<VmmStream> stream, const std::vector<BlockDescription>& blocks,
    MultifdMeeting& meeting) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC | O_NONBLOCK) != 0) return fail_errno(errno, "make a pipe");
  Drain drain{.pipe_in = UniqueFd(pipe[1]),
              .pipe_out = UniqueFd(pipe[0]),
              .nowhere = UniqueFd(::open("/dev/null", O_WRONLY | O_CLOEXEC)),
              .capacity_bytes = 0};
  if (!drain.nowhere.valid()) return fail_errno(errno, "open /dev/null");
  // What the system does not let us have is done without.
  (void)::fcntl(drain.pipe_in.get(), F_SETPIPE_SZ, kPipeBytes);
  const int capacity = ::fcntl(drain.pipe_in.get(), F_GETPIPE_SZ);
  if (capacity <= 0) return fail_errno(errno, "ask a pipe for its size");
  drain.capacity_bytes = static_cast<size_t>(capacity);
  return std::unique_ptr<MultifdChannel>(
      new MultifdChannel(std::move(stream), blocks, meeting, std::move(drain)));
}

Result<VmmStream::State> MultifdChannel::read_some(Output& output) {
  Result<VmmStream::State> state = VmmStream::State::kOpen;
  const bool has_pages = parser_.payload_left_bytes() > 0;
  if (!has_pages || !kept_block_.empty()) state = read_items(output);
  while (state && *state == VmmStream::State::kOpen && parser_.payload_left_bytes() > 0 &&
         kept_block_.empty())
    state = throw_away();
  RETURN_IF_ERROR(state);
  if (*state == VmmStream::State::kEnded) return end();
  // QEMU waits for its pages to be taken before it goes on to the sync.
  if (!sync_due_ || parser_.payload_left_bytes() > 0) return *state;
  sync_due_ = false;
  RETURN_IF_ERROR(output.settle());
  return meeting_.wait() ? *state : end();
}

VmmStream::State MultifdChannel::end() {
  meeting_.end();
  return VmmStream::State::kEnded;
}

void MultifdChannel::shut_down() {
  stream_->shut_down();
  meeting_.end();
}

Result<VmmStream::State> MultifdChannel::read_items(Output& output) {
  const uint64_t left_bytes = parser_.payload_left_bytes();
  const size_t size = left_bytes > 0 ? std::min(left_bytes, buffer_.size()) : kHeaderBytes;
  const auto room = std::span(buffer_).first(size);
  ASSIGN_OR_RETURN(const VmmStream::Progress progress, stream_->read(room));
  if (progress.state != VmmStream::State::kOpen) return progress.state;
  read_bytes_ += progress.bytes;
  parser_.feed(room.first(progress.bytes));
  stream::MultifdEvent event;
  while (parser_.next(event)) RETURN_IF_ERROR(handle(event, output));
  return progress.state;
}

// The pages of a packet, without a look at them.
Result<VmmStream::State> MultifdChannel::throw_away() {
  const size_t wanted = std::min(parser_.payload_left_bytes(), drain_.capacity_bytes);
  const ssize_t taken = ::splice(stream_->fd(), nullptr, drain_.pipe_in.get(), nullptr, wanted,
                                 SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  if (taken < 0 && (errno == EAGAIN || errno == EINTR)) return VmmStream::State::kNotReady;
  if (taken < 0 && errno != ECONNRESET) return fail_errno(errno, "read from a multifd channel");
  if (taken <= 0) return VmmStream::State::kEnded;
  const auto size = static_cast<size_t>(taken);
  for (size_t gone = 0; gone < size;) {
    const ssize_t moved = ::splice(drain_.pipe_out.get(), nullptr, drain_.nowhere.get(), nullptr,
                                   size - gone, SPLICE_F_MOVE);
    if (moved <= 0) return fail_errno(errno, "empty a pipe");
    gone += static_cast<size_t>(moved);
  }
  parser_.payload_bypassed(size);
  read_bytes_ += size;
  return VmmStream::State::kOpen;
}

Status MultifdChannel::handle(const stream::MultifdEvent& event, Output& output) {
  if (const auto* packet = std::get_if<stream::MultifdPacket>(&event.what))
    return handle_packet(*packet, output);
  if (const auto* pages = std::get_if<stream::MultifdPages>(&event.what))
    return kept_block_.empty() ? Status{} : keep(*pages, event.bytes);
  if (std::holds_alternative<stream::MultifdDeviceState>(event.what))
    return fail(Errc::kGuest, "QEMU sends a device's state by a multifd channel");
  if (std::holds_alternative<stream::MultifdRest>(event.what))
    return fail(Errc::kGuest, "{}", to_string(*parser_.reason()));
  return {};
}

Status MultifdChannel::handle_packet(const stream::MultifdPacket& packet, Output& output) {
  if (sync_due_) return fail(Errc::kCorrupt, "a multifd channel goes on past a sync");
  kept_block_.clear();
  sync_due_ = packet.is_sync();
  const uint32_t pages = packet.normal_pages + packet.zero_pages;
  if (pages == 0) return {};
  if (const std::optional<uint32_t> block = find_block(packet.block))
    return place(packet, *block, output);
  kept_block_ = packet.block;
  kept_offsets_.clear();
  for (uint32_t i = 0; i < pages; ++i) kept_offsets_.push_back(packet.offset_bytes(i));
  // Of those that are zero nothing more comes.
  kept_.assign(size_t{pages} * kBasePageBytes, std::byte{0});
  return packet.normal_pages == 0 ? keep_packet() : Status{};
}

// Neighbours become one run.
Status MultifdChannel::place(const stream::MultifdPacket& packet, uint32_t block, Output& output) {
  const uint64_t block_pages = blocks_[block].size_bytes / kBasePageBytes;
  size_t runs = 0;
  for (uint32_t i = 0; i < packet.normal_pages + packet.zero_pages; ++i) {
    const uint64_t page = packet.offset_bytes(i) / kBasePageBytes;
    if (page >= block_pages)
      return fail(Errc::kCorrupt, "a page at {:#x} of RAM block '{}', which has {:#x} bytes",
                  packet.offset_bytes(i), blocks_[block].name, blocks_[block].size_bytes);
    if (runs > 0 && runs_[runs - 1].first_page + runs_[runs - 1].page_count == page) {
      ++runs_[runs - 1].page_count;
    } else {
      runs_[runs++] = {page, 1};
    }
  }
  return output.place(block, std::span(runs_).first(runs));
}

Status MultifdChannel::keep(const stream::MultifdPages& pages, stream::Bytes bytes) {
  std::memcpy(kept_.data() + pages.at_bytes, bytes.data(), bytes.size());
  return pages.left_bytes == 0 ? keep_packet() : Status{};
}

Status MultifdChannel::keep_packet() {
  for (size_t i = 0; i < kept_offsets_.size(); ++i)
    RETURN_IF_ERROR(meeting_.keep(kept_block_, kept_offsets_[i],
                                  std::span(kept_).subspan(i * kBasePageBytes, kBasePageBytes)));
  kept_block_.clear();
  return {};
}

std::optional<uint32_t> MultifdChannel::find_block(std::string_view name) {
  if (last_block_ < blocks_.size() && blocks_[last_block_].name == name) return last_block_;
  const auto found = std::ranges::find(blocks_, name, &BlockDescription::name);
  if (found == blocks_.end()) return std::nullopt;
  last_block_ = static_cast<uint32_t>(found - blocks_.begin());
  return last_block_;
}

}  // namespace godwit::qemu
