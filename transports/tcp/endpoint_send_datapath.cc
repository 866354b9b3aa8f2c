// SPDX-License-Identifier: Apache-2.0
//
// TcpEndpoint, data path: frames out of the queue and into the socket. Nothing here waits; a full
// socket sets socket_full_, and the loop asks the ring to say when there is room again.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "engine/base/check.h"
#include "transports/tcp/checksum.h"
#include "transports/tcp/endpoint.h"
#include "transports/tcp/payload_checksums.h"

namespace godwit {
namespace {

// How many frames go out before receiving has its turn again.
constexpr int kFramesPerTurn = 4;

// Below this, references to pages cost more than copying them.
constexpr uint32_t kCopyBytesMax = 16 << 10;

}  // namespace

void TcpEndpoint::queue(FrameType type, Transfer* transfer) {
  // Writes and reads are bounded by their windows, messages by one; flushes that follow each other
  // are one flush.
  CHECK(queue_pushed_ - queue_popped_ < kQueueCapacity);
  queue_[queue_pushed_++ % kQueueCapacity] = {type, transfer};
  appendable_ = transfer;
  appendable_type_ = type;
}

bool TcpEndpoint::can_send() const {
  if (send_pending_ || socket_full_ || send_errno_ != 0) return false;
  if (send_stage_ != SendStage::kIdle) return true;
  return !closing_ &&
         (ack_wanted_ || served_pushed_ != served_popped_ || queue_pushed_ != queue_popped_);
}

void TcpEndpoint::pump_send() {
  for (int frames = 0; frames < kFramesPerTurn && can_send();) {
    if (send_stage_ == SendStage::kIdle && !start_next_frame()) return;
    switch (send_stage_) {
      case SendStage::kIdle:
        break;
      case SendStage::kWhole:
        return submit_whole();
      case SendStage::kHead:
        send_head();
        break;
      case SendStage::kPipe:
        send_through_pipe();
        break;
      case SendStage::kZeroCopy:
        return submit_zero_copy();
    }
    if (send_stage_ == SendStage::kIdle) ++frames;
  }
}

bool TcpEndpoint::start_next_frame() {
  if (ack_wanted_) {
    start_ack();
    return true;
  }
  // The peer's reads and our own frames take turns.
  const bool queued = queue_pushed_ != queue_popped_;
  if (served_pushed_ != served_popped_ && (!queued || !response_was_last_)) {
    response_was_last_ = true;
    start_response();
    return true;
  }
  if (!queued) return false;
  response_was_last_ = false;
  const QueuedFrame frame = queue_[queue_popped_++ % kQueueCapacity];
  if (frame.transfer == appendable_) appendable_ = nullptr;
  start_queued(frame);
  return true;
}

void TcpEndpoint::start_queued(const QueuedFrame& frame) {
  const std::span<std::byte> body = std::span(head_).subspan(kFrameHeaderBytes);
  Transfer* transfer = frame.transfer;
  if (frame.type == FrameType::kWrite) {
    const bool checksummed = options_.checksums == PayloadChecksums::kOn;
    uint32_t body_bytes = encode_segments(transfer->used_segments(), body);
    // As late as possible: what is written to the memory before this is not torn.
    if (checksummed) body_bytes += write_checksums(transfer->used_local(), &body[body_bytes]);
    auto flags = static_cast<uint8_t>((checksummed ? kFlagChecksummed : 0) |
                                      (transfer->memory == SourceMemory::kLive ? kFlagLive : 0));
    start_frame(frame.type, flags, transfer->segment_count, body_bytes);
    transfer->sequence = sequence_started_;
    add_payload(transfer->used_local(), transfer->local_keys);
  } else if (frame.type == FrameType::kReadRequest) {
    const uint32_t body_bytes = encode_segments(transfer->used_segments(), body);
    start_frame(frame.type, 0, transfer->segment_count, body_bytes);
    transfer->sequence = sequence_started_;
    add_payload({}, {});
  } else if (frame.type == FrameType::kMessage) {
    // The body is not in head_: it goes as a vector of its own.
    start_frame(frame.type, 0, 0, message_bytes_);
    add_payload({}, {});
  } else {
    start_frame(frame.type, 0, 0, 0);
    add_payload({}, {});
  }
}

void TcpEndpoint::start_ack() {
  ack_.sequence = sequence_received_;
  ack_.inbox_bytes_consumed = inbox_.consumed_bytes();
  const uint32_t body_bytes = encode_ack(ack_, std::span(head_).subspan(kFrameHeaderBytes));
  ack_.torn_count = 0;
  ack_wanted_ = false;
  frames_unacknowledged_ = 0;
  bytes_unacknowledged_ = 0;
  inbox_bytes_acknowledged_ = ack_.inbox_bytes_consumed;
  start_frame(FrameType::kAck, 0, 0, body_bytes);
  add_payload({}, {});
}

void TcpEndpoint::start_response() {
  const ServedRead& read = served_[served_popped_ % kReadFramesInFlightMax];
  const auto pieces = std::span(read.local).first(read.segment_count);
  std::byte* body = head_.data() + kFrameHeaderBytes;
  store_u64(read.sequence, body);
  const bool checksummed = options_.checksums == PayloadChecksums::kOn;
  const uint32_t body_bytes = 8 + (checksummed ? write_checksums(pieces, body + 8) : 0);
  start_frame(FrameType::kReadResponse, checksummed ? kFlagChecksummed : uint8_t{0}, 0, body_bytes);
  add_payload(pieces, read.local_keys);
}

void TcpEndpoint::start_frame(FrameType type, uint8_t flags, uint16_t segments,
                              uint32_t body_bytes) {
  sending_type_ = type;
  const bool is_message = type == FrameType::kMessage;
  std::byte* body = is_message ? message_.get() : head_.data() + kFrameHeaderBytes;
  uint32_t payload_bytes = 0;
  if (type == FrameType::kWrite) {
    payload_bytes = queue_[(queue_popped_ - 1) % kQueueCapacity].transfer->payload_bytes;
  } else if (type == FrameType::kReadResponse) {
    payload_bytes = served_[served_popped_ % kReadFramesInFlightMax].payload_bytes;
  }
  const FrameHeader header{.type = type,
                           .flags = flags,
                           .segment_count = segments,
                           .body_bytes = body_bytes,
                           .payload_bytes = payload_bytes,
                           .sequence = ++sequence_started_,
                           .body_checksum = crc32c({body, body_bytes})};
  encode_header(header, std::span(head_).first<kFrameHeaderBytes>());
  send_vector_count_ = 0;
  if (is_message) {
    send_vectors_[send_vector_count_++] = {head_.data(), kFrameHeaderBytes};
    send_vectors_[send_vector_count_++] = {body, body_bytes};
  } else {
    send_vectors_[send_vector_count_++] = {head_.data(), kFrameHeaderBytes + body_bytes};
  }
}

void TcpEndpoint::add_payload(std::span<const iovec> pieces, std::span<const uint64_t> keys) {
  send_payload_at_ = send_vector_count_;
  for (size_t i = 0; i < pieces.size(); ++i) {
    send_keys_[send_vector_count_] = keys[i];
    send_vectors_[send_vector_count_++] = pieces[i];
  }
  choose_stage();
}

void TcpEndpoint::choose_stage() {
  const auto vectors = std::span(send_vectors_).first(send_vector_count_);
  const IoVectors payload(vectors.subspan(send_payload_at_));
  if (payload.bytes_left() <= kCopyBytesMax || options_.send_method == SendMethod::kCopy) {
    send_left_ = IoVectors(vectors);
    send_stage_ = SendStage::kWhole;
    return;
  }
  send_left_ = IoVectors(vectors.first(send_payload_at_));
  send_stage_ = SendStage::kHead;
}

void TcpEndpoint::send_head() {
  const iovec& left = *send_left_.first();
  const ssize_t sent =
      ::send(socket_.get(), left.iov_base, left.iov_len, MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE);
  if (sent < 0) return on_send_error(errno);
  send_left_.advance(static_cast<size_t>(sent));
  if (send_left_.bytes_left() > 0) return;
  const auto vectors = std::span(send_vectors_).first(send_vector_count_);
  send_left_ = IoVectors(vectors.subspan(send_payload_at_));
  send_stage_ =
      options_.send_method == SendMethod::kZeroCopy ? SendStage::kZeroCopy : SendStage::kPipe;
}

void TcpEndpoint::send_through_pipe() {
  const Result<PayloadPipe::Outcome> outcome = pipe_.push(send_left_, socket_.get());
  if (!outcome) return on_send_error(outcome.error().os_errno);
  switch (*outcome) {
    case PayloadPipe::Outcome::kDone:
      return finish_frame();
    case PayloadPipe::Outcome::kSocketFull:
      socket_full_ = true;
      return;
    case PayloadPipe::Outcome::kMemoryRefused:
      // Memory whose pages cannot be referenced (a device's): copy what is left.
      send_stage_ = SendStage::kWhole;
      return;
  }
}

void TcpEndpoint::submit_whole() {
  send_message_ = {};
  send_message_.msg_iov = send_left_.first();
  send_message_.msg_iovlen = send_left_.count();
  io_uring_sqe* entry = ring_->next_entry();
  io_uring_prep_sendmsg(entry, socket_.get(), &send_message_, MSG_WAITALL | MSG_NOSIGNAL);
  io_uring_sqe_set_data64(entry, static_cast<uint64_t>(Purpose::kSend));
  send_pending_ = true;
}

void TcpEndpoint::submit_zero_copy() {
  const iovec& left = *send_left_.first();
  const size_t index = static_cast<size_t>(send_left_.first() - send_vectors_.data());
  regions_.refresh();
  const RegionEntry* region = regions_.find(send_keys_[index]);
  std::optional<uint16_t> buffer;
  if (region != nullptr) {
    buffer = fixed_buffers_.find_or_register(*ring_->get(), region->key,
                                             {region->start, region->size_bytes}, left.iov_base);
  }
  const int more = send_left_.count() > 1 ? MSG_MORE : 0;
  const int flags = MSG_WAITALL | MSG_NOSIGNAL | more;
  io_uring_sqe* entry = ring_->next_entry();
  if (buffer) {
    io_uring_prep_send_zc_fixed(entry, socket_.get(), left.iov_base, left.iov_len, flags, 0,
                                *buffer);
  } else {
    io_uring_prep_send_zc(entry, socket_.get(), left.iov_base, left.iov_len, flags, 0);
  }
  io_uring_sqe_set_data64(entry, static_cast<uint64_t>(Purpose::kSend));
  send_pending_ = true;
}

void TcpEndpoint::on_sent(int result) {
  if (result < 0) return on_send_error(-result);
  send_left_.advance(static_cast<size_t>(result));
  if (send_left_.bytes_left() == 0) finish_frame();
}

void TcpEndpoint::on_send_error(int os_errno) {
  if (os_errno == EINTR) return;
  if (os_errno == EAGAIN) {
    socket_full_ = true;
    return;
  }
  // Not the end yet: what the peer said before it closed (why, perhaps) may still wait to be
  // received. Receiving ends by itself now, and ends the connection.
  send_errno_ = os_errno;
  if (os_errno != EPIPE && os_errno != ECONNRESET) die_of_socket(os_errno);
}

void TcpEndpoint::finish_frame() {
  send_stage_ = SendStage::kIdle;
  sequence_sent_ = sequence_started_;
  if (sending_type_ == FrameType::kMessage) message_queued_ = false;
  if (sending_type_ == FrameType::kReadResponse) ++served_popped_;
}

}  // namespace godwit
