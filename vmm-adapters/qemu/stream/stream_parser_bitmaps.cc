// SPDX-License-Identifier: Apache-2.0
//
// What is in a section "dirty-bitmap": which parts of block devices changed since the last backup,
// in chunks. A relay has nothing to do with them, but RAM comes before and after.
#include "vmm-adapters/qemu/stream/stream_parser.h"

namespace godwit::qemu::stream {
namespace {

// QEMU's chunks have 1 KiB.
constexpr uint64_t kChunkBytesMax = kMiB;

}  // namespace

Status StreamParser::read_bitmap_chunk(ByteReader& reader, StreamEvent& event) {
  BitmapChunk chunk{};
  chunk.flags = reader.u8();
  if (reader.is_short()) return {};
  if (chunk.flags == kBitmapEndOfSection) {
    state_ = State::kFooter;
    event.what = chunk;
    return {};
  }
  const unsigned what = chunk.flags & ~(kBitmapHasName | kBitmapHasDevice);
  if (what != kBitmapStart && what != kBitmapComplete && what != kBitmapBits &&
      what != (kBitmapBits | kBitmapZeroes)) {
    return fail(Errc::kRefused, "unknown part {:#x} of a dirty bitmap", chunk.flags);
  }
  if ((chunk.flags & kBitmapHasDevice) != 0) chunk.device = reader.counted_text();
  if ((chunk.flags & kBitmapHasName) != 0) chunk.bitmap = reader.counted_text();
  if (what == kBitmapStart) {
    chunk.granularity_bytes = reader.be32();
    chunk.start_flags = reader.u8();
  }
  if ((what & kBitmapBits) != 0) {
    chunk.first_sector = reader.be64();
    chunk.sectors = reader.be32();
  }
  const uint64_t payload_bytes = what == kBitmapBits ? reader.be64() : 0;
  if (reader.is_short()) return {};
  if (payload_bytes > kChunkBytesMax) {
    return fail(Errc::kCorrupt, "{} bytes of a dirty bitmap", payload_bytes);
  }
  chunk.payload_bytes = static_cast<uint32_t>(payload_bytes);
  expect_payload(PayloadKind::kBitmap, payload_bytes);
  event.what = chunk;
  return {};
}

}  // namespace godwit::qemu::stream
