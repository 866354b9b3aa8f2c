// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/greeting.h"

#include <bit>
#include <cstring>

namespace godwit {

static_assert(std::endian::native == std::endian::little,
              "a greeting travels as it lies in memory");

Greeting make_greeting(const LaneTicket& ticket, FlushWord flush_word) {
  return {.version = kRdmaGreetingVersion,
          .lane = ticket.lane,
          .token = ticket.token,
          .flush_address = flush_word.address,
          .flush_key = flush_word.remote_key,
          .reserved = 0};
}

Result<Greeting> decode_greeting(const void* data, size_t size_bytes) {
  // rdma_cm pads private data with zeros to what the fabric carries.
  if (data == nullptr || size_bytes < sizeof(Greeting))
    return fail(Errc::kCorrupt, "{} bytes of private data are no greeting", size_bytes);
  Greeting greeting{};
  std::memcpy(&greeting, data, sizeof(greeting));
  if (greeting.version != kRdmaGreetingVersion) {
    return fail(Errc::kRefused, "the peer speaks version {} of the RDMA lanes, this is version {}",
                greeting.version, kRdmaGreetingVersion);
  }
  return greeting;
}

LaneTicket ticket_of(const Greeting& greeting) {
  return {.token = greeting.token, .lane = greeting.lane};
}

}  // namespace godwit
