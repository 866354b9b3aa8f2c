// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/stream_session.h"

#include <thread>

namespace godwit::relay {

Result<StreamTraffic> carry(VmmStream& stream, const StreamSender::Parts& outgoing,
                            const StreamReceiver::Parts& incoming, Interruption& interruption) {
  StreamSender sender(outgoing);
  StreamReceiver receiver(incoming);
  const Interruption::Hook wake = interruption.on_raise([&] {
    stream.shut_down();
    outgoing.endpoint.shut_down();
    incoming.endpoint.shut_down();
  });
  {
    const std::jthread sending([&] {
      if (const Status sent = sender.run(); !sent) interruption.raise(sent.error());
    });
    if (const Status received = receiver.run(); !received) interruption.raise(received.error());
  }
  RETURN_IF_ERROR(interruption.check());
  return StreamTraffic{sender.bytes(), receiver.bytes()};
}

}  // namespace godwit::relay
