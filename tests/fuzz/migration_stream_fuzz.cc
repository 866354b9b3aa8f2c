// SPDX-License-Identifier: Apache-2.0
//
// Whatever bytes QEMU sends, they come out of the parser as they went in, however they are cut, and
// what they are does not depend on that. Leaving out pages makes nothing unreadable. The first byte
// says how the stream is cut, the second which pages are left out; the rest is the stream.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/base/check.h"
#include "vmm-adapters/qemu/stream/stream_parser.h"
#include "vmm-adapters/qemu/stream/stream_writer.h"

namespace {

using godwit::qemu::stream::Bytes;
using godwit::qemu::stream::is_page;
using godwit::qemu::stream::Opaque;
using godwit::qemu::stream::Payload;
using godwit::qemu::stream::RamRecord;
using godwit::qemu::stream::StreamEvent;
using godwit::qemu::stream::StreamParser;
using godwit::qemu::stream::StreamWriter;

void append(std::vector<std::byte>& output, Bytes bytes) {
  output.insert(output.end(), bytes.begin(), bytes.end());
}

// What a parser found, in so far as it may not depend on pieces.
struct Found {
  std::vector<std::byte> bytes;
  uint64_t items = 0;
  uint64_t opaque_from = UINT64_MAX;
  size_t blocks = 0;
  bool ram_ended = false;
  bool understood = true;

  friend bool operator==(const Found&, const Found&) = default;
};

template <typename Visit>
Found walk(StreamParser& parser, Bytes stream, size_t piece_bytes, const Visit& visit) {
  Found found;
  StreamEvent event;
  const auto take = [&] {
    CHECK(event.offset_bytes == found.bytes.size() && !event.bytes.empty());
    append(found.bytes, event.bytes);
    if (std::holds_alternative<Opaque>(event.what)) {
      found.opaque_from = std::min(found.opaque_from, event.offset_bytes);
    } else if (!std::holds_alternative<Payload>(event.what)) {
      ++found.items;
    }
    visit(event);
  };
  while (!stream.empty()) {
    const Bytes piece = stream.first(std::min(piece_bytes, stream.size()));
    stream = stream.subspan(piece.size());
    parser.feed(piece);
    while (parser.next(event)) take();
  }
  if (parser.finish(event)) take();
  found.blocks = parser.blocks().size();
  found.ram_ended = parser.ram_ended();
  found.understood = !parser.reason();
  return found;
}

// Passes on a stream without some of its pages, as a relay does; none where it has to give up.
std::optional<std::vector<std::byte>> relay(Bytes stream, size_t piece_bytes, uint8_t left_out) {
  StreamParser parser({});
  StreamWriter writer(StreamWriter::Channel::kMain, parser.blocks());
  std::vector<std::byte> output;
  uint32_t records = 0;
  bool dropping = false;
  bool gave_up = false;
  walk(parser, stream, piece_bytes, [&](const StreamEvent& event) {
    if (!std::holds_alternative<Payload>(event.what)) {
      const auto* record = std::get_if<RamRecord>(&event.what);
      const bool is_candidate = record != nullptr && is_page(record->type);
      dropping = is_candidate && (left_out >> (records++ % 8) & 1) != 0;
    }
    if (gave_up) return;
    if (dropping) return writer.drop(event);
    const auto* opaque = std::get_if<Opaque>(&event.what);
    if (opaque != nullptr && opaque->ram_may_follow && !writer.is_in_step()) {
      gave_up = !writer.may_append_page();
      if (gave_up) return;
      const std::vector<std::byte> page(parser.page_bytes());
      writer.append_page(*writer.block_out_of_step(), 0, page, output);
    }
    append(output, writer.pass(event));
  });
  if (gave_up) return std::nullopt;
  return output;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (size < 2) return 0;
  const size_t piece_bytes = size_t{input[0]} + 1;
  const uint8_t left_out = input[1];
  const Bytes stream = std::as_bytes(std::span(input, size)).subspan(2);
  const auto nothing = [](const StreamEvent&) {};

  StreamParser whole_parser({});
  const Found whole = walk(whole_parser, stream, stream.size() + 1, nothing);
  CHECK(std::equal(whole.bytes.begin(), whole.bytes.end(), stream.begin(), stream.end()));
  StreamParser cut_parser({});
  const Found cut = walk(cut_parser, stream, piece_bytes, nothing);
  CHECK(whole == cut);

  const std::optional<std::vector<std::byte>> relayed = relay(stream, piece_bytes, left_out);
  CHECK(left_out != 0 || relayed == whole.bytes);
  if (relayed) {
    StreamParser destination({});
    const Found received = walk(destination, *relayed, piece_bytes, nothing);
    CHECK(received.understood || !whole.understood);
    CHECK(received.blocks == whole.blocks && received.ram_ended == whole.ram_ended);
  }

  StreamParser records = StreamParser::for_channel(StreamParser::Channel::kPreempt, whole_parser);
  CHECK(walk(records, stream, piece_bytes, nothing).bytes == whole.bytes);
  return 0;
}
