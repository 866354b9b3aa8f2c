// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/zero_clearing.h"

#include <cstring>

#include "engine/base/units.h"
#include "engine/memory/page_storage.h"
#include "engine/memory/zero_scan.h"

namespace godwit {

Result<uint64_t> clear_pages(const ZeroRuns& zeroes, const GuestMemory& memory,
                             const GuestPageSet& present_at_start) {
  const GuestBlock& block = memory[zeroes.block];
  const PageBitmap& present = present_at_start[zeroes.block];
  uint64_t cleared = 0;
  for (const PageRun& run : zeroes.runs) {
    // What was sent by a lane that was lost may be a hole still.
    if (zeroes.history != PageHistory::kUntouched) {
      RETURN_IF_ERROR(ensure_storage(
          block.memory.subspan(run.first_page * kBasePageBytes, run.page_count * kBasePageBytes)));
    }
    for (uint64_t page = run.first_page; page < run.first_page + run.page_count; ++page) {
      // To look at a hole through the mapping would allocate it.
      const uint64_t offset = page * kBasePageBytes;
      if (zeroes.history == PageHistory::kUntouched &&
          !present.test(offset / block.page_size_bytes))
        continue;
      std::span<std::byte> bytes = block.memory.subspan(offset, kBasePageBytes);
      if (is_zero(bytes)) continue;
      std::memset(bytes.data(), 0, bytes.size());
      ++cleared;
    }
  }
  return cleared;
}

}  // namespace godwit
