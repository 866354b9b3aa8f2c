// SPDX-License-Identifier: Apache-2.0
//
// See messages.cc for how messages are described and numbered.
#include "engine/wire/lane_messages.h"

#include <utility>

#include "engine/base/units.h"
#include "engine/wire/fields.h"

namespace godwit {
namespace {

using wire::FieldReader;
using wire::FieldWriter;
using wire::OneOf;

template <typename Fields>
void describe(Fields& fields, OneOf<ZeroRuns> auto& message) {
  fields.number("block", message.block);
  fields.choice("history", message.history, PageHistory::kSent);
  fields.list("runs", message.runs,
              {.count_max = kZeroRunsMax, .element_bytes_min = sizeof(PageRun)},
              [](auto& list, auto& run) {
                list.number("runs.first_page", run.first_page);
                list.number("runs.page_count", run.page_count);
                list.require("runs.page_count", "is zero", [&] { return run.page_count > 0; });
              });
  fields.require("runs", "is empty", [&] { return !message.runs.empty(); });
}

template <typename Fields>
void describe(Fields& fields, OneOf<RoundEnd> auto& message) {
  fields.number("round", message.round);
}

template <typename Fields>
void describe(Fields& fields, OneOf<RoundDone> auto& message) {
  fields.number("round", message.round);
  fields.number("zeroed_pages", message.zeroed_pages);
}

template <typename Fields>
void describe(Fields& fields, OneOf<FetchLane> auto& message) {
  fields.choice("kind", message.kind, FetchKind::kBackground);
  fields.number("rail", message.rail);
}

template <typename Fields>
void describe(Fields& fields, OneOf<StreamFilled> auto& message) {
  fields.number("total_bytes", message.total_bytes);
  fields.choice("end", message.end, StreamEnd::kEnded);
}

template <typename Fields>
void describe(Fields& fields, OneOf<StreamDrained> auto& message) {
  fields.number("total_bytes", message.total_bytes);
  fields.choice("end", message.end, StreamEnd::kEnded);
}

// Names in the order of LaneMessage.
constexpr const char* kLaneNames[] = {"ZeroRuns",  "RoundEnd",     "RoundDone",
                                      "FetchLane", "StreamFilled", "StreamDrained"};
static_assert(std::size(kLaneNames) == std::variant_size_v<LaneMessage>);
static_assert(1 + 4 + 1 + 4 + kZeroRunsMax * sizeof(PageRun) <= kLaneMessageBytesMax);

template <typename Message>
Result<LaneMessage> decode_fields(std::span<const std::byte> fields_bytes, const char* name) {
  Message message;
  Decoder decoder(fields_bytes, name);
  FieldReader fields(decoder);
  describe(fields, message);
  RETURN_IF_ERROR(decoder.finish());
  return LaneMessage(std::move(message));
}

}  // namespace

const char* name_of(const LaneMessage& message) {
  return kLaneNames[message.index()];
}

std::vector<std::byte> encode_lane_message(const LaneMessage& message) {
  std::vector<std::byte> output;
  encode_lane_message(message, output);
  return output;
}

void encode_lane_message(const LaneMessage& message, std::vector<std::byte>& output) {
  output.clear();
  output.push_back(static_cast<std::byte>(message.index() + 1));
  FieldWriter fields(output);
  std::visit([&fields](const auto& alternative) { describe(fields, alternative); }, message);
}

Result<LaneMessage> decode_lane_message(std::span<const std::byte> bytes) {
  if (bytes.empty()) return fail(Errc::kCorrupt, "lane message without a type");
  if (bytes.size() > kLaneMessageBytesMax)
    return fail(Errc::kCorrupt, "lane message of {} bytes is too long", bytes.size());

  const std::span<const std::byte> fields_bytes = bytes.subspan(1);
  const auto type = std::to_integer<unsigned>(bytes[0]);
  switch (type) {
    case 1:
      return decode_fields<ZeroRuns>(fields_bytes, kLaneNames[0]);
    case 2:
      return decode_fields<RoundEnd>(fields_bytes, kLaneNames[1]);
    case 3:
      return decode_fields<RoundDone>(fields_bytes, kLaneNames[2]);
    case 4:
      return decode_fields<FetchLane>(fields_bytes, kLaneNames[3]);
    case 5:
      return decode_fields<StreamFilled>(fields_bytes, kLaneNames[4]);
    case 6:
      return decode_fields<StreamDrained>(fields_bytes, kLaneNames[5]);
    default:
      return fail(Errc::kCorrupt, "lane message of unknown type {}", type);
  }
}

Status validate(const ZeroRuns& message, const GuestMemory& memory) {
  if (message.block >= memory.size())
    return fail(Errc::kCorrupt, "message ZeroRuns: block {} of {}", message.block, memory.size());

  const GuestBlock& block = memory[message.block];
  const uint64_t base_pages = block.size_bytes() / kBasePageBytes;
  for (const PageRun& run : message.runs) {
    if (run.first_page >= base_pages || run.page_count > base_pages - run.first_page) {
      return fail(Errc::kCorrupt, "message ZeroRuns: pages {}+{} are not inside RAM block '{}'",
                  run.first_page, run.page_count, block.name);
    }
  }
  return {};
}

}  // namespace godwit
