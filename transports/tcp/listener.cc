// SPDX-License-Identifier: Apache-2.0
#include "transports/tcp/listener.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "transports/tcp/endpoint.h"
#include "transports/tcp/socket.h"

namespace godwit {
namespace {

constexpr size_t kNewcomersMax = 64;
constexpr seconds kTicketTime{5};

}  // namespace

Result<std::unique_ptr<TcpListener>> TcpListener::open(const std::string& address,
                                                       const TcpOptions& options,
                                                       std::shared_ptr<RegionTable> regions) {
  ASSIGN_OR_RETURN(std::vector<SocketAddress> candidates, resolve(address, AddressUse::kListen));
  ASSIGN_OR_RETURN(WakeEvent wake_event, WakeEvent::make());
  Result<UniqueFd> socket = fail(Errc::kRefused, "'{}' has no address to listen on", address);
  for (const SocketAddress& candidate : candidates) {
    socket = listen_on(candidate);
    if (socket) break;
  }
  if (!socket) return tl::unexpected<Error>(socket.error());
  ASSIGN_OR_RETURN(SocketAddress bound, local_address(socket->get()));
  return std::unique_ptr<TcpListener>(new TcpListener(
      std::move(*socket), std::move(wake_event), to_string(bound), options, std::move(regions)));
}

TcpListener::TcpListener(UniqueFd socket, WakeEvent wake_event, std::string address,
                         const TcpOptions& options, std::shared_ptr<RegionTable> regions)
    : socket_(std::move(socket)),
      wake_event_(std::move(wake_event)),
      address_(std::move(address)),
      options_(options),
      regions_(std::move(regions)) {}

Result<AcceptedLane> TcpListener::accept(LaneTickets& tickets, Deadline deadline) {
  while (true) {
    RETURN_IF_ERROR(take_newcomers());
    const auto now = Clock::now();
    for (auto newcomer = newcomers_.begin(); newcomer != newcomers_.end();) {
      Result<std::optional<LaneTicket>> ticket = newcomer->read_ticket();
      const bool complete = ticket && ticket->has_value();
      if (complete && tickets.redeem(**ticket)) {
        Newcomer expected_one = std::move(*newcomer);
        newcomers_.erase(newcomer);
        Result<std::unique_ptr<Endpoint>> endpoint =
            make_endpoint(std::move(expected_one), deadline);
        if (endpoint) return AcceptedLane{(*ticket)->lane, std::move(*endpoint)};
        // The right one can be lost on the way in, and come again.
        if (endpoint.error().code != Errc::kPeerLost)
          return tl::unexpected<Error>(endpoint.error());
        tickets.give_back((*ticket)->lane);
        newcomer = newcomers_.begin();
        continue;
      }
      const bool wait_on = ticket && !complete && now < newcomer->deadline();
      newcomer = wait_on ? std::next(newcomer) : newcomers_.erase(newcomer);
    }
    if (shut_down_requested_.load()) {
      return fail(Errc::kCancelled, "the listener on {} was shut down", address_);
    }
    if (now >= deadline) {
      return fail(Errc::kTimeout, "wait for a lane on {}", address_);
    }
    RETURN_IF_ERROR(wait(deadline));
  }
}

Status TcpListener::wait(Deadline deadline) {
  std::vector<pollfd> polls{{socket_.get(), POLLIN, 0}, {wake_event_.fd(), POLLIN, 0}};
  for (const Newcomer& newcomer : newcomers_) {
    polls.push_back({newcomer.socket(), POLLIN, 0});
    deadline = std::min(deadline, newcomer.deadline());
  }
  if (::poll(polls.data(), polls.size(), milliseconds_until(deadline)) < 0 && errno != EINTR) {
    return fail_errno(errno, "poll the listener on {}", address_);
  }
  return {};
}

Status TcpListener::take_newcomers() {
  // At most as many as may wait: who comes in larger numbers only replaces his own.
  for (size_t i = 0; i < kNewcomersMax; ++i) {
    UniqueFd socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket.valid()) {
      // Out of descriptors: the oldest newcomer gives his up.
      if ((errno == EMFILE || errno == ENFILE) && !newcomers_.empty()) {
        newcomers_.pop_front();
        continue;
      }
      if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED || errno == EPROTO) return {};
      return fail_errno(errno, "accept on {}", address_);
    }
    if (newcomers_.size() == kNewcomersMax) newcomers_.pop_front();
    newcomers_.emplace_back(std::move(socket), deadline_in(kTicketTime));
  }
  return {};
}

Result<std::unique_ptr<Endpoint>> TcpListener::make_endpoint(Newcomer newcomer, Deadline deadline) {
  UniqueFd socket = newcomer.take_socket();
  SocketAddress peer{{}, sizeof(sockaddr_storage)};
  if (::getpeername(socket.get(), peer.get(), &peer.length) != 0) {
    return fail(Errc::kPeerLost, "a lane closed just after showing its ticket");
  }
  RETURN_IF_ERROR(set_lane_options(socket.get(), peer, options_));
  RETURN_IF_ERROR(welcome(socket.get(), deadline));
  return TcpEndpoint::open(std::move(socket), to_string(peer), options_, regions_);
}

void TcpListener::shut_down() {
  shut_down_requested_.store(true);
  wake_event_.raise();
}

}  // namespace godwit
