// SPDX-License-Identifier: Apache-2.0
//
// TcpEndpoint: its life, its messages, and its end. The end is here in full: whatever went wrong,
// the kernel lets go of all memory, every operation gets its completion, and the peer is told why
// if the fault was its own.
#include "transports/tcp/endpoint.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/base/check.h"
#include "engine/memory/page_storage.h"
#include "transports/tcp/checksum.h"
#include "transports/tcp/socket.h"

namespace godwit {
namespace {

constexpr unsigned kRingEntries = 64;

// How long a peer that broke the protocol is given to listen to why, and how long the kernel to
// give back what was submitted to it.
constexpr milliseconds kFarewellTime{250};
constexpr milliseconds kCancelTime{2000};

// Consumed messages are acknowledged at the latest after this much.
constexpr uint64_t kInboxAckBytes = kInboxBytes / 4;

// Drops what the peer has sent. Closing a socket with unread bytes would reset the connection, and
// the peer might lose what we sent last.
ssize_t drop_received(int socket) {
  return ::recv(socket, nullptr, size_t{1} << 30, MSG_DONTWAIT | MSG_TRUNC);
}

// The same up to the end of the connection.
void drop_until_end(int socket, Deadline deadline) {
  while (Clock::now() < deadline) {
    pollfd poll{socket, POLLIN, 0};
    ::poll(&poll, 1, milliseconds_until(deadline));
    const ssize_t count = drop_received(socket);
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) return;
  }
}

}  // namespace

Result<std::unique_ptr<TcpEndpoint>> TcpEndpoint::open(UniqueFd socket, std::string peer,
                                                       const TcpOptions& options,
                                                       std::shared_ptr<RegionTable> regions) {
  ASSIGN_OR_RETURN(WakeEvent wake_event, WakeEvent::make());
  ASSIGN_OR_RETURN(PayloadPipe pipe, PayloadPipe::open());
  return std::unique_ptr<TcpEndpoint>(new TcpEndpoint(std::move(socket), std::move(wake_event),
                                                      std::move(pipe), std::move(peer), options,
                                                      std::move(regions)));
}

TcpEndpoint::TcpEndpoint(UniqueFd socket, WakeEvent wake_event, PayloadPipe pipe, std::string peer,
                         const TcpOptions& options, std::shared_ptr<RegionTable> regions)
    : socket_(std::move(socket)),
      wake_event_(std::move(wake_event)),
      peer_(std::move(peer)),
      options_(options),
      region_table_(std::move(regions)),
      regions_(*region_table_),
      pipe_(std::move(pipe)),
      message_(std::make_unique<std::byte[]>(kFrameMessageBytesMax)),
      body_(std::make_unique<std::byte[]>(kFrameBodyBytesMax)),
      served_(std::make_unique<ServedRead[]>(kReadFramesInFlightMax)) {
  receive_vectors_[0] = {header_bytes_.data(), header_bytes_.size()};
  receive_next(ReceiveStage::kHeader, 1);
}

TcpEndpoint::~TcpEndpoint() {
  if (alive()) {
    ::shutdown(socket_.get(), SHUT_WR);
    end_operations();
    drop_received(socket_.get());
  }
}

UniqueFd TcpEndpoint::release_socket() {
  CHECK(ring_ == nullptr);
  error_ = fail(Errc::kCancelled, "the connection to {} was given away", peer_).value();
  return std::move(socket_);
}

Status TcpEndpoint::start() {
  if (!alive()) return dead();
  if (ring_ != nullptr) {
    // An endpoint has one owner.
    CHECK(owner_ == std::this_thread::get_id());
    return {};
  }
  owner_ = std::this_thread::get_id();
  Result<std::unique_ptr<Ring>> ring = Ring::open(kRingEntries);
  if (!ring) {
    die(ring.error(), Farewell::kNone);
    return dead();
  }
  ring_ = std::move(*ring);
  return {};
}

