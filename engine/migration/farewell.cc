// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/farewell.h"

#include <algorithm>
#include <thread>

#include "engine/wire/messages.h"

namespace godwit {
namespace {

constexpr Clock::duration kComeBackPause = milliseconds(100);

Hello hello_of(const Farewell& farewell, Role role) {
  return {.protocol_version = kProtocolVersion,
          .software = farewell.software,
          .session = farewell.session,
          .role = role,
          .purpose = Purpose::kRejoin};
}

// Whether the source that came is that of the session, and knows now.
bool tell_newcomer(ControlChannel& channel, const Farewell& farewell) {
  Interruption interruption;
  ControlLink link(channel, interruption, farewell.peer_timeout);
  const Result<Hello> hello = link.expect<Hello>(deadline_in(farewell.peer_timeout));
  if (!hello) return false;
  if (hello->purpose != Purpose::kRejoin || hello->session != farewell.session) {
    (void)link.send(Refuse{fmt::format(
        "this agent waits for the source of session {} to come back, not for another guest",
        farewell.session)});
    link.drain(deadline_in(seconds(1)));
    return false;
  }
  return link.send(hello_of(farewell, Role::kDestination)) && tell_complete(link, farewell);
}

bool tell_released_over(ControlChannel& channel, const Farewell& farewell) {
  Interruption interruption;
  ControlLink link(channel, interruption, farewell.peer_timeout);
  const Deadline deadline = deadline_in(farewell.peer_timeout);
  if (!link.send(hello_of(farewell, Role::kSource))) return false;
  const Result<Hello> hello = link.expect<Hello>(deadline);
  if (!hello || hello->session != farewell.session) return false;
  return link.expect<FetchComplete>(deadline) && tell_released(link, farewell);
}

// Of what else is still on its way, nothing matters any more, but that a source which says the
// commit again waits for its answer.
bool await_released(ControlLink& link, Deadline deadline) {
  while (true) {
    const Result<ControlMessage> message = link.next(deadline);
    if (!message) return false;
    if (std::holds_alternative<Released>(*message)) return true;
    if (std::holds_alternative<Commit>(*message)) (void)link.send(Running{});
  }
}

void pause_before(Deadline deadline) {
  std::this_thread::sleep_for(std::clamp<Clock::duration>(deadline - Clock::now(),
                                                          Clock::duration::zero(), kComeBackPause));
}

}  // namespace

bool tell_complete(ControlLink& link, const Farewell& farewell) {
  if (!link.send(FetchComplete{})) return false;
  if (!await_released(link, deadline_in(farewell.peer_timeout))) return false;
  (void)link.send(Released{});
  // The source closes the connection when it has read that.
  link.drain(deadline_in(seconds(1)));
  return true;
}

Result<bool> tell_whoever_comes(ControlReconnector& reconnector, const Farewell& farewell,
                                Deadline deadline) {
  while (Clock::now() < deadline) {
    Result<std::unique_ptr<ControlChannel>> channel =
        reconnector.next(std::min(deadline, deadline_in(seconds(1))));
    if (channel) {
      if (tell_newcomer(**channel, farewell)) return true;
    } else if (channel.error().code == Errc::kCancelled) {
      return tl::unexpected<Error>(channel.error());
    }
    if (channel || channel.error().code != Errc::kTimeout) pause_before(deadline);
  }
  return false;
}

bool tell_released(ControlLink& link, const Farewell& farewell) {
  return link.send(Released{}) && await_released(link, deadline_in(farewell.peer_timeout));
}

void tell_released_again(ControlReconnector& reconnector, const Farewell& farewell,
                         Deadline deadline) {
  while (Clock::now() < deadline) {
    const Result<std::unique_ptr<ControlChannel>> channel = reconnector.next(deadline);
    if (channel && tell_released_over(**channel, farewell)) return;
    if (!channel && channel.error().code == Errc::kCancelled) return;
    pause_before(deadline);
  }
}

}  // namespace godwit
