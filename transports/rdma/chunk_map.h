// SPDX-License-Identifier: Apache-2.0
//
// How a region is cut into the chunks that it is registered in. Both ends of a lane cut a region of
// the same size in the same way.
//
// Registering pins memory, and takes time for every page; more where a page has to be allocated
// first. So the first chunks are small, from 256 KiB on, that the first byte can leave soon,
// whatever the size of the guest; later ones are an eighth of what lies before them, so that there
// are few.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace godwit {

class ChunkMap {
 public:
  explicit ChunkMap(uint64_t size_bytes);

  size_t count() const { return begins_.size() - 1; }
  uint64_t begin(size_t chunk) const { return begins_[chunk]; }
  uint64_t end(size_t chunk) const { return begins_[chunk + 1]; }
  // Requires: offset_bytes < the size.
  size_t index_of(uint64_t offset_bytes) const;

 private:
  std::vector<uint64_t>
      begins_;  // and the size at the end; all others beyond 2 MiB are multiples of it
};

}  // namespace godwit
