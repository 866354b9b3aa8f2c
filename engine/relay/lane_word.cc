// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/lane_word.h"

namespace godwit::relay {

Status say(Endpoint& endpoint, const LaneMessage& word, std::vector<std::byte>& buffer) {
  encode_lane_message(word, buffer);
  while (true) {
    const Status sent = endpoint.send(buffer, deadline_in(kLanePatience));
    if (sent || sent.error().code != Errc::kTimeout) return sent;
  }
}

}  // namespace godwit::relay
