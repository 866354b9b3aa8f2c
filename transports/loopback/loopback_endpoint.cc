// SPDX-License-Identifier: Apache-2.0
#include "transports/loopback/loopback_endpoint.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "engine/base/check.h"

namespace godwit {
namespace {

// Copies memory that somebody may be writing. Word by word with relaxed atomics, as the hardware of
// a real link would read it; what comes out may be torn between words.
//
// SAFETY: relaxed is enough, nothing is concluded from the order; ThreadSanitizer is kept out
// because the other side's stores are a guest's, and need not be atomic.
__attribute__((no_sanitize("thread"))) void copy_live(std::byte* destination,
                                                      const std::byte* source, size_t size) {
  const bool aligned = (reinterpret_cast<uintptr_t>(destination) % 8 == 0) &&
                       (reinterpret_cast<uintptr_t>(source) % 8 == 0);
  size_t at = 0;
  for (; aligned && at + 8 <= size; at += 8) {
    const uint64_t word =
        __atomic_load_n(reinterpret_cast<const uint64_t*>(source + at), __ATOMIC_RELAXED);
    __atomic_store_n(reinterpret_cast<uint64_t*>(destination + at), word, __ATOMIC_RELAXED);
  }
  for (; at < size; ++at) {
    destination[at] =
        std::byte{__atomic_load_n(reinterpret_cast<const uint8_t*>(source + at), __ATOMIC_RELAXED)};
  }
}

// What a torn page looks like: half of it is something else.
void tear(std::span<std::byte> bytes, uint64_t torn_pages) {
  for (uint64_t page = 0; page * kBasePageBytes < bytes.size(); ++page) {
    if ((torn_pages >> page & 1) == 0) continue;
    const size_t start = page * kBasePageBytes;
    const size_t size = std::min<size_t>(kBasePageBytes, bytes.size() - start);
    std::memset(bytes.data() + start + size / 2, 0xa5, size - size / 2);
  }
}

}  // namespace

LoopbackEndpoint::LoopbackEndpoint(std::shared_ptr<LoopbackLink> link, LinkSide side,
                                   FaultDecisions decisions, uint32_t operations_in_flight_max,
                                   std::function<void(uint64_t operation)> before_operation)
    : link_(std::move(link)),
      side_(side),
      decisions_(decisions),
      operations_in_flight_max_(operations_in_flight_max),
      before_operation_(std::move(before_operation)) {}

LoopbackEndpoint::~LoopbackEndpoint() {
  link_->end(fail(Errc::kPeerLost, "the endpoint was destroyed").value(), side_);
}

Result<size_t> LoopbackEndpoint::post_writes(std::span<const TransferOp> ops, SourceMemory memory) {
  return post(ops, Direction::kWrite, memory);
}

Result<size_t> LoopbackEndpoint::post_reads(std::span<const TransferOp> ops) {
  return post(ops, Direction::kRead, SourceMemory::kFrozen);
}

Result<size_t> LoopbackEndpoint::post(std::span<const TransferOp> ops, Direction direction,
                                      SourceMemory memory) {
  if (auto error = link_->ended(side_)) return tl::unexpected<Error>(*error);
  const size_t in_flight = posted_.size() + finished_.size();
  size_t accepted = std::min<size_t>(ops.size(), operations_in_flight_max_ - in_flight);
  accepted = decisions_.accepted(post_count_++, accepted);
  for (const TransferOp& op : ops.first(accepted)) {
    CHECK(op.size_bytes > 0 && op.size_bytes <= kOperationBytesMax);
    CHECK(op.local_offset_bytes <= op.local->bytes().size() &&
          op.size_bytes <= op.local->bytes().size() - op.local_offset_bytes);
    CHECK(op.remote_offset_bytes <= op.remote.size_bytes &&
          op.size_bytes <= op.remote.size_bytes - op.remote_offset_bytes);
    posted_.push_back({op, direction, memory, operation_count_++});
  }
  return accepted;
}

Result<size_t> LoopbackEndpoint::poll(std::span<Completion> completions, Deadline) {
  // A delayed completion comes after so many looks, so this never has to wait.
  while (true) {
    ++step_;
    carry_out_posted();
    const size_t count = take_due(completions);
    if (count > 0) return count;
    if (!finished_.empty()) continue;
    if (auto error = link_->ended(side_)) return tl::unexpected<Error>(*error);
    return 0;
  }
}

Status LoopbackEndpoint::flush(Deadline) {
  if (decisions_.flush_is_slow(flush_count_++)) {
    for (int i = 0; i < 8; ++i) std::this_thread::yield();
  }
  carry_out_posted();
  if (auto error = link_->ended(side_)) return tl::unexpected<Error>(*error);
  return {};
}

Status LoopbackEndpoint::send(std::span<const std::byte> message, Deadline deadline) {
  CHECK(message.size() <= kLoopbackMessageBytesMax);
  carry_out_posted();
  if (decisions_.disconnects_at_message(message_count_++)) {
    link_->end(fail(Errc::kPeerLost, "the fault plan ended the connection").value(), side_);
  }
  return link_->send(side_, message, deadline);
}

Result<size_t> LoopbackEndpoint::receive(std::span<std::byte> message, Deadline deadline) {
  carry_out_posted();
  ASSIGN_OR_RETURN(std::vector<std::byte> received, link_->receive(side_, deadline));
  if (received.size() > message.size()) {
    auto error = fail(Errc::kCorrupt, "a message of {} bytes where at most {} are expected",
                      received.size(), message.size());
    link_->end(error.value(), side_);
    return error;
  }
  std::copy(received.begin(), received.end(), message.begin());
  return received.size();
}

void LoopbackEndpoint::shut_down() {
  link_->end(fail(Errc::kCancelled, "the connection was shut down").value(), side_);
}

void LoopbackEndpoint::carry_out_posted() {
  for (; !posted_.empty(); posted_.pop_front()) {
    const Posted& posted = posted_.front();
    if (before_operation_) before_operation_(posted.index);
    if (decisions_.disconnects_at_operation(posted.index)) {
      link_->end(fail(Errc::kPeerLost, "the fault plan ended the connection").value(), side_);
    }
    if (link_->ended(side_)) break;
    Completion completion{posted.op.tag, OpStatus::kOk, 0};
    if (Status status = carry_out(posted, completion); !status) {
      link_->end(status.error(), side_);
      break;
    }
    finished_.push_back({completion, step_ + decisions_.delay_steps(posted.index)});
  }
  if (link_->ended(side_)) flush_everything();
}

Status LoopbackEndpoint::carry_out(const Posted& posted, Completion& completion) {
  const TransferOp& op = posted.op;
  std::byte* local = op.local->bytes().data() + op.local_offset_bytes;
  const bool is_write = posted.direction == Direction::kWrite;
  return link_->regions_of_peer(side_).with_bytes(
      op.remote.key, op.remote_offset_bytes, op.size_bytes,
      is_write ? RemoteAccess::kWrite : RemoteAccess::kRead, [&](std::span<std::byte> remote) {
        if (!is_write) {
          copy_live(local, remote.data(), remote.size());
        } else if (posted.memory == SourceMemory::kFrozen) {
          std::memcpy(remote.data(), local, remote.size());
        } else {
          copy_live(remote.data(), local, remote.size());
          const auto pages =
              static_cast<uint32_t>((op.size_bytes + kBasePageBytes - 1) / kBasePageBytes);
          completion.torn_pages = decisions_.torn_pages(posted.index, pages);
          if (completion.torn_pages != 0) completion.status = OpStatus::kTorn;
          tear(remote, completion.torn_pages);
        }
      });
}

// The connection has ended: what was carried out keeps its completion, the rest is flushed; nothing
// is delayed any more.
void LoopbackEndpoint::flush_everything() {
  for (; !posted_.empty(); posted_.pop_front()) {
    finished_.push_back({{posted_.front().op.tag, OpStatus::kFlushed, 0}, 0});
  }
  for (Finished& finished : finished_) finished.due_step = 0;
}

size_t LoopbackEndpoint::take_due(std::span<Completion> completions) {
  size_t taken = 0;
  auto keep = finished_.begin();
  for (auto& finished : finished_) {
    if (finished.due_step <= step_ && taken < completions.size()) {
      completions[taken++] = finished.completion;
    } else {
      *keep++ = finished;
    }
  }
  finished_.erase(keep, finished_.end());
  return taken;
}

}  // namespace godwit
