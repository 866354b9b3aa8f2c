// SPDX-License-Identifier: Apache-2.0
//
// The frames of a lane, as bytes. Pure functions over spans: no socket, no state, no allocation, so
// that a fuzzer can reach all of it. What a frame means *now* (is this region known, was this read
// ever asked for) is the endpoint's to say; what a frame may be at all is said here.
//
// A frame is a header of 32 bytes, a body (tables, or a small message) and a payload. The header
// has a checksum of its own and is checked before its lengths are believed; the body's checksum is
// in the header; the payload has one checksum per 4 KiB block, in the body, so that a page which
// changed on its way is known exactly. All integers are little-endian.
//
//   0 magic u32 | 4 type u8 | 5 flags u8 | 6 segments u16 | 8 body bytes u32 | 12 payload bytes u32
//   16 sequence u64 | 24 CRC32C of the body u32 | 28 CRC32C of bytes 0..27 u32
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "engine/transport.h"

namespace godwit {

inline constexpr uint32_t kFrameMagic = 0x31545747;  // "GWT1"
inline constexpr uint32_t kFrameHeaderBytes = 32;
inline constexpr uint32_t kSegmentBytes = 24;
inline constexpr uint32_t kFrameSegmentsMax = 256;
inline constexpr uint32_t kFramePayloadBytesMax = 1 << 20;
inline constexpr uint32_t kFrameMessageBytesMax = 64 << 10;
inline constexpr uint32_t kFrameBodyBytesMax = kFrameMessageBytesMax;
inline constexpr uint32_t kHelloBodyBytes = 36;
inline constexpr uint32_t kGoodbyeTextBytesMax = 300;

// Every segment starts a block of its own, so the last block of each may be a short one.
inline constexpr uint32_t kFrameBlocksMax =
    kFramePayloadBytesMax / kBasePageBytes + kFrameSegmentsMax;

// How many frames of a kind may be unanswered. A peer that has more is not one of ours.
inline constexpr uint32_t kWriteFramesInFlightMax = 64;
inline constexpr uint32_t kReadFramesInFlightMax = 32;

enum class FrameType : uint8_t {
  kHello = 1,         // body: a lane's ticket. The first frame of whoever connects
  kWelcome = 2,       // nothing. The ticket was right
  kWrite = 3,         // body: segments, checksums. Payload: the segments' bytes, one after another
  kReadRequest = 4,   // body: segments
  kReadResponse = 5,  // body: the request's sequence, checksums. Payload: as asked
  kMessage = 6,       // body: the message
  kAck = 7,           // body: struct Ack
  kFlush = 8,         // nothing. Wants an Ack at once
  kGoodbye = 9,       // body: Errc and a text. The last frame: why the connection ends
};

// Flags of kWrite and kReadResponse.
inline constexpr uint8_t kFlagLive =
    1;  // the memory may have changed on its way: blocks can be torn
inline constexpr uint8_t kFlagChecksummed = 2;  // the body has the blocks' checksums

struct FrameHeader {
  FrameType type;
  uint8_t flags;
  uint16_t segment_count;
  uint32_t body_bytes;
  uint32_t payload_bytes;
  uint64_t sequence;  // 1, 2, 3 … in each direction; hello and welcome are 0
  uint32_t body_checksum;
};

// A piece of one of the peer's regions.
struct Segment {
  uint64_t key;
  uint64_t offset_bytes;
  uint32_t length_bytes;  // 1 .. kFramePayloadBytesMax
};

constexpr uint32_t block_count(uint32_t length_bytes) {
  return static_cast<uint32_t>((length_bytes + kBasePageBytes - 1) / kBasePageBytes);
}

// Which blocks of one frame arrived torn. Bit n of word n/64 is block n, counted through all
// segments.
struct TornFrame {
  uint64_t sequence;
  std::array<uint64_t, kFrameBlocksMax / 64> blocks;
};
inline constexpr uint32_t kTornFrameBytes = 8 + kFrameBlocksMax / 8;

// All frames up to `sequence` have been carried out; these had torn blocks and were not named
// before.
struct Ack {
  uint64_t sequence;
  uint64_t inbox_bytes_consumed;  // see inbox.h; never decreases
  uint32_t torn_count;
  std::array<TornFrame, kWriteFramesInFlightMax> torn;
};
inline constexpr uint32_t kAckBytesMin = 24;
inline constexpr uint32_t kAckBytesMax = kAckBytesMin + kWriteFramesInFlightMax * kTornFrameBytes;

struct Goodbye {
  Errc code;
  std::array<char, kGoodbyeTextBytesMax + 1> text;  // printable ASCII
};

// Writes the header with its checksum.
void encode_header(const FrameHeader& header, std::span<std::byte, kFrameHeaderBytes> output);

// Errors: kCorrupt for whatever no peer of ours would send.
Result<FrameHeader> decode_header(std::span<const std::byte, kFrameHeaderBytes> input);

// Errors: kCorrupt when the body is not the one that the header speaks of.
Status check_body(const FrameHeader& header, std::span<const std::byte> body);

// The decoders of bodies. Requires: decode_header() gave `header`, and body.size() ==
// header.body_bytes.

// Reads the segments of a kWrite or kReadRequest into `segments`. Returns the number of their
// blocks.
Result<uint32_t> decode_segments(const FrameHeader& header, std::span<const std::byte> body,
                                 std::span<Segment, kFrameSegmentsMax> segments);

// Where the checksums of the blocks are; empty without kFlagChecksummed.
std::span<const std::byte> checksums_in(const FrameHeader& header, std::span<const std::byte> body);
uint32_t checksum_at(std::span<const std::byte> checksums, uint32_t block);

// The kReadRequest that a kReadResponse answers.
uint64_t decode_request_sequence(std::span<const std::byte> body);

Result<LaneTicket> decode_hello(std::span<const std::byte> body);
Status decode_ack(std::span<const std::byte> body, Ack& ack);
Result<Goodbye> decode_goodbye(std::span<const std::byte> body);

// The encoders of bodies. They return how many bytes they wrote.
uint32_t encode_segments(std::span<const Segment> segments, std::span<std::byte> output);
uint32_t encode_ack(const Ack& ack, std::span<std::byte> output);
uint32_t encode_hello(const LaneTicket& ticket, std::span<std::byte> output);
uint32_t encode_goodbye(Errc code, std::string_view text, std::span<std::byte> output);
void store_u32(uint32_t value, std::byte* output);
void store_u64(uint64_t value, std::byte* output);

}  // namespace godwit
