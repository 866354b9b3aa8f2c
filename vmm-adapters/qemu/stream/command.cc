// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/stream/command.h"

#include "engine/base/check.h"
#include "vmm-adapters/qemu/stream/byte_reader.h"

namespace godwit::qemu::stream {
namespace {

constexpr uint16_t kAdviceBytes = 16;
constexpr uint16_t kDiscardBytesMin = 20;  // version, name of one letter, its end, one range
// What QEMU sends has at most twelve ranges; a body that is held until it is whole must not be
// large.
constexpr uint16_t kDiscardBytesMax = 4096;
constexpr uint16_t kBlockNameBytesMax = 256;  // with the byte that is its length

bool has_length(CommandId id, uint16_t body_bytes) {
  switch (id) {
    case CommandId::kOpenReturnPath:
    case CommandId::kPostCopyListen:
    case CommandId::kPostCopyRun:
    case CommandId::kEnableColo:
    case CommandId::kPostCopyResume:
    case CommandId::kSwitchoverStart:
      return body_bytes == 0;
    case CommandId::kPing:
    case CommandId::kPackaged:
      return body_bytes == 4;
    case CommandId::kPostCopyAdvise:
      return body_bytes == 0 || body_bytes == kAdviceBytes;
    case CommandId::kPostCopyDiscard:
      return body_bytes >= kDiscardBytesMin && body_bytes <= kDiscardBytesMax;
    case CommandId::kReceivedBitmap:
      return body_bytes >= 1 && body_bytes <= kBlockNameBytesMax;
  }
  return false;
}

bool is_known(CommandId id) {
  return id >= CommandId::kOpenReturnPath && id <= CommandId::kSwitchoverStart;
}

}  // namespace

Status check_command_length(CommandId id, uint16_t body_bytes) {
  const auto number = static_cast<unsigned>(id);
  if (!is_known(id)) return fail(Errc::kRefused, "unknown command {}", number);
  if (has_length(id, body_bytes)) return {};
  return fail(Errc::kCorrupt, "command {} of {} bytes", number, body_bytes);
}

Status check_command(const Command& command) {
  RETURN_IF_ERROR(check_command_length(command.id, static_cast<uint16_t>(command.body.size())));
  bool good = true;
  if (command.id == CommandId::kPostCopyDiscard) {
    good = PostCopyDiscard::decode(command.body).has_value();
  }
  if (command.id == CommandId::kReceivedBitmap) {
    ByteReader reader(command.body);
    reader.counted_text();
    good = !reader.is_short() && reader.left() == 0;
  }
  if (good) return {};
  return fail(Errc::kCorrupt, "a body that command {} cannot have",
              static_cast<unsigned>(command.id));
}

std::optional<PostCopyAdvice> decode_advice(Bytes body) {
  if (body.size() != kAdviceBytes) return std::nullopt;
  ByteReader reader(body);
  const uint64_t summary = reader.be64();
  return PostCopyAdvice{.page_sizes_summary = summary, .target_page_bytes = reader.be64()};
}

std::optional<PostCopyDiscard> PostCopyDiscard::decode(Bytes body) {
  ByteReader reader(body);
  const uint8_t version = reader.u8();
  const std::string_view block = reader.counted_text();
  const uint8_t end_of_name = reader.u8();
  if (reader.is_short() || version != 0 || end_of_name != 0) return std::nullopt;
  const Bytes ranges = reader.take(reader.left());
  if (ranges.empty() || ranges.size() % kRangeBytes != 0) return std::nullopt;
  return PostCopyDiscard(block, ranges);
}

PostCopyDiscard::Range PostCopyDiscard::range(size_t index) const {
  ByteReader reader(ranges_.subspan(index * kRangeBytes, kRangeBytes));
  const uint64_t offset_bytes = reader.be64();
  return {.offset_bytes = offset_bytes, .size_bytes = reader.be64()};
}

uint32_t command_value(const Command& command) {
  CHECK(command.id == CommandId::kPing || command.id == CommandId::kPackaged);
  return ByteReader(command.body).be32();
}

std::string_view asked_block(const Command& command) {
  CHECK(command.id == CommandId::kReceivedBitmap);
  ByteReader reader(command.body);
  return reader.counted_text();
}

}  // namespace godwit::qemu::stream
