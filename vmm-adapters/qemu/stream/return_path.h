// SPDX-License-Identifier: Apache-2.0
//
// The return path of QEMU's migration: what the destination tells the source, on the same socket as
// the main channel. Read as StreamParser reads the other direction, with the same invariant, and
// written.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/base/result.h"
#include "vmm-adapters/qemu/stream/item_source.h"

namespace godwit::qemu::stream {

struct ReturnMessage {
  ReturnMessageType type;
  // SHUT: whether it failed. PONG: the cookie. RESUME_ACK: 1.
  uint32_t value = 0;
  // Of a request for pages; none with kRequestPages, which means that of the request before.
  // kReceivedBitmap: whose bitmap follows.
  std::string_view block;
  uint64_t offset_bytes = 0;
  uint32_t size_bytes = 0;  // the host's page size of the block
};
// What kReceivedBitmap is followed by: the size, the bitmap, the mark at its end. A bit is a page
// of the target's page size, in bytes from the lowest bit up; set: received.
struct BitmapSize {
  uint64_t size_bytes;
};
struct BitmapBytes {
  uint64_t at_bytes;
  uint64_t left_bytes;
};
struct BitmapEnd {};
struct ReturnPathRest {};  // not understood: ReturnPathParser::reason()

struct ReturnEvent {
  uint64_t offset_bytes = 0;
  Bytes bytes;  // valid until the parser's next call, as in StreamEvent
  std::variant<std::monostate, ReturnMessage, BitmapSize, BitmapBytes, BitmapEnd, ReturnPathRest>
      what;
};

class ReturnPathParser {
 public:
  // As StreamParser's.
  void feed(Bytes piece) { items_.feed(piece); }
  bool next(ReturnEvent& event);
  bool finish(ReturnEvent& event);
  uint64_t payload_left_bytes() const { return items_.payload_left_bytes(); }

  const std::optional<Error>& reason() const { return items_.reason(); }

 private:
  enum class State : uint8_t { kMessage = 1, kBitmapSize = 2, kBitmapEnd = 3 };

  Status step(ByteReader& reader, ReturnEvent& event);
  Status read_message(ByteReader& reader, ReturnEvent& event);
  Status read_bitmap_size(ByteReader& reader, ReturnEvent& event);

  ItemSource items_;
  State state_ = State::kMessage;
  uint64_t bitmap_bytes_ = 0;
};

// Appends the message. Requires: a block's name, where there is one, has at most 255 letters.
void encode_return_message(const ReturnMessage& message, std::vector<std::byte>& output);
// What follows the message kReceivedBitmap. Requires: a multiple of 8 bytes.
void encode_received_bitmap(Bytes bitmap, std::vector<std::byte>& output);

}  // namespace godwit::qemu::stream
