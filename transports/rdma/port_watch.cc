// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/port_watch.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>

namespace godwit {

Result<std::unique_ptr<PortWatch>> PortWatch::open(ibv_device* device, uint8_t port,
                                                   Clock::duration down_max) {
  VerbsHandle<ibv_context> context(ibv_open_device(device));
  if (context == nullptr)
    return fail_errno(errno, "open RDMA device {}", ibv_get_device_name(device));
  if (::fcntl(context->async_fd, F_SETFL, O_NONBLOCK) != 0)
    return fail_errno(errno, "make the events of an RDMA device non-blocking");
  UniqueFd loss_event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (loss_event.get() < 0) return fail_errno(errno, "create an eventfd");
  ASSIGN_OR_RETURN(WakeEvent stop, WakeEvent::make());
  return std::unique_ptr<PortWatch>(
      new PortWatch(std::move(context), port, down_max, std::move(loss_event), std::move(stop)));
}

PortWatch::PortWatch(VerbsHandle<ibv_context> context, uint8_t port, Clock::duration down_max,
                     UniqueFd loss_event, WakeEvent stop)
    : context_(std::move(context)),
      port_(port),
      down_max_(down_max),
      loss_event_(std::move(loss_event)),
      stop_(std::move(stop)),
      thread_([this] { run(); }) {}

PortWatch::~PortWatch() {
  stop_.raise();
  thread_.join();
}

void PortWatch::run() {
  std::optional<Deadline> down_until;
  while (wait(down_until.value_or(Deadline::max()))) {
    take_events();
    if (device_failed_) {
      set_loss("the device has failed");
      continue;
    }
    // What counts is how the port is now: a state may have passed by the time its event is taken.
    if (port_is_active()) {
      down_until.reset();
      set_loss(nullptr);
    } else if (!down_until) {
      down_until = deadline_in(down_max_);
    } else if (Clock::now() >= *down_until) {
      down_until = Deadline::max();
      set_loss("its port is down (cable, switch, or ip link)");
    }
  }
}

bool PortWatch::wait(Deadline deadline) {
  // A device that has failed has no more to say, and its descriptor may be readable for ever.
  const int events = device_failed_ ? -1 : context_->async_fd;
  std::array<pollfd, 2> polled{{{events, POLLIN, 0}, {stop_.fd(), POLLIN, 0}}};
  const int timeout = deadline == Deadline::max() ? -1 : milliseconds_until(deadline);
  ::poll(polled.data(), polled.size(), timeout);
  return polled[1].revents == 0;
}

void PortWatch::take_events() {
  ibv_async_event event{};
  while (ibv_get_async_event(context_.get(), &event) == 0) {
    if (event.event_type == IBV_EVENT_DEVICE_FATAL) device_failed_ = true;
    ibv_ack_async_event(&event);
  }
  if (errno != EAGAIN && errno != EINTR) device_failed_ = true;
}

bool PortWatch::port_is_active() const {
  ibv_port_attr attributes{};
  return ibv_query_port(context_.get(), port_, &attributes) == 0 &&
         attributes.state == IBV_PORT_ACTIVE;
}

void PortWatch::set_loss(const char* loss) {
  if (loss_.exchange(loss, std::memory_order_relaxed) == loss) return;
  uint64_t count = 1;
  // Neither can fail: the counter is 0 or 1.
  if (loss != nullptr)
    (void)!::write(loss_event_.get(), &count, sizeof(count));
  else
    (void)!::read(loss_event_.get(), &count, sizeof(count));
}

}  // namespace godwit
