// SPDX-License-Identifier: Apache-2.0
//
// Life and death of a lane; its data path is in rdma_endpoint_posting.cc and
// rdma_endpoint_datapath.cc.
#include "transports/rdma/rdma_endpoint.h"

#include <fcntl.h>

#include <cerrno>

#include "transports/rdma/retry_timing.h"

namespace godwit {
namespace {

constexpr uint8_t kRetryWithoutEnd = 7;  // receiver not ready: the peer is busy, not gone
// Encoded; 12 is 0.64 ms (IB specification, table 45). rdma_cm's own, 0, is 655 ms.
constexpr uint8_t kReceiverNotReadyTimer = 12;
constexpr auto kGoodbyeMax = seconds(1);

}  // namespace

Result<std::unique_ptr<RdmaEndpoint>> RdmaEndpoint::make(RdmaParts parts,
                                                         VerbsHandle<rdma_event_channel> channel,
                                                         VerbsHandle<rdma_cm_id> id,
                                                         std::string peer,
                                                         const RdmaOptions& options) {
  if (id->verbs != parts.device->context()) {
    return fail(Errc::kRefused, "{} is reached by RDMA device {}, not by {}", peer,
                id->verbs == nullptr ? "?" : ibv_get_device_name(id->verbs->device),
                parts.device->name());
  }
  ASSIGN_OR_RETURN(WakeEvent wake_event, WakeEvent::make());
  std::unique_ptr<RdmaEndpoint> endpoint(new RdmaEndpoint(std::move(parts), std::move(channel),
                                                          std::move(id), std::move(wake_event),
                                                          std::move(peer), options));
  ASSIGN_OR_RETURN(endpoint->buffers_, MessageBuffers::make(*endpoint->device_));
  ASSIGN_OR_RETURN(endpoint->mailbox_, KeyMailbox::make());
  RETURN_IF_ERROR(endpoint->make_queue_pair());
  return endpoint;
}

Status RdmaEndpoint::make_queue_pair() {
  ASSIGN_OR_RETURN(const QueueSizes sizes, queue_sizes(device_->limits()));
  completion_channel_.reset(ibv_create_comp_channel(device_->context()));
  if (completion_channel_ == nullptr) return fail_errno(errno, "create a completion channel");
  if (::fcntl(completion_channel_->fd, F_SETFL, O_NONBLOCK) != 0)
    return fail_errno(errno, "make a completion channel non-blocking");
  completion_queue_.reset(ibv_create_cq(device_->context(), static_cast<int>(sizes.completions),
                                        nullptr, completion_channel_.get(), 0));
  if (completion_queue_ == nullptr)
    return fail_errno(errno, "create a queue of {} completions", sizes.completions);
  ASSIGN_OR_RETURN(const uint32_t requests, make_queue_pair_of(sizes.requests));
  work_.limit_requests(requests);
  for (uint32_t buffer = 0; buffer < kRdmaMessagesInFlightMax; ++buffer)
    RETURN_IF_ERROR(post_receive(buffer));

  uint8_t timeout = retry_timing(options_.peer_timeout).timeout_exponent;
  if (rdma_set_option(id_.get(), RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout,
                      sizeof(timeout)) != 0)
    return fail_errno(errno, "set the acknowledge time-out");
  return {};
}

Result<uint32_t> RdmaEndpoint::make_queue_pair_of(uint32_t requests) {
  uint32_t inline_bytes = kRdmaInlineBytesWanted;
  while (true) {
    ibv_qp_init_attr attributes{};
    attributes.send_cq = completion_queue_.get();
    attributes.recv_cq = completion_queue_.get();
    attributes.qp_type = IBV_QPT_RC;
    attributes.cap = {.max_send_wr = requests,
                      .max_recv_wr = kRdmaMessagesInFlightMax,
                      .max_send_sge = 1,
                      .max_recv_sge = 1,
                      .max_inline_data = inline_bytes};
    if (rdma_create_qp(id_.get(), device_->domain(), &attributes) == 0) {
      // May be more than was asked for.
      inline_bytes_max_ = attributes.cap.max_inline_data;
      return requests;
    }
    // The most that a device has is for the least demanding requests, and how much of it inline
    // data takes is not to be asked: give up that first, then depth.
    const int os_errno = errno;
    if (inline_bytes > 0) {
      inline_bytes = 0;
    } else if (requests / 2 >= kRdmaRequestsMin) {
      requests /= 2;
    } else {
      return fail_errno(os_errno, "create a queue pair of {} requests", requests);
    }
  }
}

rdma_conn_param RdmaEndpoint::connection_parameters(const Greeting& greeting) const {
  constexpr ReadDepths kAnything{.served = kRdmaReadsInFlightMax, .asked = kRdmaReadsInFlightMax};
  return connection_parameters(greeting, kAnything);
}

rdma_conn_param RdmaEndpoint::connection_parameters(const Greeting& greeting,
                                                    ReadDepths peer) const {
  const ReadDepths depths = read_depths(device_->limits(), peer);
  rdma_conn_param parameters{};
  parameters.private_data = &greeting;
  parameters.private_data_len = sizeof(greeting);
  parameters.responder_resources = depths.served;
  parameters.initiator_depth = depths.asked;
  parameters.retry_count = retry_timing(options_.peer_timeout).retries;
  parameters.rnr_retry_count = kRetryWithoutEnd;
  return parameters;
}

Status RdmaEndpoint::begin(const Greeting& peer) {
  peer_flush_word_ = {.address = peer.flush_address, .remote_key = peer.flush_key};
  ibv_qp_attr attributes{};
  ibv_qp_init_attr initial{};
  if (const int error = ibv_query_qp(id_->qp, &attributes, IBV_QP_MAX_QP_RD_ATOMIC, &initial);
      error != 0)
    return fail_errno(error, "query the queue pair of the lane to {}", peer_);
  // A flush is a read. How many more there are at a time is the device's to keep to: those behind
  // wait in the send queue.
  if (attributes.max_rd_atomic == 0) return fail(Errc::kRefused, "{} serves no RDMA reads", peer_);
  attributes = {};
  attributes.min_rnr_timer = kReceiverNotReadyTimer;
  if (const int error = ibv_modify_qp(id_->qp, &attributes, IBV_QP_MIN_RNR_TIMER); error != 0)
    return fail_errno(error, "set the receiver-not-ready timer");
  next_sign_of_life_ = deadline_in(sign_of_life_interval(options_.peer_timeout));
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
