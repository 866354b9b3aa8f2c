// SPDX-License-Identifier: Apache-2.0
//
// The memory that one direction of a byte stream goes through: one ring at the sender, where it is
// read from a socket, and one of the same size at the receiver, where the same bytes arrive at the
// same place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "engine/memory/guest_memory.h"

namespace godwit::relay {

// Small enough for a processor's cache, and large enough that the other end can be late.
inline constexpr uint64_t kRingThereBytes = 4 * kMiB;
// Requests and answers.
inline constexpr uint64_t kRingBackBytes = 1 * kMiB;

class StreamRing {
 public:
  // Zeroed. Not resident yet: where the stream is spliced, nobody ever touches it.
  static Result<StreamRing> make(uint64_t size_bytes);
  StreamRing(StreamRing&& other) noexcept;
  StreamRing& operator=(StreamRing&& other) noexcept;
  ~StreamRing();

  std::span<std::byte> bytes() const { return bytes_; }

  // As something that rails can be opened for (engine/migration/destination_rails.h).
  GuestMemory as_memory(const std::string& name) const;

 private:
  explicit StreamRing(std::span<std::byte> bytes) : bytes_(bytes) {}

  std::span<std::byte> bytes_;
};

// How far a direction is: counted in bytes since its start, by both ends.
struct RingPosition {
  uint64_t filled = 0;   // written into the ring
  uint64_t drained = 0;  // taken out of it

  uint64_t used() const { return filled - drained; }
};

// The longest piece of a ring of `size_bytes` that starts where byte `at` of the stream lies, and
// has at most `limit_bytes`.
struct RingPiece {
  uint64_t offset_bytes;
  uint64_t size_bytes;
};
RingPiece piece_at(uint64_t at, uint64_t size_bytes, uint64_t limit_bytes);

}  // namespace godwit::relay