Status TcpEndpoint::send(std::span<const std::byte> message, Deadline deadline) {
  CHECK(message.size() <= kFrameMessageBytesMax);
  RETURN_IF_ERROR(start());
  const uint64_t room = kInboxPrefixBytes + message.size();
  // Wait until the message before is gone, and the peer's inbox has room.
  while (alive() &&
         (message_queued_ || inbox_bytes_sent_ - inbox_bytes_consumed_ + room > kInboxBytes)) {
    if (Clock::now() >= deadline) {
      return fail(Errc::kTimeout, "send a message to {}: it does not take its messages", peer_);
    }
    turn(deadline);
  }
  if (!alive()) return dead();
  std::copy(message.begin(), message.end(), message_.get());
  message_bytes_ = static_cast<uint32_t>(message.size());
  message_queued_ = true;
  inbox_bytes_sent_ += room;
  queue(FrameType::kMessage, nullptr);
  while (alive() && message_queued_) {
    turn(kWithoutWaiting);
    if (!alive() || !message_queued_) break;
    if (Clock::now() >= deadline) {
      return fail(Errc::kTimeout, "send a message to {}: it is still on its way", peer_);
    }
    turn(deadline);
  }
  if (!alive()) return dead();
  return {};
}

Result<size_t> TcpEndpoint::receive(std::span<std::byte> message, Deadline deadline) {
  // What arrived before the end is still delivered.
  if (inbox_.empty()) RETURN_IF_ERROR(start());
  while (inbox_.empty()) {
    turn(kWithoutWaiting);
    if (!inbox_.empty()) break;
    if (!alive()) return dead();
    if (Clock::now() >= deadline) return fail(Errc::kTimeout, "wait for a message of {}", peer_);
    turn(deadline);
    if (inbox_.empty() && !alive()) return dead();
  }
  const size_t size = inbox_.front_bytes();
  if (size > message.size()) {
    const auto error = fail(Errc::kCorrupt, "a message of {} bytes where at most {} are expected",
                            size, message.size());
    if (alive()) die_of_peer(error.value());
    return dead();
  }
  inbox_.pop(message);
  // The owner may not come back for a while: let the peer know what of its is done.
  const bool inbox_ack_due = inbox_.consumed_bytes() - inbox_bytes_acknowledged_ >= kInboxAckBytes;
  if (alive() && (frames_unacknowledged_ > 0 || inbox_ack_due)) {
    ack_wanted_ = true;
    turn(kWithoutWaiting);
  }
  return size;
}

void TcpEndpoint::shut_down() {
  shut_down_requested_.store(true);
  wake_event_.raise();
  ::shutdown(socket_.get(), SHUT_RDWR);
}

void TcpEndpoint::die_of_peer(const Error& error) {
  const auto named = fail(error.code, "{} broke the protocol: {}", peer_, error.text());
  die(named.value(), Farewell::kTellPeer);
}

void TcpEndpoint::die_of_socket(int os_errno) {
  if (os_errno == 0) os_errno = send_errno_;
  if (shut_down_requested_.load()) {
    die(fail(Errc::kCancelled, "the connection to {} was shut down", peer_).value(),
        Farewell::kNone);
  } else if (os_errno == 0) {
    die(fail(Errc::kPeerLost, "{} closed the connection", peer_).value(), Farewell::kNone);
  } else if (os_errno == ETIMEDOUT) {
    die(fail(Errc::kPeerLost, "{} has not answered for {} ms", peer_, options_.peer_timeout.count())
            .value(),
        Farewell::kNone);
  } else if (os_errno == EFAULT) {
    // Our side's fault: registered memory has holes, and the kernel found no page to fill one.
    die(no_storage_for_page(), Farewell::kTellPeer);
  } else {
    Error error = fail(Errc::kPeerLost, "the connection to {} broke", peer_).value();
    error.os_errno = os_errno;
    die(error, Farewell::kNone);
  }
}

