// SPDX-License-Identifier: Apache-2.0
//
// Pages taken out of what QEMU sends: the guest's memory becomes the same as without that, and the
// rest of the stream is read for what it was.
#include <gtest/gtest.h>

#include <map>
#include <ostream>
#include <string>
#include <utility>

#include "engine/base/units.h"
#include "tests/vmm-adapters/qemu/stream/made_stream.h"
#include "tests/vmm-adapters/qemu/stream/recorded.h"
#include "tests/vmm-adapters/qemu/stream/walk.h"
#include "vmm-adapters/qemu/qemu_page_extractor.h"
#include "vmm-adapters/qemu/stream/stream_parser.h"

namespace godwit::qemu {
namespace {

using stream::append;
using stream::Bytes;
using stream::is_page;
using stream::MadeStream;
using stream::PayloadKind;
using stream::pieces_of;
using stream::PieceSize;
using stream::RamRecord;
using stream::RamRecordType;
using stream::random_pieces;
using stream::read_recorded;
using stream::StreamEvent;
using stream::StreamParser;

// A guest's memory: what its pages were made of. A difference (XBZRLE) is put after what it is a
// difference to, so that it matters what that was.
class Memory {
 public:
  void apply(const StreamParser& parser, const StreamEvent& event) {
    const auto page = [&]() -> std::vector<std::byte>& {
      return pages_[{parser.blocks()[parser.record().block].name, parser.record().offset_bytes}];
    };
    if (const auto* record = std::get_if<RamRecord>(&event.what)) {
      if (record->type == RamRecordType::kCompressed) page().clear();
      if (record->type == RamRecordType::kZero)
        page().assign(kBasePageBytes, std::byte{record->fill});
    }
    const auto* payload = std::get_if<stream::Payload>(&event.what);
    if (payload == nullptr) return;
    if (payload->kind == PayloadKind::kPage) {
      page().resize(kBasePageBytes);
      std::ranges::copy(event.bytes, page().begin() + static_cast<ptrdiff_t>(payload->at_bytes));
    } else if (payload->kind == PayloadKind::kXbzrle || payload->kind == PayloadKind::kCompressed) {
      append(page(), event.bytes);
    }
  }
  void place(const std::string& block, uint64_t offset_bytes, Bytes content) {
    const uint64_t in_page = offset_bytes % kBasePageBytes;
    std::vector<std::byte>& page = pages_[{block, offset_bytes - in_page}];
    page.resize(kBasePageBytes);
    std::ranges::copy(content, page.begin() + static_cast<ptrdiff_t>(in_page));
  }
  void clear(const std::string& block, uint64_t offset_bytes) {
    pages_[{block, offset_bytes}].assign(kBasePageBytes, std::byte{0});
  }
  friend bool operator==(const Memory&, const Memory&) = default;

 private:
  std::map<std::pair<std::string, uint64_t>, std::vector<std::byte>> pages_;
};

// A destination QEMU.
struct Destination {
  StreamParser parser{StreamParser::Options{}};
  Memory memory;
  std::vector<std::byte> received;
  std::vector<std::byte> other_items;  // than pages

  void receive(Bytes bytes) {
    append(received, bytes);
    parser.feed(bytes);
    StreamEvent event;
    while (parser.next(event)) take(event);
  }
  void take(const StreamEvent& event) {
    memory.apply(parser, event);
    const auto* record = std::get_if<RamRecord>(&event.what);
    const auto* payload = std::get_if<stream::Payload>(&event.what);
    const bool of_page = (record != nullptr && is_page(record->type)) ||
                         (payload != nullptr && payload->kind <= PayloadKind::kCompressed);
    if (!of_page) append(other_items, event.bytes);
  }
};

// One that pages are placed for.
class Relay final : public PageExtractor::Output {
 public:
  explicit Relay(std::vector<BlockDescription> blocks)
      : blocks_(std::move(blocks)), extractor_(make_page_extractor(blocks_)) {}

  Status run(Bytes stream, const PieceSize& piece_size) {
    std::vector<std::byte> piece;
    while (!stream.empty()) {
      const size_t size = std::min(piece_size(2), stream.size());
      piece.assign(stream.begin(), stream.begin() + static_cast<ptrdiff_t>(size));
      stream = stream.subspan(size);
      piece_ = piece;
      RETURN_IF_ERROR(extractor_->take_apart(piece, *this));
      std::ranges::fill(piece, std::byte{0xee});
    }
    return extractor_->finish(*this);
  }
  const std::string& note() const { return extractor_->note(); }

