// SPDX-License-Identifier: Apache-2.0
//
// Whatever comes on a multifd channel, it comes out of the parser as it went in; packets that are
// read lie within their limits. The first byte says how the stream is cut.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/base/check.h"
#include "engine/base/units.h"
#include "vmm-adapters/qemu/stream/multifd.h"

using godwit::kBasePageBytes;
using godwit::qemu::stream::Bytes;
using godwit::qemu::stream::MultifdEvent;
using godwit::qemu::stream::MultifdPacket;
using godwit::qemu::stream::MultifdParser;

namespace {

void check_packet(const MultifdPacket& packet) {
  const uint32_t pages = packet.normal_pages + packet.zero_pages;
  CHECK(pages <= 128 && packet.offsets.size() == size_t{pages} * 8);
  for (uint32_t i = 0; i < pages; ++i) CHECK(packet.offset_bytes(i) % kBasePageBytes == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (size == 0) return 0;
  const size_t piece_bytes = (size_t{input[0]} + 1) * 16;
  const Bytes stream = std::as_bytes(std::span(input, size)).subspan(1);
  size_t at = 0;
  MultifdParser parser;
  MultifdEvent event;
  const auto take = [&] {
    const Bytes expected = stream.subspan(at, event.bytes.size());
    CHECK(event.offset_bytes == at && !event.bytes.empty());
    CHECK(std::equal(event.bytes.begin(), event.bytes.end(), expected.begin()));
    at += event.bytes.size();
    if (const auto* packet = std::get_if<MultifdPacket>(&event.what)) check_packet(*packet);
  };
  for (size_t fed = 0; fed < stream.size(); fed += piece_bytes) {
    parser.feed(stream.subspan(fed, std::min(piece_bytes, stream.size() - fed)));
    while (parser.next(event)) take();
  }
  if (parser.finish(event)) take();
  CHECK(at == stream.size());
  return 0;
}
