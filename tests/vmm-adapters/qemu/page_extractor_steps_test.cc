// SPDX-License-Identifier: Apache-2.0
//
// Streams made by hand: what the destination is told once pages were left out, byte for byte.
#include <gtest/gtest.h>

#include <functional>
#include <ostream>
#include <string>

#include "tests/vmm-adapters/qemu/stream/made_stream.h"
#include "tests/vmm-adapters/qemu/stream/walk.h"
#include "vmm-adapters/qemu/qemu_page_extractor.h"

namespace godwit::qemu {
namespace {

using stream::append;
using stream::Bytes;
using stream::ItemType;
using stream::MadeStream;
using stream::RamRecordType;

constexpr uint64_t kUnknownRecord = 0x400;

struct Placed {
  uint32_t block;
  uint64_t offset_bytes;
  std::vector<std::byte> content;  // none: cleared

  friend bool operator==(const Placed&, const Placed&) = default;
};
Placed page_of(uint32_t block, uint64_t offset_bytes, uint8_t fill) {
  return {block, offset_bytes, std::vector<std::byte>(kBasePageBytes, std::byte{fill})};
}
Placed zero_of(uint32_t block, uint64_t offset_bytes) {
  return {block, offset_bytes, {}};
}

// What becomes of a stream.
struct Parts final : PageExtractor::Output {
  std::vector<std::byte> passed;
  std::vector<Placed> placed;
  Status status;
  std::string note;
  std::vector<size_t> completed_at;  // bytes that were passed on before

