// SPDX-License-Identifier: Apache-2.0
//
// Local memory registered with an io_uring, for SEND_ZC: pinned once instead of at every send.
// Regions are registered in chunks, when something is first sent from them; a chunk overlaps the
// next by a frame's payload, so that whatever starts in a chunk ends in it.
//
// Pinning allocates: a hole in sparse memory becomes a page. That, and that loopback and virtual
// NICs copy SEND_ZC's pages after all, is why this is not the default.
#pragma once

#include <liburing.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace godwit {

// Thread: the ring's.
class FixedBuffers {
 public:
  // Returns the index of the registered buffer that contains `start` and what follows it, up to
  // a frame's payload; nothing when the kernel will not register it: send without, then.
  std::optional<uint16_t> find_or_register(io_uring& ring, uint64_t region_key,
                                           std::span<std::byte> region, const void* start);

 private:
  static constexpr uint16_t kBuffersMax = 256;

  struct Buffer {
    uint64_t region_key;
    uint64_t chunk;
    bool refused;
  };
  std::array<Buffer, kBuffersMax> buffers_{};
  uint16_t buffer_count_ = 0;
  bool table_made_ = false;
};

}  // namespace godwit
