// SPDX-License-Identifier: Apache-2.0
//
// Whatever a destination QEMU says, it comes out of the parser as it went in, and every message
// encodes to its bytes. The first byte says how the stream is cut.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/check.h"
#include "vmm-adapters/qemu/stream/return_path.h"

using godwit::qemu::stream::BitmapBytes;
using godwit::qemu::stream::Bytes;
using godwit::qemu::stream::ReturnEvent;
using godwit::qemu::stream::ReturnMessage;
using godwit::qemu::stream::ReturnPathParser;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (size == 0) return 0;
  const size_t piece_bytes = size_t{input[0]} + 1;
  const Bytes stream = std::as_bytes(std::span(input, size)).subspan(1);
  size_t at = 0;
  ReturnPathParser parser;
  ReturnEvent event;
  std::vector<std::byte> encoded;
  const auto take = [&] {
    const Bytes expected = stream.subspan(at, event.bytes.size());
    CHECK(event.offset_bytes == at && !event.bytes.empty());
    CHECK(std::equal(event.bytes.begin(), event.bytes.end(), expected.begin()));
    at += event.bytes.size();
    const auto* message = std::get_if<ReturnMessage>(&event.what);
    if (message == nullptr) return;
    encoded.clear();
    godwit::qemu::stream::encode_return_message(*message, encoded);
    CHECK(std::equal(encoded.begin(), encoded.end(), event.bytes.begin(), event.bytes.end()));
  };
  for (size_t fed = 0; fed < stream.size(); fed += piece_bytes) {
    parser.feed(stream.subspan(fed, std::min(piece_bytes, stream.size() - fed)));
    while (parser.next(event)) take();
  }
  if (parser.finish(event)) take();
  CHECK(at == stream.size());
  return 0;
}
