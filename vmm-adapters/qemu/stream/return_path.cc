// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/stream/return_path.h"

#include "engine/base/check.h"

namespace godwit::qemu::stream {
namespace {

constexpr uint16_t kRequestBytes = 12;

bool has_length(ReturnMessageType type, uint16_t body_bytes) {
  switch (type) {
    case ReturnMessageType::kShut:
    case ReturnMessageType::kPong:
    case ReturnMessageType::kResumeAck:
      return body_bytes == 4;
    case ReturnMessageType::kRequestPagesOfBlock:
      return body_bytes > kRequestBytes + 1 && body_bytes <= kRequestBytes + 256;
    case ReturnMessageType::kRequestPages:
      return body_bytes == kRequestBytes;
    case ReturnMessageType::kReceivedBitmap:
      return body_bytes > 1 && body_bytes <= 256;
    case ReturnMessageType::kSwitchoverAck:
      return body_bytes == 0;
  }
  return false;
}

// Reads a body of the right length. False when the name in it does not end where the body does.
bool read_body(ByteReader body, ReturnMessage& message) {
  switch (message.type) {
    case ReturnMessageType::kShut:
    case ReturnMessageType::kPong:
    case ReturnMessageType::kResumeAck:
      message.value = body.be32();
      break;
    case ReturnMessageType::kRequestPagesOfBlock:
    case ReturnMessageType::kRequestPages:
      message.offset_bytes = body.be64();
      message.size_bytes = body.be32();
      if (body.left() != 0) message.block = body.counted_text();
      break;
    case ReturnMessageType::kReceivedBitmap:
      message.block = body.counted_text();
      break;
    case ReturnMessageType::kSwitchoverAck:
      break;
  }
  return !body.is_short() && body.left() == 0;
}

}  // namespace

bool ReturnPathParser::next(ReturnEvent& event) {
  event.what = std::monostate{};
  const auto read_item = [&](ByteReader& reader) -> Status {
    const Status status = step(reader, event);
    if (status || reader.is_short()) return status;
    return fail(status.error().code, "return path, byte {}: {}", items_.offset_bytes(),
                status.error().text());
  };
  const ItemSource::Got got = items_.next(read_item, event.bytes);
  event.offset_bytes = items_.offset_bytes() - event.bytes.size();
  if (got == ItemSource::Got::kPayload) {
    const uint64_t left_bytes = items_.payload_left_bytes();
    event.what = BitmapBytes{.at_bytes = bitmap_bytes_ - left_bytes - event.bytes.size(),
                             .left_bytes = left_bytes};
  }
  if (got == ItemSource::Got::kOpaque) event.what = ReturnPathRest{};
  return got != ItemSource::Got::kNothing;
}

bool ReturnPathParser::finish(ReturnEvent& event) {
  if (!items_.holds_bytes()) return false;
  items_.give_up(
      fail(Errc::kCorrupt, "return path, byte {}: it ends within a message", items_.offset_bytes())
          .value());
  event.offset_bytes = items_.offset_bytes();
  event.bytes = items_.take_rest();
  event.what = ReturnPathRest{};
  return true;
}

Status ReturnPathParser::step(ByteReader& reader, ReturnEvent& event) {
  switch (state_) {
    case State::kMessage:
      return read_message(reader, event);
    case State::kBitmapSize:
      return read_bitmap_size(reader, event);
    case State::kBitmapEnd: {
      const uint64_t mark = reader.be64();
      if (reader.is_short()) return {};
      if (mark != kBitmapEndMark) return fail(Errc::kCorrupt, "a bitmap without its end");
      state_ = State::kMessage;
      event.what = BitmapEnd{};
      return {};
    }
  }
  return {};
}

Status ReturnPathParser::read_message(ByteReader& reader, ReturnEvent& event) {
  ReturnMessage message{.type = static_cast<ReturnMessageType>(reader.be16())};
  const uint16_t body_bytes = reader.be16();
  if (reader.is_short()) return {};
  if (!has_length(message.type, body_bytes)) {
    return fail(Errc::kRefused, "message {} of {} bytes", static_cast<unsigned>(message.type),
                body_bytes);
  }
  const Bytes body = reader.take(body_bytes);
  if (reader.is_short()) return {};
  if (!read_body(ByteReader(body), message)) {
    return fail(Errc::kCorrupt, "a body that message {} cannot have",
                static_cast<unsigned>(message.type));
  }
  if (message.type == ReturnMessageType::kReceivedBitmap) state_ = State::kBitmapSize;
  event.what = message;
  return {};
}

Status ReturnPathParser::read_bitmap_size(ByteReader& reader, ReturnEvent& event) {
  const uint64_t size_bytes = reader.be64();
  if (reader.is_short()) return {};
  if (size_bytes % 8 != 0) return fail(Errc::kCorrupt, "a bitmap of {} bytes", size_bytes);
  bitmap_bytes_ = size_bytes;
  items_.expect_payload(size_bytes);
  state_ = State::kBitmapEnd;
  event.what = BitmapSize{.size_bytes = size_bytes};
  return {};
}

void encode_return_message(const ReturnMessage& message, std::vector<std::byte>& output) {
  std::vector<std::byte> body;
  ByteWriter writer(body);
  switch (message.type) {
    case ReturnMessageType::kShut:
    case ReturnMessageType::kPong:
    case ReturnMessageType::kResumeAck:
      writer.be32(message.value);
      break;
    case ReturnMessageType::kRequestPagesOfBlock:
    case ReturnMessageType::kRequestPages:
      writer.be64(message.offset_bytes);
      writer.be32(message.size_bytes);
      if (message.type == ReturnMessageType::kRequestPagesOfBlock) {
        writer.counted_text(message.block);
      }
      break;
    case ReturnMessageType::kReceivedBitmap:
      writer.counted_text(message.block);
      break;
    case ReturnMessageType::kSwitchoverAck:
      break;
  }
  ByteWriter whole(output);
  whole.be16(static_cast<uint16_t>(message.type));
  whole.be16(static_cast<uint16_t>(body.size()));
  whole.bytes(body);
}

void encode_received_bitmap(Bytes bitmap, std::vector<std::byte>& output) {
  CHECK(bitmap.size() % 8 == 0);
  ByteWriter writer(output);
  writer.be64(bitmap.size());
  writer.bytes(bitmap);
  writer.be64(kBitmapEndMark);
}

}  // namespace godwit::qemu::stream
