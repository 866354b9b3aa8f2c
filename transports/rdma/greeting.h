// SPDX-License-Identifier: Apache-2.0
//
// The private data of a connection: who wants in, and where each side's flush word lies. It has to
// fit the 56 bytes that rdma_cm leaves to a request (rdma_connect(3)).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/base/result.h"
#include "engine/transport.h"

namespace godwit {

inline constexpr uint32_t kRdmaGreetingVersion = 1;

// A word that the peer may read, to know that what it wrote before has arrived.
struct FlushWord {
  uint64_t address;
  uint32_t remote_key;
};

// As it travels, little-endian.
struct Greeting {
  uint32_t version;
  uint32_t lane;
  std::array<std::byte, 32> token;  // zero in the answer: it proves nothing
  uint64_t flush_address;
  uint32_t flush_key;
  uint32_t reserved;
};
static_assert(sizeof(Greeting) == 56);

Greeting make_greeting(const LaneTicket& ticket, FlushWord flush_word);

// Errors: kCorrupt, or kRefused when the version is another one.
Result<Greeting> decode_greeting(const void* data, size_t size_bytes);

LaneTicket ticket_of(const Greeting& greeting);

}  // namespace godwit
