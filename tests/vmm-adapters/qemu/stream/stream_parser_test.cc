// SPDX-License-Identifier: Apache-2.0
//
// What recorded streams do not have: things that are wrong, unknown, or of other versions.
#include "vmm-adapters/qemu/stream/stream_parser.h"

#include <gtest/gtest.h>

#include "tests/vmm-adapters/qemu/stream/made_stream.h"
#include "tests/vmm-adapters/qemu/stream/walk.h"

namespace godwit::qemu::stream {
namespace {

// Feeds a whole stream byte by byte; what was opaque of it.
struct Walked {
  std::vector<std::byte> opaque;
  std::vector<size_t> kinds;  // index in StreamEvent::what, once for a run of the same
  bool ram_may_follow = false;
  std::string reason;
  Errc code{};
};
Walked walk_all(StreamParser parser, const std::vector<std::byte>& bytes) {
  Walked walked;
  std::vector<std::byte> copied;
  walk<StreamEvent>(parser, bytes, pieces_of(1), [&](const StreamEvent& event) {
    append(copied, event.bytes);
    if (walked.kinds.empty() || walked.kinds.back() != event.what.index()) {
      walked.kinds.push_back(event.what.index());
    }
    if (const auto* opaque = std::get_if<Opaque>(&event.what)) {
      append(walked.opaque, event.bytes);
      walked.ram_may_follow = opaque->ram_may_follow;
    }
  });
  EXPECT_EQ(copied, bytes);
  if (parser.reason()) {
    walked.reason = parser.reason()->text();
    walked.code = parser.reason()->code;
  }
  return walked;
}

// That the parser gives up exactly at `at`, for a reason in which there is `text`.
void expect_opaque_from(size_t at, const MadeStream& stream, std::string_view text) {
  const Walked walked = walk_all(StreamParser({}), stream.bytes);

  EXPECT_EQ(stream.bytes.size() - walked.opaque.size(), at);
  EXPECT_NE(walked.reason.find(text), std::string::npos) << walked.reason;
  EXPECT_NE(walked.reason.find("byte " + std::to_string(at)), std::string::npos) << walked.reason;
}

TEST(StreamParser, PassesOnWhatIsNoMigrationStream) {
  MadeStream stream;
  stream.raw.text("GET / HTTP/1.1");

  expect_opaque_from(0, stream, "not QEMU's");
}

TEST(StreamParser, PassesOnAnUnknownCommandAndWhatFollows) {
  MadeStream stream;
  const size_t at = stream.head().bytes.size();
  stream.encode.command(static_cast<CommandId>(99), {});
  stream.section(ItemType::kSectionStart);

  expect_opaque_from(at, stream, "unknown command 99");
}

TEST(StreamParser, DoesNotWaitForABodyThatACommandCannotHave) {
  MadeStream stream;
  const size_t at = stream.head().bytes.size();
  stream.raw.u8(static_cast<uint8_t>(ItemType::kCommand));
  stream.raw.be16(static_cast<uint16_t>(CommandId::kPing));
  stream.raw.be16(60000);

  expect_opaque_from(at, stream, "of 60000 bytes");
}

TEST(StreamParser, PassesOnSectionsThatHaveNoLength) {
  for (const ItemType type : {ItemType::kSectionFull, ItemType::kSectionStart}) {
    MadeStream stream;
    const size_t at = stream.head().bytes.size();
    stream.raw.u8(static_cast<uint8_t>(type));
    stream.raw.be32(1);
    stream.raw.counted_text("virtio-mem-early");
    stream.raw.be64(4);
    stream.raw.text("anything");

    expect_opaque_from(at, stream, "virtio-mem-early");
  }
}

TEST(StreamParser, PassesOnUnknownPartsOfDirtyBitmaps) {
  MadeStream stream;
  stream.up_to_records().end_of_section().encode.section_header(
      {.content = SectionContent::kDirtyBitmap,
       .type = ItemType::kSectionStart,
       .id = 3,
       .name = "dirty-bitmap",
       .instance = 0,
       .version = kBitmapSectionVersion});
  const size_t at = stream.bytes.size();
  stream.raw.u8(0x80);

  expect_opaque_from(at, stream, "unknown part 0x80 of a dirty bitmap");
}

TEST(StreamParser, PassesOnUnknownRecords) {
  for (const uint64_t head : {0x001ULL, 0x400ULL, 0x00aULL, 0x1010ULL, 0x030ULL}) {
    MadeStream stream;
    const size_t at = stream.up_to_records().bytes.size();
    stream.raw.be64(head);

    expect_opaque_from(at, stream, "unknown RAM record");
  }
}

TEST(StreamParser, PassesOnAPageOutsideItsBlock) {
  MadeStream stream;
  const size_t at = stream.up_to_records().bytes.size();
  stream.page("ram0", kMiB, 1);

  expect_opaque_from(at, stream, "ram0");
}

TEST(StreamParser, PassesOnAPageOfAnUnlistedBlock) {
  MadeStream stream;
  const size_t at = stream.up_to_records().bytes.size();
  stream.page("vga", 0, 1);

  expect_opaque_from(at, stream, "'vga', which is not listed");
}

TEST(StreamParser, PassesOnAPageThatContinuesNoBlock) {
  MadeStream stream;
  const size_t at = stream.up_to_records().bytes.size();
  stream.page("", 0, 1);

  expect_opaque_from(at, stream, "a page of no RAM block");
}

TEST(StreamParser, PassesOnAFooterOfAnotherSection) {
  MadeStream stream;
  stream.up_to_records().encode.end_of_section();
  const size_t at = stream.bytes.size();
  stream.encode.section_footer({.id = kRamSectionId + 1});

  expect_opaque_from(at, stream, "without its footer");
}

TEST(StreamParser, PassesOnABlockLargerThanTheList) {
  MadeStream stream;
  stream.head().section(ItemType::kSectionStart).encode.ram_list_header({.total_bytes = 4096});
  const size_t at = stream.bytes.size();
  stream.encode.ram_list_entry(
      {.name = "ram0", .size_bytes = kMiB, .page_size_bytes = {}, .address = {}});

  expect_opaque_from(at, stream, "exceeds the list");
}

TEST(StreamParser, PassesOnUnknownCapabilities) {
  MadeStream stream;
  const size_t at = stream.head().bytes.size();
  MadeStream body;
  body.raw.be32(1);
  body.raw.counted_text("mapped-ram");
  stream.encode.configuration_part(
      {.name = "configuration/capabilities", .version = 1, .body = body.bytes});

  expect_opaque_from(at, stream, "mapped-ram");
}

TEST(StreamParser, FollowsNothingAfterColoIsOn) {
  MadeStream stream;
  stream.head().encode.command(CommandId::kEnableColo, {});
  const size_t at = stream.bytes.size();
  stream.section(ItemType::kSectionStart);

  const Walked walked = walk_all(StreamParser({}), stream.bytes);

  EXPECT_EQ(stream.bytes.size() - walked.opaque.size(), at);
  EXPECT_TRUE(walked.ram_may_follow);
  EXPECT_NE(walked.reason.find("COLO"), std::string::npos) << walked.reason;
}

TEST(StreamParser, PassesOnAnItemThatEndsWithTheConnection) {
  MadeStream stream;
  const size_t at = stream.up_to_records().bytes.size();
  stream.raw.be32(0);

  expect_opaque_from(at, stream, "ends within an item");
}

TEST(StreamParser, TakesDeviceStateAfterRamForGranted) {
  MadeStream stream;
  stream.up_to_records().end_of_section().section(ItemType::kSectionEnd).end_of_section();
  const size_t at = stream.bytes.size();
  stream.section(ItemType::kSectionFull, "timer").raw.text("anything");

  const Walked walked = walk_all(StreamParser({}), stream.bytes);

  EXPECT_EQ(stream.bytes.size() - walked.opaque.size(), at);
  EXPECT_EQ(walked.reason, "");
  EXPECT_FALSE(walked.ram_may_follow);
}

TEST(StreamParser, SaysThatRamMayFollowBeforeItHasEnded) {
  MadeStream stream;
  stream.up_to_records().end_of_section().section(ItemType::kSectionFull, "timer");

  const Walked walked = walk_all(StreamParser({}), stream.bytes);

  EXPECT_TRUE(walked.ram_may_follow);
  EXPECT_EQ(walked.code, Errc::kRefused);
}

TEST(StreamParser, ReadsBigTargetPages) {
  MadeStream stream;
  MadeStream body;
  body.raw.be32(14);
  stream.head().encode.configuration_part(
      {.name = "configuration/target-page-bits", .version = 1, .body = body.bytes});
  stream.section(ItemType::kSectionStart).encode.ram_list_header({.total_bytes = kMiB});
  stream.encode.ram_list_entry(
      {.name = "ram0", .size_bytes = kMiB, .page_size_bytes = {}, .address = {}});
  stream.encode.record({.type = RamRecordType::kPage,
                        .names_block = true,
                        .fill = 0,
                        .payload_bytes = 16384,
                        .block = 0,
                        .offset_bytes = 16384},
                       "ram0");
  stream.raw.zeroes(16384);
  stream.end_of_section();

  const Walked walked = walk_all(StreamParser({}), stream.bytes);

  EXPECT_TRUE(walked.opaque.empty()) << walked.reason;
}

TEST(StreamParser, ReadsTheAddressesOfIgnoredBlocks) {
  MadeStream stream;
  MadeStream body;
  body.raw.be32(1);
  body.raw.counted_text("x-ignore-shared");
  stream.head().encode.configuration_part(
      {.name = "configuration/capabilities", .version = 1, .body = body.bytes});
  stream.section(ItemType::kSectionStart).encode.ram_list_header({.total_bytes = kMiB});
  stream.encode.ram_list_entry(
      {.name = "ram0", .size_bytes = kMiB, .page_size_bytes = {}, .address = 0x1000});
  stream.end_of_section();

  const Walked walked = walk_all(StreamParser({}), stream.bytes);

  EXPECT_TRUE(walked.opaque.empty()) << walked.reason;
}

// A package of these bytes, whole or cut anywhere, is over where its size says.
void expect_package(const std::vector<std::byte>& content) {
  MadeStream stream;
  stream.up_to_records().end_of_section();
  MadeStream size;
  size.raw.be32(static_cast<uint32_t>(content.size()));
  stream.encode.command(CommandId::kPackaged, size.bytes);
  stream.raw.bytes(content);
  stream.encode.ping(4);
  stream.section(ItemType::kSectionEnd).end_of_section().encode.end_of_stream();

  for (size_t piece_bytes = 1; piece_bytes < 8; ++piece_bytes) {
    StreamParser parser({});
    uint64_t pings = 0;
    walk<StreamEvent>(parser, stream.bytes, pieces_of(piece_bytes), [&](const StreamEvent& event) {
      const auto* command = std::get_if<Command>(&event.what);
      if (command != nullptr && command->id == CommandId::kPing && !command->in_package) ++pings;
    });
    EXPECT_FALSE(parser.is_opaque()) << parser.reason()->text();
    EXPECT_TRUE(parser.ram_ended());
    EXPECT_EQ(pings, 1U);
  }
}

TEST(StreamParser, FindsTheEndOfAPackage) {
  MadeStream listen;
  listen.encode.command(CommandId::kPostCopyListen, {});
  expect_package(listen.bytes);
  listen.section(ItemType::kSectionFull, "timer").raw.text("anything");
  expect_package(listen.bytes);
  expect_package({});
}

TEST(StreamParser, FindsTheEndOfAPackageThatIsNotAsExpected) {
  // Shorter than a command; a command that would go beyond it; one within the other; unknown.
  MadeStream part;
  part.raw.be16(0x0800);
  expect_package(part.bytes);
  MadeStream beyond;
  beyond.raw.u8(8);
  beyond.raw.be16(2);
  beyond.raw.be16(4);
  expect_package(beyond.bytes);
  MadeStream nested;
  MadeStream size;
  size.raw.be32(1000);
  nested.encode.command(CommandId::kPackaged, size.bytes);
  expect_package(nested.bytes);
  MadeStream unknown;
  unknown.encode.command(static_cast<CommandId>(99), {});
  expect_package(unknown.bytes);
}

TEST(StreamParser, LetsPayloadsBeReadPastIt) {
  MadeStream stream;
  const size_t head_bytes = stream.up_to_records().bytes.size();
  stream.page("ram0", 4096, 1).page("", 8192, 2).end_of_section();
  const size_t payload_at = head_bytes + 8 + 5;
  const Bytes bytes = stream.bytes;
  StreamParser parser({});
  StreamEvent event;
  parser.feed(bytes.first(payload_at + 100));
  while (parser.next(event)) continue;
  ASSERT_EQ(parser.payload_left_bytes(), kBasePageBytes - 100);

  parser.payload_bypassed(kBasePageBytes - 100);
  parser.feed(bytes.subspan(payload_at + kBasePageBytes));

  ASSERT_TRUE(parser.next(event));
  EXPECT_EQ(event.offset_bytes, payload_at + kBasePageBytes);
  EXPECT_EQ(std::get<RamRecord>(event.what).offset_bytes, 8192U);
}

TEST(StreamParser, PointsIntoThePieceForPayloads) {
  MadeStream stream;
  stream.up_to_records().page("ram0", 4096, 7);
  StreamParser parser({});
  StreamEvent event;
  Bytes page;

  parser.feed(stream.bytes);
  while (parser.next(event)) page = event.bytes;

  EXPECT_EQ(page.data(), &stream.bytes[stream.bytes.size() - kBasePageBytes]);
  EXPECT_EQ(page.size(), kBasePageBytes);
  EXPECT_EQ(parser.record().offset_bytes, 4096U);
}

}  // namespace
}  // namespace godwit::qemu::stream
