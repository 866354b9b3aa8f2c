// SPDX-License-Identifier: Apache-2.0
//
// Commands, between sections and at the beginning of a package, and what they tell about the rest
// of the stream.
#include <bit>

#include "vmm-adapters/qemu/stream/command.h"
#include "vmm-adapters/qemu/stream/stream_parser.h"

namespace godwit::qemu::stream {
namespace {

constexpr uint64_t kCommandHeaderBytes = 5;

// A command up to its body, which may be longer than the reader.
struct CommandHeader {
  CommandId id;
  uint16_t body_bytes;
};
CommandHeader read_header(ByteReader& reader) {
  reader.u8();
  const auto id = static_cast<CommandId>(reader.be16());
  return {.id = id, .body_bytes = reader.be16()};
}

}  // namespace

Status StreamParser::read_command(ByteReader& reader, StreamEvent& event) {
  const CommandHeader header = read_header(reader);
  if (reader.is_short()) return {};
  // Before its body has come: what is not a command of QEMU's has no length either.
  RETURN_IF_ERROR(check_command_length(header.id, header.body_bytes));
  const Command command{
      .id = header.id, .in_package = false, .body = reader.take(header.body_bytes)};
  if (reader.is_short()) return {};
  RETURN_IF_ERROR(check_command(command));
  RETURN_IF_ERROR(apply_command(command));
  event.what = command;
  return {};
}

Status StreamParser::apply_command(const Command& command) {
  switch (command.id) {
    case CommandId::kPostCopyAdvise:
      return apply_advice(command);
    case CommandId::kPackaged:
      package_left_bytes_ = ByteReader(command.body).be32();
      state_ = State::kPackage;
      return {};
    case CommandId::kEnableColo: {
      colo_ = true;
      const auto failed =
          fail(Errc::kRefused, "migration stream, byte {}: COLO is on", items_.offset_bytes());
      not_understood_ = failed.value();
      items_.give_up(failed.value());
      return {};
    }
    case CommandId::kOpenReturnPath:
    case CommandId::kPing:
    case CommandId::kPostCopyListen:
    case CommandId::kPostCopyRun:
    case CommandId::kPostCopyDiscard:
    case CommandId::kPostCopyResume:
    case CommandId::kReceivedBitmap:
    case CommandId::kSwitchoverStart:
      break;
  }
  return {};
}

Status StreamParser::apply_advice(const Command& command) {
  const std::optional<PostCopyAdvice> advice = decode_advice(command.body);
  if (!advice) return {};  // without RAM: dirty bitmaps only
  const uint64_t page_bytes = advice->target_page_bytes;
  if (page_bytes < kFlagMultifdFlush * 2 || page_bytes > 64 * kKiB ||
      !std::has_single_bit(page_bytes)) {
    return fail(Errc::kRefused, "pages of {} bytes", page_bytes);
  }
  page_bytes_ = page_bytes;
  page_sizes_summary_ = advice->page_sizes_summary;
  return {};
}

// QEMU sends LISTEN, device state and RUN in one package. Only the commands at its beginning can be
// told apart; where device state ends is unknown.
Status StreamParser::read_package(ByteReader& reader, StreamEvent& event) {
  const auto pass_rest = [&] {
    expect_payload(PayloadKind::kPackage, package_left_bytes_);
    package_left_bytes_ = 0;
    state_ = State::kBetweenSections;
  };
  if (package_left_bytes_ < kCommandHeaderBytes) {
    pass_rest();
    return {};
  }
  const uint8_t type = reader.peek();
  if (reader.is_short()) return {};
  ByteReader ahead = reader;
  const CommandHeader header = read_header(ahead);
  const uint64_t size_bytes = kCommandHeaderBytes + header.body_bytes;
  if (type != static_cast<uint8_t>(ItemType::kCommand) ||
      (!ahead.is_short() &&
       (size_bytes > package_left_bytes_ || header.id == CommandId::kPackaged ||
        !check_command_length(header.id, header.body_bytes)))) {
    pass_rest();
    return {};
  }
  reader = ahead;
  const Command command{
      .id = header.id, .in_package = true, .body = reader.take(header.body_bytes)};
  if (reader.is_short()) return {};
  package_left_bytes_ -= size_bytes;
  if (package_left_bytes_ == 0) state_ = State::kBetweenSections;
  event.what = command;
  return {};
}

}  // namespace godwit::qemu::stream
