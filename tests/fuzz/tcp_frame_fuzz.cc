// SPDX-License-Identifier: Apache-2.0
//
// Whatever bytes a peer sends, decoding a frame is an error or a frame within its limits: segments
// that add up to the payload, a checksum for each block or none, at most as many torn frames as
// there can be. The checksums of header and body are made right first, so that what is behind them
// is reached.
#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/check.h"
#include "transports/tcp/checksum.h"
#include "transports/tcp/frames.h"

namespace {

using godwit::FrameHeader;
using godwit::FrameType;
using godwit::kFrameHeaderBytes;

void check_segments(const FrameHeader& header, std::span<const std::byte> body) {
  static std::array<godwit::Segment, godwit::kFrameSegmentsMax> segments;
  const godwit::Result<uint32_t> blocks = godwit::decode_segments(header, body, segments);
  if (!blocks) return;
  CHECK(header.segment_count <= segments.size());
  CHECK(*blocks <= godwit::kFrameBlocksMax);
  uint64_t total_bytes = 0;
  for (uint16_t i = 0; i < header.segment_count; ++i) total_bytes += segments[i].length_bytes;
  CHECK(total_bytes <= godwit::kFramePayloadBytesMax);
  if (header.type != FrameType::kWrite) return;
  CHECK(total_bytes == header.payload_bytes);
  const std::span<const std::byte> checksums = godwit::checksums_in(header, body);
  CHECK(checksums.empty() || checksums.size() == *blocks * 4);
  // Out of bounds would be a report of AddressSanitizer.
  for (uint32_t block = 0; block < checksums.size() / 4; ++block) {
    static_cast<void>(godwit::checksum_at(checksums, block));
  }
}

void decode_body(const FrameHeader& header, std::span<const std::byte> body) {
  switch (header.type) {
    case FrameType::kHello:
      static_cast<void>(godwit::decode_hello(body));
      return;
    case FrameType::kWrite:
    case FrameType::kReadRequest:
      return check_segments(header, body);
    case FrameType::kReadResponse:
      static_cast<void>(godwit::decode_request_sequence(body));
      static_cast<void>(godwit::checksums_in(header, body));
      return;
    case FrameType::kAck: {
      static godwit::Ack ack;
      if (godwit::decode_ack(body, ack)) CHECK(ack.torn_count <= ack.torn.size());
      return;
    }
    case FrameType::kGoodbye: {
      const godwit::Result<godwit::Goodbye> goodbye = godwit::decode_goodbye(body);
      if (goodbye) CHECK(goodbye->text.back() == '\0');
      return;
    }
    case FrameType::kWelcome:
    case FrameType::kMessage:
    case FrameType::kFlush:
      return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (size < kFrameHeaderBytes) return 0;
  std::array<std::byte, kFrameHeaderBytes> header_bytes;
  const auto bytes = std::as_bytes(std::span(input, size));
  std::copy_n(bytes.begin(), header_bytes.size(), header_bytes.begin());
  // As they came; and with the magic number and the checksum that they should have.
  static_cast<void>(godwit::decode_header(header_bytes));
  godwit::store_u32(godwit::kFrameMagic, header_bytes.data());
  godwit::store_u32(godwit::crc32c(std::span(header_bytes).first<28>()), &header_bytes[28]);
  const godwit::Result<FrameHeader> header = godwit::decode_header(header_bytes);
  if (!header) {
    CHECK(header.error().code == godwit::Errc::kCorrupt);
    return 0;
  }
  CHECK(header->body_bytes <= godwit::kFrameBodyBytesMax);
  CHECK(header->payload_bytes <= godwit::kFramePayloadBytesMax);
  // A copy of exactly the body's size: one byte further is out of bounds.
  std::vector<std::byte> body(header->body_bytes);
  const auto rest = bytes.subspan(kFrameHeaderBytes);
  std::copy_n(rest.begin(), std::min(rest.size(), body.size()), body.begin());
  static_cast<void>(godwit::check_body(*header, body));
  decode_body(*header, body);
  return 0;
}