void TcpEndpoint::die(const Error& error, Farewell farewell) {
  if (!alive()) return;
  error_ = error;
  closing_ = true;
  if (farewell == Farewell::kTellPeer) say_goodbye(error);
  ::shutdown(socket_.get(), SHUT_RDWR);
  end_operations();
  flush_outstanding();
}

// A goodbye can only stand between frames, and a peer that does not read does not get one.
void TcpEndpoint::say_goodbye(const Error& error) {
  const Deadline deadline = deadline_in(kFarewellTime);
  finish_frame_before(deadline);
  if (send_stage_ != SendStage::kIdle || send_pending_ || send_errno_ != 0) return;
  const auto body = std::span(head_).subspan(kFrameHeaderBytes);
  const uint32_t body_bytes = encode_goodbye(error.code, error.text(), body);
  const FrameHeader header{.type = FrameType::kGoodbye,
                           .flags = 0,
                           .segment_count = 0,
                           .body_bytes = body_bytes,
                           .payload_bytes = 0,
                           .sequence = ++sequence_started_,
                           .body_checksum = crc32c(body.first(body_bytes))};
  encode_header(header, std::span(head_).first<kFrameHeaderBytes>());
  const auto frame = std::span<const std::byte>(head_).first(kFrameHeaderBytes + body_bytes);
  if (!send_all(socket_.get(), frame, deadline)) return;
  ::shutdown(socket_.get(), SHUT_WR);
  drop_until_end(socket_.get(), deadline_in(kFarewellTime));
}

void TcpEndpoint::finish_frame_before(Deadline deadline) {
  while (send_errno_ == 0 && (send_stage_ != SendStage::kIdle || send_pending_)) {
    if (Clock::now() >= deadline) return;
    pump_send();
    if (socket_full_ && !writable_pending_) {
      io_uring_sqe* entry = ring_->next_entry();
      io_uring_prep_poll_add(entry, socket_.get(), POLLOUT);
      io_uring_sqe_set_data64(entry, static_cast<uint64_t>(Purpose::kSocketWritable));
      writable_pending_ = true;
    }
    if ((send_pending_ || socket_full_) && !ring_->submit_and_wait(deadline)) return;
    reap();
  }
}

// Returns when the ring has nothing of ours any more: from then on the kernel neither reads nor
// writes the memory of any operation.
void TcpEndpoint::end_operations() {
  if (ring_ == nullptr) return;
  // A ring belongs to its thread. When that thread has ended, the kernel has cancelled what it had
  // submitted.
  if (owner_ != std::this_thread::get_id()) return;
  error_ = error_.value_or(Error{Errc::kCancelled, 0, {}});
  const Deadline deadline = deadline_in(kCancelTime);
  for (const auto& [pending, purpose] :
       {std::pair{receive_pending_, Purpose::kReceive}, std::pair{send_pending_, Purpose::kSend},
        std::pair{writable_pending_, Purpose::kSocketWritable},
        std::pair{wake_pending_, Purpose::kWake}}) {
    if (!pending) continue;
    io_uring_sqe* entry = ring_->next_entry();
    io_uring_prep_cancel64(entry, static_cast<uint64_t>(purpose), 0);
    io_uring_sqe_set_data64(entry, static_cast<uint64_t>(Purpose::kCancel));
  }
  closing_ = false;  // what comes back is only counted
  while (receive_pending_ || send_pending_ || writable_pending_ || wake_pending_) {
    if (Clock::now() >= deadline || !ring_->submit_and_wait(deadline)) break;
    reap();
  }
  closing_ = true;
}

void TcpEndpoint::flush_outstanding() {
  for (TransferWindow* window : {&writes_, &reads_}) {
    for (; !window->empty(); window->close_oldest()) {
      for (const Transfer::Operation& operation : window->oldest().used_operations()) {
        completions_.push({.tag = operation.tag, .status = OpStatus::kFlushed, .torn_pages = 0});
      }
    }
  }
  appendable_ = nullptr;
}

}  // namespace godwit
