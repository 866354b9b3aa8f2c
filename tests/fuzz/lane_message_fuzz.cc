// SPDX-License-Identifier: Apache-2.0
//
// Whatever bytes a peer sends are a lane message that encodes to those very bytes, or an error; and
// zero runs that pass validate() lie inside the guest.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/units.h"
#include "engine/wire/lane_messages.h"

namespace {

godwit::GuestBlock block_of(std::vector<std::byte>& memory) {
  return {.name = "ram",
          .page_size_bytes = godwit::kBasePageBytes,
          .numa_node = -1,
          .memory = memory,
          .fd = -1,
          .fd_offset_bytes = 0};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  const auto bytes = std::as_bytes(std::span(input, size));
  const godwit::Result<godwit::LaneMessage> message = godwit::decode_lane_message(bytes);
  if (!message) {
    CHECK(message.error().code == godwit::Errc::kCorrupt);
    return 0;
  }
  const std::vector<std::byte> again = godwit::encode_lane_message(*message);
  CHECK(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()));

  static std::vector<std::byte> memory(64 * godwit::kBasePageBytes);
  static const godwit::GuestMemory guest = {block_of(memory), block_of(memory)};
  const auto* zero_runs = std::get_if<godwit::ZeroRuns>(&*message);
  if (zero_runs != nullptr && godwit::validate(*zero_runs, guest)) {
    for (const godwit::PageRun& run : zero_runs->runs) {
      // Out of bounds would be a report of AddressSanitizer.
      const auto pages = std::span(memory).subspan(run.first_page * godwit::kBasePageBytes,
                                                   run.page_count * godwit::kBasePageBytes);
      std::fill(pages.begin(), pages.end(), std::byte{0});
    }
  }
  return 0;
}
