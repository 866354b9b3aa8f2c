// SPDX-License-Identifier: Apache-2.0
//
// The data path of a lane over RDMA: messages, completions, waiting. Nothing here allocates.
#include <arpa/inet.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>

#include "engine/base/check.h"
#include "transports/rdma/memory_address.h"
#include "transports/rdma/rdma_endpoint.h"
#include "transports/rdma/rdma_region.h"
#include "transports/rdma/retry_timing.h"

namespace godwit {
namespace {

constexpr uint32_t kLittle = 2;  // requests: RdmaOptions::look_for_lone
// Looks at the completion queue, which are all that is done for a lone completion to be taken as
// soon as it is there, between two looks at everything else.
constexpr int kLooksInARow = 16;
// A queue pair that has stopped without an error of ours: how long to wait for the peer's reason,
// which comes as a disconnect, or as the error of a request under way.
constexpr auto kReasonMax = milliseconds(500);

}  // namespace

Status RdmaEndpoint::post_receive(uint32_t buffer) {
  ibv_sge piece{.addr = address_of(buffers_->incoming(buffer)),
                .length = kRdmaMessageBytesMax,
                .lkey = buffers_->local_key()};
  ibv_recv_wr request{};
  request.wr_id = request_id(RequestKind::kReceive, buffer);
  request.sg_list = &piece;
  request.num_sge = 1;
  ibv_recv_wr* bad = nullptr;
  if (const int error = ibv_post_recv(id_->qp, &request, &bad); error != 0)
    return fail_errno(error, "post a receive buffer");
  return {};
}

Status RdmaEndpoint::post_single(ibv_send_wr request, RequestKind kind) {
  request.wr_id = request_id(kind, number_request());
  request.send_flags |= IBV_SEND_SIGNALED;
  ibv_send_wr* bad = nullptr;
  if (const int error = ibv_post_send(id_->qp, &request, &bad); error != 0) {
    die(fail_errno(error, "post a request to {}", peer_).value());
    return dead();
  }
  return {};
}

Status RdmaEndpoint::post_read_of_flush_word() {
  ibv_sge piece{.addr = address_of(buffers_->flush_target()),
                .length = sizeof(uint64_t),
                .lkey = buffers_->local_key()};
  ibv_send_wr request{};
  request.sg_list = &piece;
  request.num_sge = 1;
  request.opcode = IBV_WR_RDMA_READ;
  request.wr.rdma.remote_addr = peer_flush_word_.address;
  request.wr.rdma.rkey = peer_flush_word_.remote_key;
  return post_single(request, RequestKind::kFlush);
}

Result<size_t> RdmaEndpoint::poll(std::span<Completion> completions, Deadline deadline) {
  other_is_ready_ = false;
  while (true) {
    progress();
    const size_t count = work_.take(completions);
    if (count > 0) return count;
    if (!alive()) return dead();
    if (!work_.has_operations() || other_is_ready_ || Clock::now() >= deadline) return 0;
    wait(deadline);
  }
}

bool RdmaEndpoint::sleep_with(int fd) {
  other_fd_ = fd;
  return true;
}

Status RdmaEndpoint::flush(Deadline deadline) {
  RETURN_IF_ERROR(wait_until([&] { return work_.requests_free() > 0; }, deadline));
  RETURN_IF_ERROR(post_read_of_flush_word());
  const uint64_t request = work_.last_posted();
  return wait_until([&] { return alive() && work_.is_complete(request); }, deadline);
}

Status RdmaEndpoint::send(std::span<const std::byte> message, Deadline deadline) {
  CHECK(message.size() <= kRdmaMessageBytesMax);
  RETURN_IF_ERROR(wait_until([&] { return alive() && can_send(); }, deadline));
  return post_message(message, std::nullopt);
}

bool RdmaEndpoint::can_send() const {
  return work_.requests_free() > 0 &&
         work_.is_complete(message_requests_[next_message_ % kRdmaMessagesInFlightMax]);
}

Status RdmaEndpoint::post_message(std::span<const std::byte> message,
                                  std::optional<uint32_t> immediate) {
  ibv_sge piece{
      .addr = address_of(message), .length = static_cast<uint32_t>(message.size()), .lkey = 0};
  ibv_send_wr request{};
  request.sg_list = &piece;
  request.num_sge = message.empty() ? 0 : 1;
  request.opcode = immediate ? IBV_WR_SEND_WITH_IMM : IBV_WR_SEND;
  if (immediate) request.imm_data = htonl(*immediate);
  const uint32_t buffer = next_message_++ % kRdmaMessagesInFlightMax;
  if (message.size() <= inline_bytes_max_) {
    // Inline bytes are read while they are posted, and need no key (ibv_post_send(3)).
    request.send_flags = IBV_SEND_INLINE;
  } else {
    std::span<std::byte> bytes = buffers_->outgoing(buffer);
    std::ranges::copy(message, bytes.begin());
    piece.addr = address_of(bytes);
    piece.lkey = buffers_->local_key();
  }
  RETURN_IF_ERROR(post_single(request, RequestKind::kSend));
  message_requests_[buffer] = work_.last_posted();
  return {};
}

Status RdmaEndpoint::send_key_message(const KeyMessage& message) {
  return post_message(std::as_bytes(std::span(&message, 1)), static_cast<uint32_t>(message.kind));
}

void RdmaEndpoint::take_key_message(std::span<const std::byte> bytes) {
  const Result<KeyMessage> message = decode_key_message(bytes);
  if (!message) return die(message.error());
  switch (message->kind) {
    case KeyMessageKind::kWanted:
      return registrar_->want(*message, mailbox_);
    case KeyMessageKind::kReady:
      if (const Status learnt = remote_keys_.learn(*message); !learnt) die(learnt.error());
      return;
    case KeyMessageKind::kFailed:
      if (message->error == ENOENT)
        return die(fail(Errc::kCorrupt, "{} has no such memory registered", peer_).value());
      return die(
          fail(Errc::kRefused,
               "{} could not pin guest memory for RDMA: {}. Is there space for it (tmpfs, huge "
               "pages), and may it be pinned (ulimit -l, LimitMEMLOCK=)? Else use --transport "
               "tcp",
               peer_, describe_errno(static_cast<int>(message->error)))
              .value());
  }
}

// Sends what the registrar has made ready, as far as there is room.
void RdmaEndpoint::answer_questions() {
  if (!mailbox_->empty()) mailbox_->take(answers_);
  size_t sent = 0;
  while (sent < answers_.size() && can_send() && send_key_message(answers_[sent])) ++sent;
  answers_.erase(answers_.begin(), answers_.begin() + static_cast<ptrdiff_t>(sent));
}

Result<size_t> RdmaEndpoint::receive(std::span<std::byte> message, Deadline deadline) {
  const auto have_message = [&] { return inbox_pushed_ != inbox_taken_; };
  if (const Status waited = wait_until(have_message, deadline); !waited)
    return tl::unexpected<Error>(waited.error());
  const ReceivedMessage received = inbox_[inbox_taken_++ % kRdmaMessagesInFlightMax];
  if (received.size_bytes > message.size()) {
    die(fail(Errc::kCorrupt, "{} sent a message of {} bytes where {} are allowed", peer_,
             received.size_bytes, message.size())
            .value());
    return dead();
  }
  std::ranges::copy(buffers_->incoming(received.buffer).first(received.size_bytes),
                    message.begin());
  if (alive()) RETURN_IF_ERROR(post_receive(received.buffer));
  return received.size_bytes;
}

bool RdmaEndpoint::progress() {
  if (!alive()) return false;
  if (shut_down_requested_) {
    die(fail(Errc::kCancelled, "the lane to {} was shut down", peer_).value());
    return true;
  }
  if (stopped_until_ && Clock::now() >= *stopped_until_) {
    die(fail(Errc::kPeerLost,
             "the lane to {} has stopped: queue pair {} is in state {}, and neither a request nor "
             "the "
             "peer has said why",
             peer_, id_->qp->qp_num, to_string(queue_pair_state()))
            .value());
    return true;
  }
  // The device's own retries end sooner where it counts them as it was told.
  if (!work_.is_complete(sign_of_life_) && Clock::now() >= sign_of_life_until_) {
    die(fail(Errc::kPeerLost, "lane to {}: no sign of life for {} s, nor an error of the device",
             peer_, to_seconds(options_.peer_timeout))
            .value());
    return true;
  }
  if (const char* loss = device_->port_watch().loss(); loss != nullptr) {
    die(fail(Errc::kPeerLost, "lane to {}: port {} of RDMA device {} is lost: {}", peer_,
             device_->port(), device_->name(), loss)
            .value());
    return true;
  }
  const bool any = take_completions();
  if (alive() && (!mailbox_->empty() || !answers_.empty())) answer_questions();
  return any;
}

bool RdmaEndpoint::take_completions() {
  std::array<ibv_wc, 32> completions;
  const int count = ibv_poll_cq(completion_queue_.get(), completions.size(), completions.data());
  if (count < 0) {
    die(fail(Errc::kSystem, "the completion queue of the lane to {} failed", peer_).value());
    return true;
  }
  for (int i = 0; i < count; ++i) take_completion(completions[static_cast<size_t>(i)]);
  return count > 0;
}

void RdmaEndpoint::take_completion(const ibv_wc& completion) {
  if (completion.status != IBV_WC_SUCCESS) return take_failure(completion);
  const uint64_t number = number_of(completion.wr_id);
  if (kind_of(completion.wr_id) == RequestKind::kReceive) {
    const auto buffer = static_cast<uint32_t>(number);
    if ((completion.wc_flags & IBV_WC_WITH_IMM) != 0) {
      take_key_message(buffers_->incoming(buffer).first(completion.byte_len));
      if (const Status posted = alive() ? post_receive(buffer) : Status(); !posted)
        die(posted.error());
      return;
    }
    inbox_[inbox_pushed_++ % kRdmaMessagesInFlightMax] = {buffer, completion.byte_len};
  } else {
    work_.complete(number);
    if (staging_) staging_->free_up_to(staging_ends_[number % kRdmaRequestsMax]);
  }
}

void RdmaEndpoint::take_failure(const ibv_wc& completion) {
  const RequestKind kind = kind_of(completion.wr_id);
  if (kind != RequestKind::kReceive) work_.let_go(number_of(completion.wr_id));
  // The first error is the cause; those that follow it only say that the queue pair has stopped.
  if (completion.status == IBV_WC_WR_FLUSH_ERR) {
    return notice_stop();
  }
  const Error error = describe({.kind = kind,
                                .status = completion.status,
                                .vendor_error = completion.vendor_err,
                                .queue_pair = completion.qp_num,
                                .state = queue_pair_state()},
                               peer_);
  // Also when the peer's goodbye, for the same cause, was seen first.
  if (!alive() && error_->code == Errc::kPeerLost && error.code == Errc::kCorrupt) error_ = error;
  die(error);
}

// The queue pair has stopped, and no request of ours was the cause.
void RdmaEndpoint::notice_stop() {
  if (stopped_until_ || !alive()) return;
  stopped_until_ = deadline_in(kReasonMax);
  // One reason is of this host, and nobody else will give it.
  if (has_port_address(id_->verbs, device_->port(), id_->route.addr.addr.ibaddr.sgid)) return;
  die(fail(Errc::kPeerLost, "lane to {}: its address on RDMA device {} is gone (ip address)", peer_,
           device_->name())
          .value());
}

// For messages only: a system call.
ibv_qp_state RdmaEndpoint::queue_pair_state() const {
  ibv_qp_attr attributes{};
  ibv_qp_init_attr initial{};
  if (id_->qp == nullptr || ibv_query_qp(id_->qp, &attributes, IBV_QP_STATE, &initial) != 0)
    return IBV_QPS_UNKNOWN;
  return attributes.qp_state;
}

void RdmaEndpoint::take_events() {
  if (!alive()) return;
  Result<ConnectionEvent> event = next_event(channel_.get(), kNoWakeEvent, Deadline::min());
  if (!event) return;
  switch (event->type) {
    case RDMA_CM_EVENT_DISCONNECTED:
    case RDMA_CM_EVENT_TIMEWAIT_EXIT:
      take_completions();  // what it sent before
      return die(fail(Errc::kPeerLost, "{} closed the lane", peer_).value());
    case RDMA_CM_EVENT_DEVICE_REMOVAL:
      return die(fail(Errc::kPeerLost, "RDMA device {} was removed", device_->name()).value());
    case RDMA_CM_EVENT_ADDR_CHANGE:
      return die(fail(Errc::kPeerLost, "the address of RDMA device {} has changed", device_->name())
                     .value());
    default:
      return;
  }
}

void RdmaEndpoint::wait(Deadline deadline) {
  const bool little =
      other_fd_ < 0 && work_.has_operations() && work_.requests_in_flight() <= kLittle;
  const Deadline look_until =
      std::min(deadline, deadline_in(little ? options_.look_for_lone : options_.look_for));
  do {
    for (int look = 0; look < kLooksInARow; ++look) {
      if (take_completions()) return;
    }
    if (progress()) return;
  } while (Clock::now() < look_until);
  sleep(deadline);
}

void RdmaEndpoint::sleep(Deadline deadline) {
  if (Clock::now() >= next_sign_of_life_) {
    next_sign_of_life_ = deadline_in(sign_of_life_interval(options_.peer_timeout));
    if (work_.all_complete()) {
      if (!post_read_of_flush_word()) return;
      sign_of_life_ = work_.last_posted();
      sign_of_life_until_ = deadline_in(sign_of_life_max(options_.peer_timeout));
    }
  }
  if (ibv_req_notify_cq(completion_queue_.get(), 0) != 0) {
    die(fail(Errc::kSystem, "ask for completion events of the lane to {}", peer_).value());
    return;
  }
  // What completed before the request gives no event.
  if (progress()) return;
  std::array<pollfd, 6> polled{{{completion_channel_->fd, POLLIN, 0},
                                {channel_->fd, POLLIN, 0},
                                {wake_event_.fd(), POLLIN, 0},
                                {device_->port_watch().fd(), POLLIN, 0},
                                {mailbox_->fd(), POLLIN, 0},
                                {other_fd_, POLLIN, 0}}};  // which poll(2) skips when negative
  Deadline until = std::min({deadline, next_sign_of_life_, stopped_until_.value_or(deadline)});
  if (!work_.is_complete(sign_of_life_)) until = std::min(until, sign_of_life_until_);
  const int timeout = milliseconds_until(until);
  if (::poll(polled.data(), polled.size(), timeout) <= 0) return;
  if (polled[0].revents != 0) {
    ibv_cq* queue = nullptr;
    void* context = nullptr;
    if (ibv_get_cq_event(completion_channel_.get(), &queue, &context) == 0)
      ibv_ack_cq_events(queue, 1);
  }
  if (polled[1].revents != 0) take_events();
  other_is_ready_ = polled[5].revents != 0;
}

}  // namespace godwit
