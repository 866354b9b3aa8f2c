// SPDX-License-Identifier: Apache-2.0
//
// Life and death of a lane; its data path is in rdma_endpoint_datapath.cc.
#include "transports/rdma/rdma_endpoint.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

namespace godwit {
namespace {

constexpr uint8_t kRetries = 7;          // the most there is
constexpr uint8_t kRetryWithoutEnd = 7;  // receiver not ready: the peer is busy, not gone
// Encoded; 12 is 0.64 ms (IB specification, table 45). rdma_cm's own, 0, is 655 ms.
constexpr uint8_t kReceiverNotReadyTimer = 12;
constexpr uint32_t kReadsInFlightMax = 16;
constexpr auto kGoodbyeMax = seconds(1);

// 4.096 us * 2^n is how long the device waits for an acknowledgement before it tries again. All
// tries together are to take half of the peer's time-out; the rest is for noticing it.
uint8_t acknowledge_timeout(Clock::duration peer_timeout) {
  uint8_t exponent = 14;
  while (exponent < 31 &&
         nanoseconds(4096) * (int64_t{2} << exponent) * (kRetries + 1) <= peer_timeout / 2)
    ++exponent;
  return exponent;
}

}  // namespace

Result<std::unique_ptr<RdmaEndpoint>> RdmaEndpoint::make(std::shared_ptr<RdmaDevice> device,
                                                         VerbsHandle<rdma_event_channel> channel,
                                                         VerbsHandle<rdma_cm_id> id,
                                                         std::string peer,
                                                         const RdmaOptions& options) {
  if (id->verbs != device->context()) {
    return fail(Errc::kRefused, "{} is reached by RDMA device {}, not by {}", peer,
                id->verbs == nullptr ? "?" : ibv_get_device_name(id->verbs->device),
                device->name());
  }
  ASSIGN_OR_RETURN(WakeEvent wake_event, WakeEvent::make());
  std::unique_ptr<RdmaEndpoint> endpoint(new RdmaEndpoint(std::move(device), std::move(channel),
                                                          std::move(id), std::move(wake_event),
                                                          std::move(peer), options));
  ASSIGN_OR_RETURN(endpoint->buffers_, MessageBuffers::make(endpoint->device_));
  RETURN_IF_ERROR(endpoint->make_queue_pair());
  return endpoint;
}

Status RdmaEndpoint::make_queue_pair() {
  completion_channel_.reset(ibv_create_comp_channel(device_->context()));
  if (completion_channel_ == nullptr) return fail_errno(errno, "create a completion channel");
  if (::fcntl(completion_channel_->fd, F_SETFL, O_NONBLOCK) != 0)
    return fail_errno(errno, "make a completion channel non-blocking");
  // Every request could fail at once, and a failed one completes even when it is not signalled.
  constexpr int kCompletionsMax = kRequestsMax + kRdmaMessagesInFlightMax;
  completion_queue_.reset(
      ibv_create_cq(device_->context(), kCompletionsMax, nullptr, completion_channel_.get(), 0));
  if (completion_queue_ == nullptr) return fail_errno(errno, "create a completion queue");

  ibv_qp_init_attr attributes{};
  attributes.send_cq = completion_queue_.get();
  attributes.recv_cq = completion_queue_.get();
  attributes.qp_type = IBV_QPT_RC;
  attributes.cap = {.max_send_wr = kRequestsMax,
                    .max_recv_wr = kRdmaMessagesInFlightMax,
                    .max_send_sge = 1,
                    .max_recv_sge = 1,
                    .max_inline_data = 0};
  if (rdma_create_qp(id_.get(), device_->domain(), &attributes) != 0)
    return fail_errno(errno, "create a queue pair of {} requests", kRequestsMax);
  for (uint32_t buffer = 0; buffer < kRdmaMessagesInFlightMax; ++buffer)
    RETURN_IF_ERROR(post_receive(buffer));

  uint8_t timeout = acknowledge_timeout(options_.peer_timeout);
  if (rdma_set_option(id_.get(), RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout,
                      sizeof(timeout)) != 0)
    return fail_errno(errno, "set the acknowledge time-out");
  return {};
}

rdma_conn_param RdmaEndpoint::connection_parameters(const Greeting& greeting) const {
  const ibv_device_attr& attributes = device_->attributes();
  rdma_conn_param parameters{};
  parameters.private_data = &greeting;
  parameters.private_data_len = sizeof(greeting);
  parameters.responder_resources = static_cast<uint8_t>(
      std::min(static_cast<uint32_t>(attributes.max_qp_rd_atom), kReadsInFlightMax));
  parameters.initiator_depth = static_cast<uint8_t>(
      std::min(static_cast<uint32_t>(attributes.max_qp_init_rd_atom), kReadsInFlightMax));
  parameters.retry_count = kRetries;
  parameters.rnr_retry_count = kRetryWithoutEnd;
  return parameters;
}

Status RdmaEndpoint::begin(const Greeting& peer) {
  peer_flush_word_ = {.address = peer.flush_address, .remote_key = peer.flush_key};
  ibv_qp_attr attributes{};
  attributes.min_rnr_timer = kReceiverNotReadyTimer;
  if (const int error = ibv_modify_qp(id_->qp, &attributes, IBV_QP_MIN_RNR_TIMER); error != 0)
    return fail_errno(error, "set the receiver-not-ready timer");
  next_sign_of_life_ = deadline_in(options_.peer_timeout / 3);
  begun_ = true;
  return {};
}

RdmaEndpoint::~RdmaEndpoint() {
  // What was sent is to arrive, if the peer is still there to take it.
  if (alive() && begun_ && !shut_down_requested_)
    (void)wait_until([&] { return work_.all_complete(); }, deadline_in(kGoodbyeMax));
  die(fail(Errc::kCancelled, "the lane to {} was given up", peer_).value());
}

void RdmaEndpoint::shut_down() {
  if (shut_down_requested_.exchange(true)) return;
  wake_event_.raise();
  // From here, since the owner may be busy elsewhere: the peer is to know at once.
  if (begun_) rdma_disconnect(id_.get());
}

// After this the device uses none of the local memory of what was posted.
void RdmaEndpoint::die(const Error& error) {
  if (!alive()) return;
  error_ = error;
  if (begun_) {
    // Puts the queue pair into the error state first, and fails only behind that: the peer may have
    // gone (librdmacm, cma.c).
    rdma_disconnect(id_.get());
    drain();
  }
  work_.end();
}

// Waits until the device has let go of every request: in the error state all of them complete.
void RdmaEndpoint::drain() {
  const Deadline deadline = deadline_in(kGoodbyeMax);
  while (!work_.all_complete() && Clock::now() < deadline) take_completions();
  // A device that does not answer lets go when the queue pair is destroyed.
  if (!work_.all_complete()) rdma_destroy_qp(id_.get());
}

}  // namespace godwit