  Status pass_on(Bytes bytes) override {
    append(passed, bytes);
    return {};
  }
  Status place(uint32_t block, uint64_t offset_bytes, Bytes content) override {
    if (offset_bytes % kBasePageBytes == 0) placed.push_back({block, offset_bytes, {}});
    append(placed.back().content, content);
    return {};
  }
  Status clear(uint32_t block, uint64_t offset_bytes, uint64_t) override {
    placed.push_back({block, offset_bytes, {}});
    return {};
  }
  Status settle() override { return {}; }
  Status complete() override {
    completed_at.push_back(passed.size());
    return {};
  }
};

using Blocks = std::vector<BlockDescription>;
const Blocks kBoth = {{.name = "rom", .size_bytes = kMiB, .page_size_bytes = kBasePageBytes},
                      {.name = "ram0", .size_bytes = kMiB, .page_size_bytes = kBasePageBytes}};
const Blocks kRamOnly = {{.name = "ram0", .size_bytes = kMiB, .page_size_bytes = kBasePageBytes}};
constexpr uint32_t kRom = 0;  // in kBoth
constexpr uint32_t kRam = 1;

Parts take_apart(Bytes stream, const Blocks& blocks, size_t piece_bytes) {
  const std::unique_ptr<PageExtractor> extractor = make_page_extractor(blocks);
  Parts parts;
  std::vector<std::byte> piece;
  while (!stream.empty() && parts.status) {
    const Bytes next = stream.first(std::min(piece_bytes, stream.size()));
    stream = stream.subspan(next.size());
    piece.assign(next.begin(), next.end());
    parts.status = extractor->take_apart(piece, parts);
    std::ranges::fill(piece, std::byte{0xee});
  }
  if (parts.status) parts.status = extractor->finish(parts);
  parts.note = extractor->note();
  return parts;
}

// Whatever the pieces.
void expect_parts(const MadeStream& stream, const MadeStream& passed,
                  const std::vector<Placed>& placed, const std::string& note,
                  const Blocks& blocks = kBoth) {
  for (const size_t piece_bytes : {1U, 7U, 1000U, 4096U, 5000U, 1U << 20}) {
    SCOPED_TRACE("pieces of " + std::to_string(piece_bytes));
    const Parts parts = take_apart(stream.bytes, blocks, piece_bytes);
    ASSERT_TRUE(parts.status) << to_string(parts.status.error());
    EXPECT_TRUE(parts.passed == passed.bytes);
    EXPECT_TRUE(parts.placed == placed);
    EXPECT_NE(parts.note.find(note), std::string::npos) << parts.note;
    EXPECT_EQ(parts.note.empty(), note.empty()) << parts.note;
  }
}

void record(MadeStream& stream, RamRecordType type, std::string_view block, uint64_t offset_bytes,
            uint32_t payload_bytes = 0, uint8_t fill = 0) {
  stream.encode.record({.type = type,
                        .names_block = !block.empty(),
                        .fill = fill,
                        .payload_bytes = payload_bytes,
                        .block = 0,
                        .offset_bytes = offset_bytes},
                       block);
  stream.bytes.insert(stream.bytes.end(), payload_bytes, std::byte{0x77});
}
void zero(MadeStream& stream, std::string_view block, uint64_t offset_bytes) {
  record(stream, RamRecordType::kZero, block, offset_bytes);
}

TEST(PageExtractor, TakesPagesAndZeroesOutOfAnySection) {
  MadeStream stream;
  stream.up_to_records().page("ram0", 0, 1).page("", 4096, 2);
  zero(stream, "rom", 8192);
  stream.end_of_section().section(ItemType::kSectionPart).page("", 0, 3);
  zero(stream, "", 4096);
  stream.end_of_section();
  MadeStream passed;
  passed.up_to_records().end_of_section().section(ItemType::kSectionPart).end_of_section();

  expect_parts(stream, passed,
               {page_of(kRam, 0, 1), page_of(kRam, 4096, 2), zero_of(kRom, 8192),
                page_of(kRom, 0, 3), zero_of(kRom, 4096)},
               "");
}

TEST(PageExtractor, PassesOnBlocksOfOtherNamesAndSizes) {
  MadeStream stream;
  stream.up_to_records().page("ram0", 0, 1).page("rom", 0, 2).page("", 4096, 3).end_of_section();

  expect_parts(stream, stream, {}, "",
               {{.name = "ram0", .size_bytes = 2 * kMiB, .page_size_bytes = kBasePageBytes},
                {.name = "ROM", .size_bytes = kMiB, .page_size_bytes = kBasePageBytes}});
}

TEST(PageExtractor, NamesTheBlockOfAPageAfterOneThatWasLeftOut) {
  MadeStream stream;
  stream.up_to_records().page("rom", 0, 1).page("", 4096, 2).page("ram0", 0, 3).page("rom", 0, 4);
  stream.page("", 8192, 5).end_of_section();
  MadeStream passed;
  passed.up_to_records().page("rom", 0, 1).page("", 4096, 2).page("rom", 0, 4).page("", 8192, 5);
  passed.end_of_section();

  expect_parts(stream, passed, {page_of(0, 0, 3)}, "", kRamOnly);
}

// A record of something that ends the placing.
struct Ending {
  const char* name;
  std::function<void(MadeStream&, std::string_view block)> add;
  bool is_page;  // and so knows of a block
  const char* note;
};
void PrintTo(const Ending& ending, std::ostream* output) {
  *output << ending.name;
}
class PageExtractorEnding : public testing::TestWithParam<Ending> {};
INSTANTIATE_TEST_SUITE_P(
    By, PageExtractorEnding,
    testing::Values(Ending{"Xbzrle",
                           [](MadeStream& to, std::string_view block) {
                             record(to, RamRecordType::kXbzrle, block, 4096, 100);
                           },
                           true, "XBZRLE is on"},
                    Ending{"Compression",
                           [](MadeStream& to, std::string_view block) {
                             record(to, RamRecordType::kCompressed, block, 4096, 100);
                           },
                           true, "compression is on"},
                    Ending{"Fill",
                           [](MadeStream& to, std::string_view block) {
                             record(to, RamRecordType::kZero, block, 4096, 0, 7);
                           },
                           true, "filled"},
                    Ending{"Hook",
                           [](MadeStream& to, std::string_view) {
                             record(to, RamRecordType::kHook, {}, 0);
                           },
                           false, "other channels"},
                    Ending{"MultifdFlush",
                           [](MadeStream& to, std::string_view) {
                             record(to, RamRecordType::kMultifdFlush, {}, 0);
                           },
                           false, "other channels"}),
    [](const testing::TestParamInfo<Ending>& ending) { return ending.param.name; });

TEST_P(PageExtractorEnding, PassesOnEverythingFromThereOnUnderTheRightName) {
  MadeStream stream;
  stream.up_to_records().page("ram0", 0, 1).page("rom", 0, 2);
  GetParam().add(stream, {});
  stream.page("", 8192, 3).page("", 0, 4).page("ram0", 0, 5);
  zero(stream, "", 4096);
  stream.end_of_section();
  MadeStream passed;
  passed.up_to_records();
  GetParam().add(passed, "rom");
  passed.page(GetParam().is_page ? "" : "rom", 8192, 3).page("", 0, 4).page("ram0", 0, 5);
  zero(passed, "", 4096);
  passed.end_of_section();

  expect_parts(stream, passed, {page_of(kRam, 0, 1), page_of(kRom, 0, 2)}, GetParam().note);
}

// What comes after may name no block, and nobody can tell.
class PageExtractorAppends : public testing::Test {
 protected:
  static void add_rest(MadeStream& stream) {
    stream.raw.be64(kUnknownRecord);
    stream.page("", 4096, 2);
  }
};

TEST_F(PageExtractorAppends, TheLastPageThatWasLeftOut) {
  MadeStream stream;
  stream.up_to_records().page("ram0", 0, 1).page("rom", 4096, 2).page("", 8192, 9);
  add_rest(stream);
  MadeStream passed;
  passed.up_to_records().page("rom", 8192, 9);
  add_rest(passed);

  expect_parts(stream, passed,
               {page_of(kRam, 0, 1), page_of(kRom, 4096, 2), page_of(kRom, 8192, 9)},
               "unknown RAM record");
}

TEST_F(PageExtractorAppends, ThePageOfZeroesThatWasLeftOut) {
  MadeStream stream;
  stream.up_to_records().page("ram0", 0, 1);
  zero(stream, "rom", 4096);
  add_rest(stream);
  MadeStream passed;
  passed.up_to_records().page("rom", 4096, 0);
  add_rest(passed);

  expect_parts(stream, passed, {page_of(kRam, 0, 1), zero_of(kRom, 4096)}, "unknown RAM record");
}

TEST_F(PageExtractorAppends, ThePageAfterZeroes) {
  MadeStream stream;
  stream.up_to_records();
  zero(stream, "rom", 4096);
  stream.page("ram0", 4096, 3);
  add_rest(stream);
  MadeStream passed;
  passed.up_to_records().page("ram0", 4096, 3);
  add_rest(passed);

  expect_parts(stream, passed, {zero_of(kRom, 4096), page_of(kRam, 4096, 3)}, "unknown");
}

TEST_F(PageExtractorAppends, NothingWhereTheDestinationKnowsTheBlock) {
  MadeStream stream;
  stream.up_to_records().page("ram0", 0, 1).page("rom", 0, 2);
  add_rest(stream);
  MadeStream passed;
  passed.up_to_records().page("rom", 0, 2);
  add_rest(passed);

  expect_parts(stream, passed, {page_of(0, 0, 1)}, "unknown RAM record", kRamOnly);
}

TEST_F(PageExtractorAppends, ASectionOfItsOwnBetweenSections) {
  MadeStream stream;
  stream.up_to_records().page("ram0", 8192, 1).end_of_section();
  stream.section(ItemType::kSectionStart, "other").raw.text("anything");
  MadeStream passed;
  passed.up_to_records().end_of_section();
  passed.section(ItemType::kSectionPart).page("ram0", 8192, 1).end_of_section();
  passed.section(ItemType::kSectionStart, "other").raw.text("anything");

  expect_parts(stream, passed, {page_of(kRam, 8192, 1)}, "cannot be followed");
}

// The list says a MiB.
TEST_F(PageExtractorAppends, BeforeAPageThatLiesOutsideItsBlock) {
  MadeStream stream;
  stream.up_to_records().page("ram0", kMiB - kBasePageBytes, 1).page("", kMiB, 2);
  MadeStream passed;
  passed.up_to_records().page("ram0", kMiB - kBasePageBytes, 1).page("", kMiB, 2);

  expect_parts(stream, passed, {page_of(kRam, kMiB - kBasePageBytes, 1)}, "which has 0x100000");
}

TEST(PageExtractor, GivesUpWhereNoPageCanBeAppended) {
  MadeStream stream;
  stream.up_to_records().page("ram0", 8192, 1).encode.end_of_section();
  stream.raw.text("no footer");

  const Parts parts = take_apart(stream.bytes, kBoth, 100);

  ASSERT_FALSE(parts.status);
  EXPECT_EQ(parts.status.error().code, Errc::kGuest);
}

// Devices that are loaded look into it.
TEST(PageExtractor, HasMemoryCompletedOnceBeforeDeviceState) {
  MadeStream stream;
  stream.up_to_records().page("ram0", 0, 1).end_of_section();
  stream.section(ItemType::kSectionEnd).page("", 0, 2).end_of_section();
  MadeStream before;
  before.up_to_records().end_of_section().section(ItemType::kSectionEnd).end_of_section();
  const size_t ram_bytes = stream.bytes.size();
  stream.section(ItemType::kSectionFull, "device").raw.text("its state");

  for (const size_t piece_bytes : {1U, 100U, 1U << 20}) {
    const Parts parts = take_apart(stream.bytes, kBoth, piece_bytes);
    ASSERT_TRUE(parts.status) << to_string(parts.status.error());
    EXPECT_EQ(parts.completed_at, std::vector<size_t>{before.bytes.size()});
    EXPECT_EQ(parts.passed.size() - before.bytes.size(), stream.bytes.size() - ram_bytes);
  }
  EXPECT_EQ(take_apart(Bytes(stream.bytes).first(ram_bytes), kBoth, 100).completed_at.size(), 1U);
  EXPECT_EQ(take_apart(Bytes(stream.bytes).first(ram_bytes / 2), kBoth, 100).completed_at.size(),
            0U);
}

// A source that is killed, or whose migration is cancelled: the destination sees the same end.
TEST(PageExtractor, EndsWithTheStreamWhereverThatIs) {
  MadeStream stream;
  stream.up_to_records();
  const size_t before = stream.bytes.size();
  zero(stream, "rom", 4096);
  stream.page("ram0", 0, 1).end_of_section().section(ItemType::kSectionPart);
  zero(stream, "rom", 4096);
  stream.end_of_section();
  for (size_t size = 0; size <= stream.bytes.size(); ++size) {
    const Parts parts = take_apart(Bytes(stream.bytes).first(size), kBoth, 3000);
    ASSERT_TRUE(parts.status) << size << ": " << to_string(parts.status.error());
    if (size <= before) {
      ASSERT_TRUE(std::ranges::equal(parts.passed, Bytes(stream.bytes).first(size))) << size;
    }
    ASSERT_LT(parts.passed.size(), kBasePageBytes) << size;
  }
}

}  // namespace
}  // namespace godwit::qemu