  Destination destination;
  uint64_t placed_pages = 0;
  uint64_t cleared_pages = 0;
  int completions = 0;

 private:
  Status pass_on(Bytes bytes) override {
    destination.receive(bytes);
    return {};
  }
  Status place(uint32_t block, uint64_t offset_bytes, Bytes content) override {
    EXPECT_TRUE(note().empty()) << note();
    EXPECT_EQ(completions, 0);
    EXPECT_TRUE(content.data() >= piece_.data() &&
                content.data() + content.size() <= piece_.data() + piece_.size());
    EXPECT_LE(offset_bytes % kBasePageBytes + content.size(), kBasePageBytes);
    EXPECT_LE(offset_bytes + content.size(), blocks_.at(block).size_bytes);
    if (offset_bytes % kBasePageBytes == 0) ++placed_pages;
    destination.memory.place(blocks_[block].name, offset_bytes, content);
    return {};
  }
  Status clear(uint32_t block, uint64_t offset_bytes, uint64_t size_bytes) override {
    EXPECT_TRUE(note().empty()) << note();
    EXPECT_EQ(size_bytes, kBasePageBytes);
    EXPECT_LE(offset_bytes + size_bytes, blocks_.at(block).size_bytes);
    ++cleared_pages;
    destination.memory.clear(blocks_[block].name, offset_bytes);
    return {};
  }
  Status settle() override { return {}; }
  Status complete() override {
    ++completions;
    return {};
  }

