// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/stream_session.h"

#include <thread>

namespace godwit::relay {

Status carry(VmmStream& stream, const Direction& outgoing, const Direction& incoming,
             Interruption& interruption) {
  const Interruption::Hook wake = interruption.on_raise([&] {
    stream.shut_down();
    outgoing.endpoint.shut_down();
    incoming.endpoint.shut_down();
  });
  {
    const std::jthread sending([&] {
      if (const Status sent = outgoing.run(); !sent) interruption.raise(sent.error());
    });
    if (const Status received = incoming.run(); !received) interruption.raise(received.error());
  }
  return interruption.check();
}

}  // namespace godwit::relay
