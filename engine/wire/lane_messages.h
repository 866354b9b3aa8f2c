// SPDX-License-Identifier: Apache-2.0
//
// The messages between the two ends of a lane (Endpoint::send). They are ordered with the lane's
// writes: a message arrives after every write posted before it on the same endpoint.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/guest_memory.h"
#include "engine/memory/page_bitmap.h"

namespace godwit {

inline constexpr size_t kLaneMessageBytesMax = 16 << 10;
inline constexpr size_t kZeroRunsMax = 1000;

// Whether the source may have sent something for a page before.
enum class PageHistory : uint8_t {
  kUntouched = 1,  // never: where the destination had a hole at the start it still is one
  kSent = 2,
};

// Source -> destination: these base pages (4 KiB, whatever the block's page size) must become zero.
struct ZeroRuns {
  uint32_t block = 0;
  PageHistory history = PageHistory::kSent;
  std::vector<PageRun> runs;  // 1 .. kZeroRunsMax

  friend bool operator==(const ZeroRuns&, const ZeroRuns&) = default;
};

// Source -> destination: this lane has nothing more for this round.
struct RoundEnd {
  uint32_t round = 0;

  friend bool operator==(const RoundEnd&, const RoundEnd&) = default;
};

// Destination -> source: and all of it is in place.
struct RoundDone {
  uint32_t round = 0;
  uint64_t zeroed_pages = 0;

  friend bool operator==(const RoundDone&, const RoundDone&) = default;
};

// What a fetch lane is for: pages that somebody waits for, or the rest.
enum class FetchKind : uint8_t { kFaults = 1, kBackground = 2 };

// Source -> destination, the only message of its lane: the destination may read by it from now on.
struct FetchLane {
  FetchKind kind = FetchKind::kBackground;
  uint32_t rail = 0;  // of PreparePostCopy::rails: whose regions can be read

  friend bool operator==(const FetchLane&, const FetchLane&) = default;
};

enum class StreamEnd : uint8_t { kOpen = 1, kEnded = 2 };

// To the receiver of a byte stream: this much was written into the ring in all, and after kEnded
// nothing comes.
struct StreamFilled {
  uint64_t total_bytes = 0;
  StreamEnd end = StreamEnd::kOpen;

  friend bool operator==(const StreamFilled&, const StreamFilled&) = default;
};

// To its sender: this much was passed on in all, and has room in the ring again. After kEnded
// nobody takes any more.
struct StreamDrained {
  uint64_t total_bytes = 0;
  StreamEnd end = StreamEnd::kOpen;

  friend bool operator==(const StreamDrained&, const StreamDrained&) = default;
};

using LaneMessage =
    std::variant<ZeroRuns, RoundEnd, RoundDone, FetchLane, StreamFilled, StreamDrained>;

const char* name_of(const LaneMessage& message);

std::vector<std::byte> encode_lane_message(const LaneMessage& message);
// The same into `output`, whose capacity is used again from message to message.
void encode_lane_message(const LaneMessage& message, std::vector<std::byte>& output);

// Errors: kCorrupt, naming the message and the field.
Result<LaneMessage> decode_lane_message(std::span<const std::byte> bytes);

// kCorrupt when the block or a run does not exist in this guest. A receiver asks before it acts.
Status validate(const ZeroRuns& message, const GuestMemory& memory);

}  // namespace godwit