  const std::vector<BlockDescription> blocks_;
  const std::unique_ptr<PageExtractor> extractor_;
  Bytes piece_;
};

BlockDescription block(std::string name, uint64_t size_bytes) {
  return {.name = std::move(name), .size_bytes = size_bytes, .page_size_bytes = kBasePageBytes};
}

std::vector<BlockDescription> blocks_of(const StreamParser& parser) {
  std::vector<BlockDescription> blocks;
  for (const stream::RamBlock& listed : parser.blocks())
    blocks.push_back(block(listed.name, listed.size_bytes));
  return blocks;
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::ranges::replace_if(
      name, [](char letter) { return letter == '-' || letter == '.'; }, '_');
  return name;
}

class RecordedPages : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Qemu, RecordedPages, testing::ValuesIn(stream::recorded_names(".main")),
                         test_name);

TEST_P(RecordedPages, AreTheSameBytesWhereNoBlockIsPlaced) {
  const std::vector<std::byte> stream = read_recorded(GetParam());
  Relay relay({block("ram0", kMiB), block("another", 2 * kMiB)});

  ASSERT_TRUE(relay.run(stream, random_pieces(1)));

  EXPECT_TRUE(relay.destination.received == stream);
  EXPECT_EQ(relay.placed_pages + relay.cleared_pages, 0U);
}

TEST_P(RecordedPages, BecomeTheSameMemory) {
  const std::vector<std::byte> stream = read_recorded(GetParam());
  Destination original;
  original.receive(stream);
  const std::vector<BlockDescription> all = blocks_of(original.parser);

  for (uint64_t seed = 1; seed <= 3; ++seed) {
    Relay relay(seed % 2 == 0 ? all : std::vector<BlockDescription>{block("ram0", 2 * kMiB)});
    ASSERT_TRUE(relay.run(stream, seed == 3 ? pieces_of(200'000) : random_pieces(seed)));

    EXPECT_TRUE(relay.destination.memory == original.memory);
    EXPECT_TRUE(relay.destination.other_items == original.other_items);
    EXPECT_EQ(relay.destination.parser.ram_ended(), original.parser.ram_ended());
    EXPECT_EQ(relay.destination.parser.blocks(), original.parser.blocks());
    EXPECT_EQ(relay.destination.parser.reason().has_value(), original.parser.reason().has_value());
  }
}

// Of pages that are passed on nothing is placed any more, and of those that are placed nothing is
// passed on.
TEST(ExtractedPages, AreNoMoreInTheStream) {
  for (const char* name : {"plain-7.2.main", "plain-10.0.main", "return-path-7.2.main",
                           "return-path-10.0.main", "bitmaps-7.2.main", "bitmaps-10.0.main"}) {
    const std::vector<std::byte> stream = read_recorded(name);
    Destination original;
    original.receive(stream);
    Relay relay(blocks_of(original.parser));

    ASSERT_TRUE(relay.run(stream, random_pieces(7)));

    EXPECT_TRUE(relay.note().empty()) << name << ": " << relay.note();
    EXPECT_GT(relay.placed_pages, 100U) << name;
    EXPECT_GT(relay.cleared_pages, 100U) << name;
    EXPECT_EQ(relay.completions, 1) << name;
    EXPECT_EQ(relay.destination.received, relay.destination.other_items) << name;
  }
}

// The first record of this type, and what comes after it.
struct From {
  size_t record_at = 0;
  size_t payload_at = 0;
};
From find_first(Bytes stream, RamRecordType type) {
  StreamParser parser{StreamParser::Options{}};
  std::optional<From> found;
  stream::walk<StreamEvent>(parser, stream, pieces_of(stream.size()),
                            [&](const StreamEvent& event) {
                              const auto* record = std::get_if<RamRecord>(&event.what);
                              if (record == nullptr || record->type != type || found) return;
                              found = {event.offset_bytes, event.offset_bytes + event.bytes.size()};
                            });
  EXPECT_TRUE(found);
  return found.value_or(From{});
}

bool ends_with(Bytes whole, Bytes end) {
  return whole.size() >= end.size() && std::ranges::equal(whole.last(end.size()), end);
}

struct EndOfPlacing {
  const char* recording;
  RamRecordType by;
  const char* note;
};
void PrintTo(const EndOfPlacing& end, std::ostream* output) {
  *output << end.recording;
}
class PlacingOfPages : public testing::TestWithParam<EndOfPlacing> {};
INSTANTIATE_TEST_SUITE_P(
    Qemu, PlacingOfPages,
    testing::Values(EndOfPlacing{"xbzrle-7.2.main", RamRecordType::kXbzrle, "XBZRLE is on"},
                    EndOfPlacing{"xbzrle-10.0.main", RamRecordType::kXbzrle, "XBZRLE is on"},
                    EndOfPlacing{"compress-7.2.main", RamRecordType::kCompressed,
                                 "compression is on"},
                    EndOfPlacing{"multifd-10.0.main", RamRecordType::kMultifdFlush,
                                 "pages come by other channels, too"}));

TEST_P(PlacingOfPages, EndsWithTheFirstRecordThatForbidsIt) {
  const std::vector<std::byte> stream = read_recorded(GetParam().recording);
  const From from = find_first(stream, GetParam().by);
  Relay relay({block("ram0", 2 * kMiB)});

  ASSERT_TRUE(relay.run(stream, random_pieces(5)));

  EXPECT_EQ(relay.note(), GetParam().note);
  EXPECT_TRUE(ends_with(relay.destination.received, Bytes(stream).subspan(from.payload_at)));
}

TEST(ExtractedPages, AreNoneWhereTheMigrationMayGoOnInPostCopy) {
  for (const char* name : {"post-copy-7.2.main", "post-copy-10.0.main", "recovery-10.0.main",
                           "preempt-10.0.main", "bitmaps-post-copy-7.2.main"}) {
    const std::vector<std::byte> stream = read_recorded(name);
    Relay relay({block("ram0", 2 * kMiB)});

    ASSERT_TRUE(relay.run(stream, random_pieces(6)));

    EXPECT_TRUE(relay.destination.received == stream) << name;
    EXPECT_EQ(relay.note(), "the migration may go on in post-copy") << name;
  }
}

TEST(BeginsMigration, TellsTheMainChannelFromTheOthers) {
  EXPECT_TRUE(begins_migration(read_recorded("plain-10.0.main")));
  EXPECT_FALSE(begins_migration(read_recorded("multifd-10.0.multifd-0")));
  EXPECT_FALSE(begins_migration(read_recorded("recovery-10.0.recovery")));
  EXPECT_FALSE(begins_migration(Bytes(read_recorded("plain-10.0.main")).first(3)));
}

}  // namespace
}  // namespace godwit::qemu
