// SPDX-License-Identifier: Apache-2.0
//
// The data path of a lane over RDMA: posting, completing, waiting. Nothing here allocates.
#include <arpa/inet.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>

#include "engine/base/check.h"
#include "transports/rdma/rdma_endpoint.h"
#include "transports/rdma/rdma_region.h"
#include "transports/rdma/retry_timing.h"

namespace godwit {
namespace {

constexpr uint64_t kRequestBytesMax = 1 * kMiB;
// Completions usually come sooner than a sleeper wakes.
constexpr auto kLookFor = microseconds(20);
// A queue pair that has stopped without an error of ours: how long to wait for the peer's reason,
// which comes as a disconnect, or as the error of a request under way.
constexpr auto kReasonMax = milliseconds(500);
// Requests that one operation can take: where both ends change chunks in it.
constexpr size_t kPiecesMax = 3;
constexpr auto kKeysPatience = milliseconds(20);

uint64_t address_of(std::span<const std::byte> bytes) {
  // SAFETY: only as a number, which is how verbs names memory.
  return reinterpret_cast<uint64_t>(bytes.data());
}

RequestKind kind_of(ibv_wr_opcode opcode) {
  return opcode == IBV_WR_RDMA_READ ? RequestKind::kRead : RequestKind::kWrite;
}

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

Result<size_t> RdmaEndpoint::post_writes(std::span<const TransferOp> ops, SourceMemory) {
  return post(ops, IBV_WR_RDMA_WRITE);
}

Result<size_t> RdmaEndpoint::post_reads(std::span<const TransferOp> ops) {
  return post(ops, IBV_WR_RDMA_READ);
}

Result<size_t> RdmaEndpoint::post(std::span<const TransferOp> ops, ibv_wr_opcode opcode) {
  progress();
  if (!alive()) return dead();
  size_t accepted = 0;
  while (accepted < ops.size()) {
    const uint32_t free = work_.requests_free();
    const size_t room = std::min<size_t>(work_.operations_free(), ops.size() - accepted);
    if (free <= kRdmaRequestsReserved || room == 0) break;
    Result<Chain> chain =
        make_chain(ops.subspan(accepted, room), opcode, free - kRdmaRequestsReserved);
    if (!chain) {
      die(chain.error());
      return dead();
    }
    if (chain->requests == 0) break;
    ibv_send_wr* bad = nullptr;
    if (const int error = ibv_post_send(id_->qp, requests_.data(), &bad); error != 0) {
      die(fail_errno(error, "post {} requests to {}", chain->requests, peer_).value());
      return dead();
    }
    accepted += chain->operations;
  }
  // Nothing of the caller's is on its way, so what there is to wait for are the peer's keys.
  if (accepted == 0 && !work_.has_operations()) {
    wait(deadline_in(kKeysPatience));
    if (!alive()) return dead();
  }
  return accepted;
}

Result<RdmaEndpoint::Chain> RdmaEndpoint::make_chain(std::span<const TransferOp> ops,
                                                     ibv_wr_opcode opcode, size_t requests_max) {
  requests_max = std::min(requests_max, kBatchMax);
  Chain chain;
  for (const TransferOp& op : ops) {
    if (chain.requests + kPiecesMax > requests_max) break;
    RemoteKeys::Region& remote = remote_keys_.find(op.remote);
    if (!keys_are_here(op, remote)) break;
    // SAFETY: registered by our transport, as the interface requires.
    const auto& region = static_cast<const RdmaRegion&>(*op.local);
    if (region.chunks() == nullptr) {
      if (staging_ == nullptr) {
        ASSIGN_OR_RETURN(staging_, StagingRing::make(*device_));
      }
      if (!staging_->has_room(op.size_bytes)) break;
      staged_ = staging_->copy(region.bytes().subspan(op.local_offset_bytes, op.size_bytes));
    }
    for (uint32_t done = 0; done < op.size_bytes;) {
      ASSIGN_OR_RETURN(const Piece piece, next_piece(op, done, remote));
      add_to_chain(chain, piece, opcode);
      done += piece.size_bytes;
    }
    work_.add_operation(op.tag);
    ++chain.operations;
  }
  if (chain.requests == 0) return chain;
  ibv_send_wr& last = requests_[chain.requests - 1];
  close_request(last, opcode);
  last.send_flags = IBV_SEND_SIGNALED;
  last.next = nullptr;
  return chain;
}

Result<RdmaEndpoint::Piece> RdmaEndpoint::next_piece(const TransferOp& op, uint32_t done_bytes,
                                                     const RemoteKeys::Region& remote) {
  const auto& region = static_cast<const RdmaRegion&>(*op.local);
  const uint64_t remote_offset = op.remote_offset_bytes + done_bytes;
  const size_t remote_chunk = remote.map.index_of(remote_offset);
  uint64_t size =
      std::min<uint64_t>(op.size_bytes - done_bytes, remote.map.end(remote_chunk) - remote_offset);
  Piece piece{.local_address = 0,
              .local_key = 0,
              .remote_address = op.remote.base + remote_offset,
              .remote_key = remote.keys[remote_chunk],
              .size_bytes = 0};
  if (PinnedChunks* const chunks = region.chunks(); chunks != nullptr) {
    const uint64_t offset = op.local_offset_bytes + done_bytes;
    const size_t chunk = chunks->map().index_of(offset);
    ASSIGN_OR_RETURN(const ibv_mr* registered, chunks->ensure(chunk));
    size = std::min(size, chunks->map().end(chunk) - offset);
    piece.local_address = address_of(region.bytes()) + offset;
    piece.local_key = registered->lkey;
  } else {
    piece.local_address = address_of(staged_) + done_bytes;
    piece.local_key = staging_->local_key();
  }
  piece.size_bytes = static_cast<uint32_t>(size);
  return piece;
}

// Neighbours become one request.
void RdmaEndpoint::add_to_chain(Chain& chain, const Piece& piece, ibv_wr_opcode opcode) {
  if (chain.requests > 0) {
    ibv_send_wr& last = requests_[chain.requests - 1];
    ibv_sge& bytes = pieces_[chain.requests - 1];
    if (bytes.lkey == piece.local_key && bytes.addr + bytes.length == piece.local_address &&
        last.wr.rdma.rkey == piece.remote_key &&
        last.wr.rdma.remote_addr + bytes.length == piece.remote_address &&
        bytes.length + piece.size_bytes <= kRequestBytesMax) {
      bytes.length += piece.size_bytes;
      return;
    }
    close_request(last, opcode);
    last.next = &requests_[chain.requests];
  }
  ibv_send_wr& request = requests_[chain.requests];
  ibv_sge& bytes = pieces_[chain.requests];
  bytes = {.addr = piece.local_address, .length = piece.size_bytes, .lkey = piece.local_key};
  request = {};
  request.sg_list = &bytes;
  request.num_sge = 1;
  request.opcode = opcode;
  request.wr.rdma.remote_addr = piece.remote_address;
  request.wr.rdma.rkey = piece.remote_key;
  ++chain.requests;
}

// Nothing is added to this request any more.
void RdmaEndpoint::close_request(ibv_send_wr& request, ibv_wr_opcode opcode) {
  request.wr_id = request_id(kind_of(opcode), number_request());
}

uint64_t RdmaEndpoint::number_request() {
  const uint64_t number = work_.post();
  if (staging_) staging_ends_[number % kRdmaRequestsMax] = staging_->end();
  return number;
}

bool RdmaEndpoint::keys_are_here(const TransferOp& op, RemoteKeys::Region& remote) {
  const size_t first = remote.map.index_of(op.remote_offset_bytes);
  const size_t last = remote.map.index_of(op.remote_offset_bytes + op.size_bytes - 1);
  bool here = true;
  for (size_t chunk = first; chunk <= last; ++chunk)
    here &= remote.states[chunk] == RemoteKeys::Region::State::kKnown;
  // Also for what comes next, most likely, so that it is ready by then.
  for (size_t chunk = first; chunk <= last + 1 && chunk < remote.map.count(); ++chunk)
    ask_for(remote, chunk);
  return here;
}

void RdmaEndpoint::ask_for(RemoteKeys::Region& remote, size_t chunk) {
  if (remote.states[chunk] != RemoteKeys::Region::State::kUnknown || !can_send()) return;
  const Status sent = send_key_message({.kind = KeyMessageKind::kWanted,
                                        .chunk = static_cast<uint32_t>(chunk),
                                        .region = remote.name,
                                        .key = 0,
                                        .error = 0});
  if (sent) remote.states[chunk] = RemoteKeys::Region::State::kAsked;
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
  while (true) {
    progress();
    const size_t count = work_.take(completions);
    if (count > 0) return count;
    if (!alive()) return dead();
    if (!work_.has_operations() || Clock::now() >= deadline) return 0;
    wait(deadline);
  }
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
      return die(fail(Errc::kRefused,
                      "{} could not pin guest memory for RDMA: {}; raise its limit (ulimit -l "
                      "unlimited, LimitMEMLOCK=infinity), or use --transport tcp",
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
  const Deadline look_until = std::min(deadline, deadline_in(kLookFor));
  do {
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
  std::array<pollfd, 5> polled{{{completion_channel_->fd, POLLIN, 0},
                                {channel_->fd, POLLIN, 0},
                                {wake_event_.fd(), POLLIN, 0},
                                {device_->port_watch().fd(), POLLIN, 0},
                                {mailbox_->fd(), POLLIN, 0}}};
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
}

}  // namespace godwit
