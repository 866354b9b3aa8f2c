// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/destination_lanes.h"

#include <array>
#include <cstring>

#include "engine/memory/zero_scan.h"

namespace godwit {

DestinationLanes::DestinationLanes(const GuestMemory& memory, const GuestPageSet& present_at_start,
                                   Interruption& interruption,
                                   std::vector<std::unique_ptr<Endpoint>> endpoints)
    : memory_(memory),
      present_at_start_(present_at_start),
      interruption_(interruption),
      endpoints_(std::move(endpoints)) {
  wake_ = interruption_.on_raise([this] {
    for (const auto& endpoint : endpoints_) endpoint->shut_down();
  });
  for (const auto& endpoint : endpoints_) {
    threads_.emplace_back(
        [this, &endpoint = *endpoint](const std::stop_token& stop) { serve(endpoint, stop); });
  }
}

DestinationLanes::~DestinationLanes() {
  for (std::jthread& thread : threads_) thread.request_stop();
  for (const auto& endpoint : endpoints_) endpoint->shut_down();
}

void DestinationLanes::serve(Endpoint& endpoint, const std::stop_token& stop) {
  std::array<std::byte, kLaneMessageBytesMax> buffer;
  uint64_t zeroed_pages = 0;
  uint32_t rounds_ended = 0;
  while (!stop.stop_requested()) {
    // A lane may rest for long between rounds; the control connection watches whether the peer
    // lives.
    Result<size_t> size = endpoint.receive(buffer, deadline_in(seconds(5)));
    Status status;
    if (!size) {
      if (size.error().code == Errc::kTimeout) continue;
      status = tl::unexpected<Error>(size.error());
    } else {
      Result<LaneMessage> message = decode_lane_message(std::span(buffer).first(*size));
      status = message ? handle(endpoint, *message, zeroed_pages, rounds_ended)
                       : Status(tl::unexpected<Error>(message.error()));
    }
    if (status) continue;
    if (!stop.stop_requested()) interruption_.raise(status.error());
    return;
  }
}

Status DestinationLanes::handle(Endpoint& endpoint, const LaneMessage& message,
                                uint64_t& zeroed_pages, uint32_t& rounds_ended) {
  if (const auto* zeroes = std::get_if<ZeroRuns>(&message)) {
    RETURN_IF_ERROR(validate(*zeroes, memory_));
    zeroed_pages += clear(*zeroes, rounds_ended);
    return {};
  }
  if (const auto* end = std::get_if<RoundEnd>(&message)) {
    ++rounds_ended;
    return endpoint.send(encode_lane_message(RoundDone{end->round, zeroed_pages}),
                         deadline_in(seconds(10)));
  }
  return fail(Errc::kCorrupt, "the source sent a lane message that only a destination sends");
}

uint64_t DestinationLanes::clear(const ZeroRuns& zeroes, uint32_t rounds_ended) {
  const GuestBlock& block = memory_[zeroes.block];
  const PageBitmap& present = present_at_start_[zeroes.block];
  uint64_t cleared = 0;
  for (const PageRun& run : zeroes.runs) {
    for (uint64_t page = run.first_page; page < run.first_page + run.page_count; ++page) {
      // In the first round every page is named once, so a hole here has not been written yet. To
      // look at it through the mapping would allocate it.
      const uint64_t offset = page * kBasePageBytes;
      if (rounds_ended == 0 && !present.test(offset / block.page_size_bytes)) continue;
      std::span<std::byte> bytes = block.memory.subspan(offset, kBasePageBytes);
      if (is_zero(bytes)) continue;
      std::memset(bytes.data(), 0, bytes.size());
      ++cleared;
    }
  }
  return cleared;
}

}  // namespace godwit
