// SPDX-License-Identifier: Apache-2.0
#include "transports/tcp/frames.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "transports/tcp/checksum.h"

namespace godwit {
namespace {

static_assert(std::endian::native == std::endian::little, "frames are copied as they are");

template <typename T>
T load(std::span<const std::byte> bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

template <typename T>
void store(T value, std::byte* output) {
  std::memcpy(output, &value, sizeof(value));
}

// What a header of each type must look like. Anything else is corrupt.
struct Shape {
  uint32_t body_bytes_min;
  uint32_t body_bytes_max;
  uint32_t payload_bytes_min;
  uint32_t payload_bytes_max;
  uint16_t segments_min;
  uint16_t segments_max;
  uint8_t flags;  // those allowed
};

constexpr uint32_t kTablesBytesMax = kFrameSegmentsMax * kSegmentBytes + kFrameBlocksMax * 4;
static_assert(kTablesBytesMax <= kFrameBodyBytesMax && kAckBytesMax <= kFrameBodyBytesMax);

// Returns a shape that nothing fits when the type is unknown.
Shape shape_of(FrameType type) {
  switch (type) {
    case FrameType::kHello:
      return {kHelloBodyBytes, kHelloBodyBytes, 0, 0, 0, 0, 0};
    case FrameType::kWelcome:
    case FrameType::kFlush:
      return {0, 0, 0, 0, 0, 0, 0};
    case FrameType::kWrite:
      return {kSegmentBytes,
              kTablesBytesMax,
              1,
              kFramePayloadBytesMax,
              1,
              kFrameSegmentsMax,
              kFlagLive | kFlagChecksummed};
    case FrameType::kReadRequest:
      return {kSegmentBytes, kFrameSegmentsMax * kSegmentBytes, 0, 0, 1, kFrameSegmentsMax, 0};
    case FrameType::kReadResponse:
      return {8, 8 + kFrameBlocksMax * 4,     1, kFramePayloadBytesMax, 0,
              0, kFlagLive | kFlagChecksummed};
    case FrameType::kMessage:
      return {0, kFrameMessageBytesMax, 0, 0, 0, 0, 0};
    case FrameType::kAck:
      return {kAckBytesMin, kAckBytesMax, 0, 0, 0, 0, 0};
    case FrameType::kGoodbye:
      return {4, 4 + kGoodbyeTextBytesMax, 0, 0, 0, 0, 0};
  }
  return {1, 0, 1, 0, 1, 0, 0};
}

bool known(uint8_t type) {
  return type >= static_cast<uint8_t>(FrameType::kHello) &&
         type <= static_cast<uint8_t>(FrameType::kGoodbye);
}

}  // namespace

void store_u32(uint32_t value, std::byte* output) {
  store(value, output);
}
void store_u64(uint64_t value, std::byte* output) {
  store(value, output);
}

void encode_header(const FrameHeader& header, std::span<std::byte, kFrameHeaderBytes> output) {
  store(kFrameMagic, &output[0]);
  store(static_cast<uint8_t>(header.type), &output[4]);
  store(header.flags, &output[5]);
  store(header.segment_count, &output[6]);
  store(header.body_bytes, &output[8]);
  store(header.payload_bytes, &output[12]);
  store(header.sequence, &output[16]);
  store(header.body_checksum, &output[24]);
  store(crc32c(output.first<28>()), &output[28]);
}

Result<FrameHeader> decode_header(std::span<const std::byte, kFrameHeaderBytes> input) {
  if (load<uint32_t>(input, 0) != kFrameMagic) {
    return fail(Errc::kCorrupt, "a frame starts with {:#010x} instead of the magic number",
                load<uint32_t>(input, 0));
  }
  if (load<uint32_t>(input, 28) != crc32c(input.first<28>())) {
    return fail(Errc::kCorrupt, "a frame's header does not match its checksum");
  }
  auto type = load<uint8_t>(input, 4);
  if (!known(type)) return fail(Errc::kCorrupt, "a frame has the unknown type {}", type);
  FrameHeader header{.type = static_cast<FrameType>(type),
                     .flags = load<uint8_t>(input, 5),
                     .segment_count = load<uint16_t>(input, 6),
                     .body_bytes = load<uint32_t>(input, 8),
                     .payload_bytes = load<uint32_t>(input, 12),
                     .sequence = load<uint64_t>(input, 16),
                     .body_checksum = load<uint32_t>(input, 24)};
  const Shape shape = shape_of(header.type);
  if (header.body_bytes < shape.body_bytes_min || header.body_bytes > shape.body_bytes_max) {
    return fail(Errc::kCorrupt, "a frame of type {} has a body of {} bytes", type,
                header.body_bytes);
  }
  if (header.payload_bytes < shape.payload_bytes_min ||
      header.payload_bytes > shape.payload_bytes_max) {
    return fail(Errc::kCorrupt, "a frame of type {} has a payload of {} bytes", type,
                header.payload_bytes);
  }
  if (header.segment_count < shape.segments_min || header.segment_count > shape.segments_max) {
    return fail(Errc::kCorrupt, "a frame of type {} has {} segments", type, header.segment_count);
  }
  if ((header.flags & ~shape.flags) != 0) {
    return fail(Errc::kCorrupt, "a frame of type {} has the flags {:#x}", type, header.flags);
  }
  return header;
}

Status check_body(const FrameHeader& header, std::span<const std::byte> body) {
  if (body.size() != header.body_bytes || crc32c(body) != header.body_checksum) {
    return fail(Errc::kCorrupt, "the body of a frame of type {} does not match its checksum",
                static_cast<int>(header.type));
  }
  return {};
}

Result<uint32_t> decode_segments(const FrameHeader& header, std::span<const std::byte> body,
                                 std::span<Segment, kFrameSegmentsMax> segments) {
  const size_t table_bytes = size_t{header.segment_count} * kSegmentBytes;
  if (body.size() < table_bytes) {
    return fail(Errc::kCorrupt, "{} segments do not fit a body of {} bytes", header.segment_count,
                body.size());
  }
  uint64_t total_bytes = 0;
  uint32_t blocks = 0;
  for (uint16_t i = 0; i < header.segment_count; ++i) {
    const size_t at = size_t{i} * kSegmentBytes;
    const Segment segment{load<uint64_t>(body, at), load<uint64_t>(body, at + 8),
                          load<uint32_t>(body, at + 16)};
    if (segment.length_bytes == 0 || segment.length_bytes > kFramePayloadBytesMax ||
        segment.offset_bytes > UINT64_MAX - segment.length_bytes ||
        load<uint32_t>(body, at + 20) != 0) {
      return fail(Errc::kCorrupt, "segment {}: {} bytes at offset {:#x} cannot be", i,
                  segment.length_bytes, segment.offset_bytes);
    }
    total_bytes += segment.length_bytes;
    blocks += block_count(segment.length_bytes);
    segments[i] = segment;
  }
  const uint64_t expected_bytes =
      header.type == FrameType::kWrite ? header.payload_bytes : total_bytes;
  if (total_bytes != expected_bytes || total_bytes > kFramePayloadBytesMax) {
    return fail(Errc::kCorrupt, "the segments of a frame add up to {} bytes instead of {}",
                total_bytes, expected_bytes);
  }
  const size_t checksums = (header.flags & kFlagChecksummed) != 0 ? blocks : 0;
  if (body.size() != table_bytes + checksums * 4) {
    return fail(Errc::kCorrupt, "a frame with {} blocks has a body of {} bytes", blocks,
                body.size());
  }
  return blocks;
}

std::span<const std::byte> checksums_in(const FrameHeader& header,
                                        std::span<const std::byte> body) {
  if ((header.flags & kFlagChecksummed) == 0) return {};
  const size_t before =
      header.type == FrameType::kWrite ? size_t{header.segment_count} * kSegmentBytes : 8;
  return body.subspan(before);
}

uint32_t checksum_at(std::span<const std::byte> checksums, uint32_t block) {
  return load<uint32_t>(checksums, size_t{block} * 4);
}

uint64_t decode_request_sequence(std::span<const std::byte> body) {
  return load<uint64_t>(body, 0);
}

Result<LaneTicket> decode_hello(std::span<const std::byte> body) {
  if (body.size() != kHelloBodyBytes) {
    return fail(Errc::kCorrupt, "a hello has {} bytes instead of {}", body.size(), kHelloBodyBytes);
  }
  LaneTicket ticket;
  std::memcpy(ticket.token.data(), body.data(), ticket.token.size());
  ticket.lane = load<uint32_t>(body, ticket.token.size());
  return ticket;
}

Status decode_ack(std::span<const std::byte> body, Ack& ack) {
  if (body.size() < kAckBytesMin) return fail(Errc::kCorrupt, "an ack has {} bytes", body.size());
  ack.sequence = load<uint64_t>(body, 0);
  ack.inbox_bytes_consumed = load<uint64_t>(body, 8);
  ack.torn_count = load<uint32_t>(body, 16);
  if (load<uint32_t>(body, 20) != 0 || ack.torn_count > ack.torn.size() ||
      body.size() != kAckBytesMin + size_t{ack.torn_count} * kTornFrameBytes) {
    return fail(Errc::kCorrupt, "an ack of {} bytes names {} torn frames", body.size(),
                ack.torn_count);
  }
  for (uint32_t i = 0; i < ack.torn_count; ++i) {
    const size_t at = kAckBytesMin + size_t{i} * kTornFrameBytes;
    ack.torn[i].sequence = load<uint64_t>(body, at);
    std::memcpy(ack.torn[i].blocks.data(), body.data() + at + 8, kTornFrameBytes - 8);
  }
  return {};
}

Result<Goodbye> decode_goodbye(std::span<const std::byte> body) {
  if (body.size() < 4 || body.size() > 4 + kGoodbyeTextBytesMax) {
    return fail(Errc::kCorrupt, "a goodbye has {} bytes", body.size());
  }
  auto code = load<uint32_t>(body, 0);
  if (code < static_cast<uint32_t>(Errc::kRefused) ||
      code > static_cast<uint32_t>(Errc::kInDoubt)) {
    return fail(Errc::kCorrupt, "a goodbye has the unknown code {}", code);
  }
  Goodbye goodbye{static_cast<Errc>(code), {}};
  // The text ends on an operator's terminal: nothing in it may steer one.
  std::transform(body.begin() + 4, body.end(), goodbye.text.begin(), [](std::byte byte) {
    auto character = static_cast<char>(byte);
    return character >= ' ' && character <= '~' ? character : '?';
  });
  return goodbye;
}

uint32_t encode_segments(std::span<const Segment> segments, std::span<std::byte> output) {
  std::byte* at = output.data();
  for (const Segment& segment : segments) {
    store(segment.key, at);
    store(segment.offset_bytes, at + 8);
    store(segment.length_bytes, at + 16);
    store(uint32_t{0}, at + 20);
    at += kSegmentBytes;
  }
  return static_cast<uint32_t>(segments.size()) * kSegmentBytes;
}

uint32_t encode_ack(const Ack& ack, std::span<std::byte> output) {
  store(ack.sequence, &output[0]);
  store(ack.inbox_bytes_consumed, &output[8]);
  store(ack.torn_count, &output[16]);
  store(uint32_t{0}, &output[20]);
  for (uint32_t i = 0; i < ack.torn_count; ++i) {
    std::byte* at = output.data() + kAckBytesMin + size_t{i} * kTornFrameBytes;
    store(ack.torn[i].sequence, at);
    std::memcpy(at + 8, ack.torn[i].blocks.data(), kTornFrameBytes - 8);
  }
  return kAckBytesMin + ack.torn_count * kTornFrameBytes;
}

uint32_t encode_hello(const LaneTicket& ticket, std::span<std::byte> output) {
  std::memcpy(output.data(), ticket.token.data(), ticket.token.size());
  store(ticket.lane, output.data() + ticket.token.size());
  return kHelloBodyBytes;
}

uint32_t encode_goodbye(Errc code, std::string_view text, std::span<std::byte> output) {
  text = text.substr(0, kGoodbyeTextBytesMax);
  store(static_cast<uint32_t>(code), output.data());
  std::memcpy(output.data() + 4, text.data(), text.size());
  return 4 + static_cast<uint32_t>(text.size());
}

}  // namespace godwit
