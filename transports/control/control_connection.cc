// SPDX-License-Identifier: Apache-2.0
#include "transports/control/control_connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "transports/control/socket_io.h"

namespace godwit {

using control::ByteStream;
using control::IoState;
using control::IoStep;
using control::wait_for;

namespace {

// Memory is given to a message as its bytes arrive, in pieces of this size: an announced length
// alone costs nothing.
constexpr size_t kPieceBytes = size_t{64} * 1024;

size_t decode_length(const std::array<std::byte, 4>& bytes) {
  size_t length = 0;
  for (size_t i = 0; i < bytes.size(); ++i) length |= static_cast<size_t>(bytes[i]) << (8 * i);
  return length;
}

}  // namespace

ControlConnection::ControlConnection(std::unique_ptr<ByteStream> stream, SecurityKind kind,
                                     Ends ends)
    : stream_(std::move(stream)), kind_(kind), ends_(std::move(ends)) {}

ControlConnection::~ControlConnection() {
  if (!shut_down_) stream_->say_goodbye();
}

void ControlConnection::shut_down() {
  shut_down_ = true;
  ::shutdown(stream_->fd(), SHUT_RDWR);  // wakes whoever polls
}

Status ControlConnection::send(std::span<const std::byte> message, Deadline deadline) {
  if (message.size() > kControlMessageBytesMax) {
    return fail(Errc::kCorrupt, "a control message of {} bytes is longer than {}", message.size(),
                kControlMessageBytesMax);
  }
  std::vector<std::byte> framed(sizeof(uint32_t) + message.size());
  for (size_t i = 0; i < sizeof(uint32_t); ++i) {
    framed[i] = static_cast<std::byte>(message.size() >> (8 * i));
  }
  std::copy(message.begin(), message.end(), framed.begin() + sizeof(uint32_t));
  Status sent = send_all(framed, deadline);
  if (sent || sent.error().code != Errc::kTimeout) return sent;
  shut_down();
  return fail(Errc::kPeerLost, "{} takes no more control messages", ends_.peer);
}

Status ControlConnection::send_all(std::span<const std::byte> bytes, Deadline deadline) {
  while (!bytes.empty()) {
    Result<IoStep> step = [&] {
      std::lock_guard lock(mutex_);
      return stream_->write_some(bytes);
    }();
    if (!step) return tl::unexpected<Error>(step.error());
    if (step->state == IoState::kMoved) {
      bytes = bytes.subspan(step->bytes);
    } else {
      RETURN_IF_ERROR(wait(step->state, deadline));
    }
  }
  return {};
}

Result<std::vector<std::byte>> ControlConnection::receive(Deadline deadline) {
  RETURN_IF_ERROR(receive_length(deadline));
  RETURN_IF_ERROR(receive_body(deadline));
  length_bytes_ = 0;
  body_bytes_ = 0;
  return std::exchange(body_, {});
}

Status ControlConnection::receive_length(Deadline deadline) {
  while (length_bytes_ < length_.size()) {
    ASSIGN_OR_RETURN(size_t moved,
                     receive_some(std::span(length_).subspan(length_bytes_), deadline));
    length_bytes_ += moved;
  }
  size_t length = decode_length(length_);
  if (length <= kControlMessageBytesMax) return {};
  shut_down();
  return fail(Errc::kCorrupt, "{} announced a control message of {} bytes; {} is the most",
              ends_.peer, length, kControlMessageBytesMax);
}

Status ControlConnection::receive_body(Deadline deadline) {
  size_t length = decode_length(length_);
  while (body_bytes_ < length) {
    if (body_.size() == body_bytes_) {
      body_.resize(std::min(length, body_.size() + kPieceBytes));
    }
    ASSIGN_OR_RETURN(size_t moved, receive_some(std::span(body_).subspan(body_bytes_), deadline));
    body_bytes_ += moved;
  }
  return {};
}

Result<size_t> ControlConnection::receive_some(std::span<std::byte> bytes, Deadline deadline) {
  for (;;) {
    Result<IoStep> step = [&] {
      std::lock_guard lock(mutex_);
      return stream_->read_some(bytes);
    }();
    if (!step) return tl::unexpected<Error>(step.error());
    if (step->state == IoState::kMoved) return step->bytes;
    RETURN_IF_ERROR(wait(step->state, deadline));
  }
}

Status ControlConnection::wait(IoState state, Deadline deadline) {
  if (state == IoState::kEnded) return tl::unexpected<Error>(ended());
  short events = state == IoState::kWaitReadable ? POLLIN : POLLOUT;
  return wait_for(stream_->fd(), events, -1, deadline);
}

Error ControlConnection::ended() const {
  if (shut_down_) {
    return fail(Errc::kCancelled, "the control connection to {} was shut down here", ends_.peer)
        .value();
  }
  return fail(Errc::kPeerLost, "lost the control connection to {}", ends_.peer).value();
}

Result<std::array<std::byte, 32>> ControlConnection::lane_token(uint32_t lane) const {
  std::lock_guard lock(mutex_);
  return stream_->lane_token(lane);
}

}  // namespace godwit
