// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/page_receivers.h"

#include <array>
#include <utility>

#include "engine/migration/zero_clearing.h"
#include "engine/relay/lane_word.h"

namespace godwit::relay {

PageReceivers::PageReceivers(const GuestMemory& guest, const GuestPageSet& present_at_start,
                             Interruption& interruption)
    : guest_(guest), present_at_start_(present_at_start), interruption_(interruption) {
  wake_ = interruption.on_raise([this] {
    const std::lock_guard lock(mutex_);
    for (const Lane& lane : lanes_) lane.endpoint->shut_down();
  });
}

// Returns when the source has said that the lane has ended, and knows that it was heard.
Status PageReceivers::receive(Endpoint& endpoint) const {
  std::vector<std::byte> answer;
  std::array<std::byte, kLaneMessageBytesMax> received;
  while (true) {
    const Result<size_t> size = endpoint.receive(received, deadline_in(kLanePatience));
    if (!size) {
      if (size.error().code == Errc::kTimeout) continue;
      return tl::unexpected<Error>(size.error());
    }
    ASSIGN_OR_RETURN(const LaneMessage message,
                     decode_lane_message(std::span(received).first(*size)));
    if (const auto* zeroes = std::get_if<ZeroRuns>(&message)) {
      RETURN_IF_ERROR(validate(*zeroes, guest_));
      RETURN_IF_ERROR(clear_pages(*zeroes, guest_, present_at_start_));
      continue;
    }
    if (const auto* end = std::get_if<RoundEnd>(&message)) {
      RETURN_IF_ERROR(say(endpoint, RoundDone{end->round, 0}, answer));
      continue;
    }
    const auto* filled = std::get_if<StreamFilled>(&message);
    if (filled == nullptr || filled->total_bytes != 0 || filled->end != StreamEnd::kEnded)
      return fail(Errc::kCorrupt, "the sender of pages says {}", name_of(message));
    return say(endpoint, StreamDrained{0, StreamEnd::kEnded}, answer);
  }
}

PageReceivers::~PageReceivers() {
  close();
}

void PageReceivers::serve(std::unique_ptr<Endpoint> endpoint) {
  const std::lock_guard lock(mutex_);
  if (closed_ || interruption_.raised()) return;
  Endpoint& served = *endpoint;
  lanes_.push_back({.endpoint = std::move(endpoint), .thread = {}});
  lanes_.back().thread = std::jthread([this, &served] {
    if (const Status status = receive(served); !status && !is_closed())
      interruption_.raise(status.error());
  });
}

bool PageReceivers::is_closed() {
  const std::lock_guard lock(mutex_);
  return closed_;
}

void PageReceivers::close() {
  std::vector<Lane> lanes;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    lanes = std::move(lanes_);
    lanes_.clear();
  }
  for (const Lane& lane : lanes) lane.endpoint->shut_down();
  for (Lane& lane : lanes) lane.thread.join();
}

}  // namespace godwit::relay
