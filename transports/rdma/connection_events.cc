// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/connection_events.h"

#include <fcntl.h>
#include <poll.h>

#include <array>
#include <cerrno>

namespace godwit {
namespace {

// IB specification, table 109, as far as rdma_cm hands them through.
constexpr int kRejectedNoListener = 8;
constexpr int kRejectedByConsumer = 28;

tl::unexpected<Error> unexpected_event(const ConnectionEvent& event) {
  if (event.type == RDMA_CM_EVENT_REJECTED && event.status == kRejectedByConsumer)
    return fail(Errc::kRefused, "the other side did not accept this lane");
  if (event.type == RDMA_CM_EVENT_REJECTED && event.status == kRejectedNoListener)
    return fail(Errc::kPeerLost, "nobody listens there");
  // The status of most events is a negative errno (rdma_get_cm_event(3)).
  if (event.status < 0) {
    return fail(Errc::kPeerLost, "{}: {}", rdma_event_str(event.type),
                describe_errno(-event.status));
  }
  return fail(Errc::kPeerLost, "{} (status {})", rdma_event_str(event.type), event.status);
}

}  // namespace

Result<VerbsHandle<rdma_event_channel>> make_event_channel() {
  VerbsHandle<rdma_event_channel> channel(rdma_create_event_channel());
  if (channel == nullptr) return fail_errno(errno, "create an rdma_cm event channel");
  if (::fcntl(channel->fd, F_SETFL, O_NONBLOCK) != 0)
    return fail_errno(errno, "make an rdma_cm event channel non-blocking");
  return channel;
}

Result<VerbsHandle<rdma_cm_id>> make_id(rdma_event_channel* channel) {
  rdma_cm_id* id = nullptr;
  if (rdma_create_id(channel, &id, nullptr, RDMA_PS_TCP) != 0)
    return fail_errno(errno, "create an rdma_cm id");
  return VerbsHandle<rdma_cm_id>(id);
}

Result<ConnectionEvent> next_event(rdma_event_channel* channel, int wake_event, Deadline deadline) {
  while (true) {
    std::array<pollfd, 2> polled{{{channel->fd, POLLIN, 0}, {wake_event, POLLIN, 0}}};
    const int ready = ::poll(polled.data(), polled.size(), milliseconds_until(deadline));
    if (ready < 0 && errno != EINTR) return fail_errno(errno, "wait for rdma_cm");
    if (polled[1].revents != 0) return fail(Errc::kCancelled, "shut down");
    rdma_cm_event* event = nullptr;
    if (rdma_get_cm_event(channel, &event) == 0) {
      const auto* data = static_cast<const std::byte*>(event->param.conn.private_data);
      // The recipient's side of it: what it would serve is what the peer asks
      // (rdma_get_cm_event(3)).
      ConnectionEvent copy{.type = event->event,
                           .status = event->status,
                           .id = event->id,
                           .private_data = {},
                           .peer_reads = {.served = event->param.conn.initiator_depth,
                                          .asked = event->param.conn.responder_resources}};
      if (data != nullptr)
        copy.private_data.assign(data, data + event->param.conn.private_data_len);
      rdma_ack_cm_event(event);
      return copy;
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
      return fail_errno(errno, "take an event from rdma_cm");
    if (Clock::now() >= deadline) return fail(Errc::kTimeout, "the deadline passed");
  }
}

Result<ConnectionEvent> expect_event(rdma_event_channel* channel, int wake_event,
                                     rdma_cm_event_type expected, Deadline deadline) {
  ASSIGN_OR_RETURN(ConnectionEvent event, next_event(channel, wake_event, deadline));
  if (event.type != expected) return unexpected_event(event);
  return event;
}

}  // namespace godwit
