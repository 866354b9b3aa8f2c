// SPDX-License-Identifier: Apache-2.0
//
// TcpEndpoint, data path: posting, polling, and the loop that both directions share.
#include <poll.h>

#include <algorithm>
#include <cerrno>

#include "engine/base/check.h"
#include "transports/tcp/endpoint.h"

namespace godwit {

Result<size_t> TcpEndpoint::post_writes(std::span<const TransferOp> ops, SourceMemory memory) {
  return post(ops, FrameType::kWrite, memory);
}

Result<size_t> TcpEndpoint::post_reads(std::span<const TransferOp> ops) {
  return post(ops, FrameType::kReadRequest, SourceMemory::kFrozen);
}

Result<size_t> TcpEndpoint::post(std::span<const TransferOp> ops, FrameType type,
                                 SourceMemory memory) {
  RETURN_IF_ERROR(start());
  TransferWindow& window = type == FrameType::kWrite ? writes_ : reads_;
  size_t accepted = 0;
  for (const TransferOp& op : ops) {
    CHECK(op.size_bytes > 0 && op.size_bytes <= kOperationBytesMax);
    CHECK(op.local_offset_bytes <= op.local->bytes().size() &&
          op.size_bytes <= op.local->bytes().size() - op.local_offset_bytes);
    CHECK(op.remote_offset_bytes <= op.remote.size_bytes &&
          op.size_bytes <= op.remote.size_bytes - op.remote_offset_bytes);
    if (operations_outstanding_ == kTcpOperationsInFlightMax) break;
    // SAFETY: "local" is a region of this transport, as the interface requires.
    const uint64_t local_key = static_cast<const TcpRegion*>(op.local)->key();
    const bool same_kind =
        appendable_ != nullptr && appendable_type_ == type && appendable_->memory == memory;
    if (!same_kind || !appendable_->append(op, local_key)) {
      if (window.full()) break;
      Transfer& transfer = window.open_next(memory);
      CHECK(transfer.append(op, local_key));
      queue(type, &transfer);
    }
    ++operations_outstanding_;
    ++accepted;
  }
  pump_send();
  submit();
  return accepted;
}

Result<size_t> TcpEndpoint::poll(std::span<Completion> completions, Deadline deadline) {
  if (Status status = start(); status) turn(kWithoutWaiting);
  while (completions_.empty() && alive() && operations_outstanding_ > 0) {
    turn(kWithoutWaiting);
    if (!completions_.empty() || Clock::now() >= deadline) break;
    turn(deadline);
  }
  const size_t count = completions_.pop(completions);
  operations_outstanding_ -= static_cast<uint32_t>(count);
  if (count == 0 && !alive()) return dead();
  return count;
}

Status TcpEndpoint::flush(Deadline deadline) {
  RETURN_IF_ERROR(start());
  const uint64_t target = writes_.opened();
  if (writes_.closed() != target) {
    const bool last_is_flush =
        queue_pushed_ != queue_popped_ &&
        queue_[(queue_pushed_ - 1) % kQueueCapacity].type == FrameType::kFlush;
    if (!last_is_flush) queue(FrameType::kFlush, nullptr);
  }
  while (alive() && writes_.closed() < target) {
    if (Clock::now() >= deadline) return fail(Errc::kTimeout, "flush the writes to {}", peer_);
    turn(deadline);
  }
  if (!alive()) return dead();
  return {};
}

// One turn of the loop: send what can be sent, receive what has come, wait where there is neither.
void TcpEndpoint::turn(Deadline deadline) {
  if (!alive()) return;
  pump_send();
  arm();
  submit();
  if (alive() && ring_->peek() == nullptr && frames_unacknowledged_ > 0) {
    // Nothing more to read just now: the peer should know how far we are.
    ack_wanted_ = true;
    pump_send();
    arm();  // what was sent after the ack may have filled the socket
    submit();
  }
  if (alive() && ring_->peek() == nullptr && !can_send() && deadline != kWithoutWaiting) {
    const Status status = ring_->submit_and_wait(deadline);
    if (!status) return die(status.error(), Farewell::kNone);
  }
  reap();
}

void TcpEndpoint::submit() {
  if (!alive()) return;
  const Status status = ring_->submit();
  if (!status) die(status.error(), Farewell::kNone);
}

// Keeps one receive in the ring, a look-out for shut_down(), and one for room in a full socket.
void TcpEndpoint::arm() {
  if (!alive()) return;
  if (!receive_pending_) {
    receive_message_ = {};
    receive_message_.msg_iov = receive_left_.first();
    receive_message_.msg_iovlen = receive_left_.count();
    io_uring_sqe* entry = ring_->next_entry();
    io_uring_prep_recvmsg(entry, socket_.get(), &receive_message_, MSG_WAITALL);
    io_uring_sqe_set_data64(entry, static_cast<uint64_t>(Purpose::kReceive));
    receive_pending_ = true;
  }
  if (socket_full_ && !writable_pending_) {
    io_uring_sqe* entry = ring_->next_entry();
    io_uring_prep_poll_add(entry, socket_.get(), POLLOUT);
    io_uring_sqe_set_data64(entry, static_cast<uint64_t>(Purpose::kSocketWritable));
    writable_pending_ = true;
  }
  if (!wake_pending_) {
    io_uring_sqe* entry = ring_->next_entry();
    io_uring_prep_poll_add(entry, wake_event_.fd(), POLLIN);
    io_uring_sqe_set_data64(entry, static_cast<uint64_t>(Purpose::kWake));
    wake_pending_ = true;
  }
}

void TcpEndpoint::reap() {
  if (ring_ == nullptr) return;
  while (io_uring_cqe* completion = ring_->peek()) {
    const auto purpose = static_cast<Purpose>(io_uring_cqe_get_data64(completion));
    const int result = completion->res;
    const unsigned flags = completion->flags;
    ring_->seen(completion);
    complete(purpose, result, flags);
  }
}

void TcpEndpoint::complete(Purpose purpose, int result, unsigned flags) {
  switch (purpose) {
    case Purpose::kReceive:
      receive_pending_ = false;
      if (alive()) on_received(result);
      return;
    case Purpose::kSend:
      // The second completion of a SEND_ZC says that its pages are free. The peer's ack says so
      // too.
      if ((flags & IORING_CQE_F_NOTIF) != 0) return;
      send_pending_ = false;
      if (alive() || closing_) on_sent(result);
      return;
    case Purpose::kSocketWritable:
      writable_pending_ = false;
      socket_full_ = false;
      return;
    case Purpose::kWake:
      wake_pending_ = false;
      if (alive() && shut_down_requested_.load()) die_of_socket(0);
      return;
    case Purpose::kCancel:
      return;
  }
}

void TcpEndpoint::complete_transfer(const Transfer& transfer, const TornFrame* torn) {
  for (const Transfer::Operation& operation : transfer.used_operations()) {
    const uint64_t torn_pages = torn == nullptr ? 0 : torn_pages_of(operation, *torn);
    completions_.push({.tag = operation.tag,
                       .status = torn_pages == 0 ? OpStatus::kOk : OpStatus::kTorn,
                       .torn_pages = torn_pages});
  }
}

}  // namespace godwit
