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
    MultifdMeeting& meeting, std::unique_ptr<VmmStream> onward) {
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
      new MultifdChannel(std::move(stream), blocks, meeting, std::move(onward), std::move(drain)));
}

Result<VmmStream::State> MultifdChannel::read_some(Output& output) {
  Result<VmmStream::State> state = VmmStream::State::kOpen;
  const bool has_pages = parser_.payload_left_bytes() > 0;
  if (!has_pages || use_ != Use::kThrownAway) state = read_items(output);
  while (state && *state == VmmStream::State::kOpen && parser_.payload_left_bytes() > 0 &&
         use_ == Use::kThrownAway)
    state = throw_away();
  RETURN_IF_ERROR(state);
  if (*state == VmmStream::State::kEnded) return end();
  // QEMU waits for its pages to be taken before it goes on to the sync.
  if (!sync_due_ || parser_.payload_left_bytes() > 0) return *state;
  sync_due_ = false;
  RETURN_IF_ERROR(output.settle());
  // The destination's QEMU waits for it when it comes to the main channel's.
  RETURN_IF_ERROR(pass_on(held_sync_));
  held_sync_.clear();
  return meeting_.wait() ? *state : end();
}

VmmStream::State MultifdChannel::end() {
  meeting_.end();
  if (onward_ != nullptr) onward_->end_writing();
  return VmmStream::State::kEnded;
}

void MultifdChannel::end_reading() {
  stream_->end_reading();
  meeting_.end();
}

void MultifdChannel::shut_down() {
  stream_->shut_down();
  if (onward_ != nullptr) onward_->shut_down();
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
  if (std::holds_alternative<stream::MultifdHello>(event.what)) return pass_on(event.bytes);
  if (const auto* packet = std::get_if<stream::MultifdPacket>(&event.what))
    return handle_packet(*packet, event.bytes, output);
  if (const auto* pages = std::get_if<stream::MultifdPages>(&event.what)) {
    if (use_ == Use::kPassedOn) return pass_on(event.bytes);
    return use_ == Use::kKept ? keep(*pages, event.bytes) : Status{};
  }
  if (std::holds_alternative<stream::MultifdDeviceState>(event.what))
    return fail(Errc::kGuest, "QEMU sends a device's state by a multifd channel");
  if (std::holds_alternative<stream::MultifdRest>(event.what))
    return fail(Errc::kGuest, "{}", to_string(*parser_.reason()));
  return {};
}

Status MultifdChannel::handle_packet(const stream::MultifdPacket& packet, stream::Bytes bytes,
                                     Output& output) {
  if (sync_due_) return fail(Errc::kCorrupt, "a multifd channel goes on past a sync");
  sync_due_ = packet.is_sync();
  use_ = Use::kThrownAway;
  const bool has_pages = packet.normal_pages + packet.zero_pages > 0;
  const std::optional<uint32_t> block = has_pages ? find_block(packet.block) : std::nullopt;
  if (sync_due_ && (block || !has_pages)) hold_sync(packet, bytes);
  if (block) return place(packet, *block, output);
  if (onward_ != nullptr) {
    // It may have a sync: the destination's QEMU goes on when the main channel has one, too.
    if (has_pages) use_ = Use::kPassedOn;
    return sync_due_ && !has_pages ? Status{} : pass_on(bytes);
  }
  if (!has_pages) return {};
  begin_to_keep(packet);
  return packet.normal_pages == 0 ? keep_packet() : Status{};
}

// Without the pages that it may have.
void MultifdChannel::hold_sync(const stream::MultifdPacket& packet, stream::Bytes bytes) {
  if (onward_ == nullptr) return;
  if (packet.offsets.empty()) {
    held_sync_.assign(bytes.begin(), bytes.end());
    return;
  }
  stream::encode_multifd_packet({.flags = packet.flags,
                                 .pages_max = packet.pages_max,
                                 .normal_pages = 0,
                                 .zero_pages = 0,
                                 .payload_bytes = 0,
                                 .number = packet.number,
                                 .block = {},
                                 .offsets = {}},
                                kBasePageBytes, held_sync_);
}

// Those that QEMU found zero come after the others, in its list.
Status MultifdChannel::place(const stream::MultifdPacket& packet, uint32_t block, Output& output) {
  ASSIGN_OR_RETURN(const size_t normal, find_runs(packet, block, {0, packet.normal_pages}));
  if (normal > 0) RETURN_IF_ERROR(output.place(block, std::span(runs_).first(normal)));
  ASSIGN_OR_RETURN(const size_t zero,
                   find_runs(packet, block, {packet.normal_pages, packet.zero_pages}));
  return zero > 0 ? output.clear(block, std::span(runs_).first(zero)) : Status{};
}

// Neighbours become one run.
Result<size_t> MultifdChannel::find_runs(const stream::MultifdPacket& packet, uint32_t block,
                                         PageRun listed) {
  const uint64_t block_pages = blocks_[block].size_bytes / kBasePageBytes;
  size_t runs = 0;
  for (uint64_t i = listed.first_page; i < listed.first_page + listed.page_count; ++i) {
    const uint64_t offset_bytes = packet.offset_bytes(static_cast<uint32_t>(i));
    const uint64_t page = offset_bytes / kBasePageBytes;
    if (page >= block_pages)
      return fail(Errc::kCorrupt, "a page at {:#x} of RAM block '{}', which has {:#x} bytes",
                  offset_bytes, blocks_[block].name, blocks_[block].size_bytes);
    if (runs > 0 && runs_[runs - 1].first_page + runs_[runs - 1].page_count == page) {
      ++runs_[runs - 1].page_count;
    } else {
      runs_[runs++] = {page, 1};
    }
  }
  return runs;
}

void MultifdChannel::begin_to_keep(const stream::MultifdPacket& packet) {
  use_ = Use::kKept;
  kept_block_ = packet.block;
  kept_offsets_.clear();
  const uint32_t pages = packet.normal_pages + packet.zero_pages;
  for (uint32_t i = 0; i < pages; ++i) kept_offsets_.push_back(packet.offset_bytes(i));
  // Of those that are zero nothing more comes.
  kept_.assign(size_t{pages} * kBasePageBytes, std::byte{0});
}

Status MultifdChannel::keep(const stream::MultifdPages& pages, stream::Bytes bytes) {
  std::memcpy(kept_.data() + pages.at_bytes, bytes.data(), bytes.size());
  return pages.left_bytes == 0 ? keep_packet() : Status{};
}

Status MultifdChannel::keep_packet() {
  for (size_t i = 0; i < kept_offsets_.size(); ++i)
    RETURN_IF_ERROR(meeting_.keep(kept_block_, kept_offsets_[i],
                                  std::span(kept_).subspan(i * kBasePageBytes, kBasePageBytes)));
  use_ = Use::kThrownAway;
  return {};
}

Status MultifdChannel::pass_on(stream::Bytes bytes) {
  if (onward_ == nullptr) return {};
  while (!bytes.empty()) {
    ASSIGN_OR_RETURN(const VmmStream::Progress progress, onward_->write(bytes));
    if (progress.state == VmmStream::State::kEnded)
      return fail(Errc::kPeerLost, "nobody takes what a multifd channel has besides placed pages");
    if (progress.state == VmmStream::State::kNotReady) RETURN_IF_ERROR(onward_->wait_writable());
    bytes = bytes.subspan(progress.bytes);
  }
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
