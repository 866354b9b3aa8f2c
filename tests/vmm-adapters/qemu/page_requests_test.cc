// SPDX-License-Identifier: Apache-2.0
//
// Pages put into what QEMU sends in post-copy: whatever is asked for and whenever it is brought,
// the destination is told each page once, whole, and the right one.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <utility>

#include "engine/base/units.h"
#include "tests/vmm-adapters/qemu/stream/made_stream.h"
#include "tests/vmm-adapters/qemu/stream/recorded.h"
#include "tests/vmm-adapters/qemu/stream/walk.h"
#include "vmm-adapters/qemu/qemu_page_requests.h"
#include "vmm-adapters/qemu/stream/return_path.h"
#include "vmm-adapters/qemu/stream/stream_parser.h"

namespace godwit::qemu {
namespace {

using stream::append;
using stream::Bytes;
using stream::CommandId;
using stream::ItemType;
using stream::MadeStream;
using stream::PayloadKind;
using stream::PieceSize;
using stream::RamRecord;
using stream::RamRecordType;
using stream::random_pieces;
using stream::read_recorded;
using stream::ReturnMessage;
using stream::ReturnMessageType;
using stream::StreamEvent;
using stream::StreamParser;

using Place = std::pair<std::string, uint64_t>;

// A QEMU in post-copy, as strict as a real one.
class Destination {
 public:
  explicit Destination(StreamParser parser) : parser_(std::move(parser)) {}

  void receive(Bytes bytes) {
    parser_.feed(bytes);
    StreamEvent event;
    while (parser_.next(event)) take(event);
  }

  const StreamParser& parser() const { return parser_; }
  // What it was told of each page since it listens, and how often.
  std::map<Place, std::vector<std::byte>> pages;
  std::vector<std::byte> other_items;
  bool listens = false;

 private:
  void take(const StreamEvent& event) {
    const auto* record = std::get_if<RamRecord>(&event.what);
    const auto* payload = std::get_if<stream::Payload>(&event.what);
    const bool of_page = (record != nullptr && is_page(record->type)) ||
                         (payload != nullptr && payload->kind == PayloadKind::kPage);
    if (const auto* command = std::get_if<stream::Command>(&event.what);
        command != nullptr && command->id == CommandId::kPackaged)
      listens = true;
    if (!of_page) append(other_items, event.bytes);
    if (!listens || !of_page) return;
    const stream::RamBlock& block = parser_.blocks()[parser_.record().block];
    std::vector<std::byte>& page = pages[{block.name, parser_.record().offset_bytes}];
    if (record != nullptr) {
      EXPECT_TRUE(page.empty()) << "twice: " << block.name << " " << record->offset_bytes;
      check_whole_page(block, *record);
      if (record->type == RamRecordType::kZero) page.assign(kBasePageBytes, std::byte{0});
    } else {
      append(page, event.bytes);
    }
  }

  // Records of one page of the host follow one another.
  void check_whole_page(const stream::RamBlock& block, const RamRecord& record) {
    const uint64_t size_bytes = block.page_size_bytes.value_or(kBasePageBytes);
    if (record.offset_bytes % size_bytes != 0) {
      EXPECT_EQ(last_, Place(block.name, record.offset_bytes - kBasePageBytes));
    } else {
      EXPECT_TRUE(last_.first.empty()) << "within a page of " << last_.first;
    }
    const bool whole = (record.offset_bytes + kBasePageBytes) % size_bytes == 0;
    last_ = whole ? Place() : Place(block.name, record.offset_bytes);
  }

  StreamParser parser_;
  Place last_;  // if more of its page has to come
};

std::vector<std::byte> request_of(const std::string& block, uint64_t offset_bytes,
                                  uint64_t size_bytes) {
  std::vector<std::byte> bytes;
  stream::encode_return_message({.type = block.empty() ? ReturnMessageType::kRequestPages
                                                       : ReturnMessageType::kRequestPagesOfBlock,
                                 .block = block,
                                 .offset_bytes = offset_bytes,
                                 .size_bytes = static_cast<uint32_t>(size_bytes)},
                                bytes);
  return bytes;
}

// What is between the two QEMUs. `read` is how the source's memory is read.
class Between {
 public:
  using Read = std::function<std::vector<std::byte>(const RequestedPage&)>;
  Between(const std::vector<BlockDescription>& blocks, StreamParser parser, Read read)
      : destination(std::move(parser)),
        requests(make_page_requests(blocks)),
        read_(std::move(read)) {}

  Status say(Bytes bytes) { return requests->take_requests(bytes, to_source_); }
  Status tell(Bytes bytes) { return requests->take_apart(bytes, to_destination_); }
  Status finish() { return requests->finish(to_destination_); }
  // What was asked for is here.
  void bring() {
    for (; !asked.empty() && requests->may_insert(); asked.pop_front()) {
      std::vector<std::byte> bytes;
      requests->insert(asked.front(), read_(asked.front()), bytes);
      destination.receive(bytes);
      if (!bytes.empty()) ++inserted;
    }
  }

  Destination destination;
  std::unique_ptr<PageRequests> requests;
  std::vector<std::byte> said;      // what went on to the source
  std::deque<RequestedPage> asked;  // and not put in yet
  size_t inserted = 0;
  std::function<void()> at_border = [] {};

 private:
  struct ToSource final : PageRequests::Said {
    explicit ToSource(Between& between_of) : between(between_of) {}
    Status pass_on(Bytes bytes) override {
      append(between.said, bytes);
      return {};
    }
    void request(const RequestedPage& page) override { between.asked.push_back(page); }
    Between& between;
  };
  struct ToDestination final : PageRequests::Told {
    explicit ToDestination(Between& between_of) : between(between_of) {}
    Status pass_on(Bytes bytes) override {
      between.destination.receive(bytes);
      return {};
    }
    Status at_border() override {
      EXPECT_TRUE(between.requests->may_insert());
      between.at_border();
      return {};
    }
    Between& between;
  };

  const Read read_;
  ToSource to_source_{*this};
  ToDestination to_destination_{*this};
};

// A recorded migration, and what a QEMU makes of it when nobody is in between.
struct Recorded {
  explicit Recorded(const std::string& name)
      : bytes(read_recorded(name + ".main")), alone(stream::parser_for(name)) {
    alone.receive(bytes);
    for (const stream::RamBlock& block : alone.parser().blocks()) {
      if (block.name == "ram0")
        blocks.push_back({.name = block.name,
                          .size_bytes = block.size_bytes,
                          .page_size_bytes = block.page_size_bytes.value_or(kBasePageBytes),
                          .numa_node = -1});
    }
  }
  std::vector<std::byte> read(const RequestedPage& page) const {
    std::vector<std::byte> content;
    for (uint64_t at = 0; at < page.size_bytes; at += kBasePageBytes) {
      const auto found = alone.pages.find({"ram0", page.offset_bytes + at});
      append(content,
             found == alone.pages.end() ? std::vector<std::byte>(kBasePageBytes) : found->second);
    }
    return content;
  }

  std::vector<std::byte> bytes;
  Destination alone;
  std::vector<BlockDescription> blocks;
};

class RecordedPostCopy : public testing::TestWithParam<const char*> {};

// Pages are asked for at any time, those that were told before as well, and brought at any border.
TEST_P(RecordedPostCopy, TellsEachPageOnce) {
  const Recorded recorded(GetParam());
  ASSERT_EQ(recorded.blocks.size(), 1U);
  const uint64_t page_bytes = recorded.blocks[0].page_size_bytes;
  size_t inserted = 0;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    std::mt19937_64 random(seed);
    Between between(recorded.blocks, stream::parser_for(GetParam()),
                    [&](const RequestedPage& page) { return recorded.read(page); });
    std::vector<uint64_t> places;
    for (const auto& [place, content] : recorded.alone.pages) {
      if (place.first == "ram0" && place.second % page_bytes == 0) places.push_back(place.second);
    }
    ASSERT_FALSE(places.empty());
    between.at_border = [&] {
      const uint64_t place = places[random() % places.size()];
      if (random() % 3 == 0) {
        EXPECT_TRUE(between.say(request_of("ram0", place, page_bytes)));
      }
      if (random() % 2 == 0) between.bring();
    };
    stream::Bytes left = recorded.bytes;
    const PieceSize piece_size = random_pieces(seed);
    while (!left.empty()) {
      const size_t size = std::min(piece_size(0), left.size());
      ASSERT_TRUE(between.tell(left.first(size)));
      left = left.subspan(size);
    }
    ASSERT_TRUE(between.finish());
    EXPECT_TRUE(between.destination.pages == recorded.alone.pages);
    EXPECT_TRUE(between.said.empty());
    inserted += between.inserted;
  }
  EXPECT_GT(inserted, 0U);
}

TEST_P(RecordedPostCopy, IsTheSameBytesWhenNothingIsAskedFor) {
  const Recorded recorded(GetParam());
  Between between(recorded.blocks, stream::parser_for(GetParam()),
                  [](const RequestedPage&) { return std::vector<std::byte>(); });
  ASSERT_TRUE(between.tell(recorded.bytes));
  ASSERT_TRUE(between.finish());
  EXPECT_TRUE(between.destination.pages == recorded.alone.pages);
  EXPECT_TRUE(between.destination.other_items == recorded.alone.other_items);
}

// What the destination really asked for; everything else it said goes on.
TEST_P(RecordedPostCopy, TakesRequestsOutOfTheReturnPath) {
  const Recorded recorded(GetParam());
  Between between(recorded.blocks, stream::parser_for(GetParam()),
                  [&](const RequestedPage& page) { return recorded.read(page); });
  const std::vector<std::byte> said = read_recorded(std::string(GetParam()) + ".return");
  std::vector<std::byte> others;
  size_t requests = 0;
  stream::ReturnPathParser parser;
  parser.feed(said);
  for (stream::ReturnEvent event; parser.next(event);) {
    const auto* message = std::get_if<ReturnMessage>(&event.what);
    const bool request =
        message != nullptr && (message->type == ReturnMessageType::kRequestPages ||
                               message->type == ReturnMessageType::kRequestPagesOfBlock);
    if (request) ++requests;
    if (!request) append(others, event.bytes);
  }
  bool first = true;
  between.at_border = [&] {
    if (!first) return;
    EXPECT_TRUE(between.say(said));
    first = false;
  };
  ASSERT_TRUE(between.tell(recorded.bytes));
  EXPECT_TRUE(between.said == others);
  EXPECT_LE(between.asked.size(), requests);
  EXPECT_EQ(between.asked.empty(), requests == 0);
}

INSTANTIATE_TEST_SUITE_P(Migrations, RecordedPostCopy,
                         testing::Values("post-copy-7.2", "post-copy-10.0", "bitmaps-post-copy-7.2",
                                         "bitmaps-post-copy-10.0", "huge-pages-10.0"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           for (char& letter : name)
                             if (letter == '-' || letter == '.') letter = '_';
                           return name;
                         });

constexpr uint64_t kPage = kBasePageBytes;

std::vector<BlockDescription> ram0() {
  return {{.name = "ram0", .size_bytes = kMiB, .page_size_bytes = kPage, .numa_node = -1}};
}

// Up to where the destination listens: two blocks, of which one can be read.
struct PostCopy {
  explicit PostCopy(const std::vector<BlockDescription>& blocks = ram0())
      : between(blocks, StreamParser({}), [](const RequestedPage& page) {
          return std::vector<std::byte>(page.size_bytes, std::byte{0x5a});
        }) {
    made.up_to_records().page("ram0", 0, 1).end_of_section();
    std::vector<std::byte> package;
    stream::StreamEncoder(package).command(CommandId::kPostCopyListen, {});
    append(package, std::vector<std::byte>(100, std::byte{0xdd}));
    std::vector<std::byte> size;
    stream::ByteWriter(size).be32(static_cast<uint32_t>(package.size()));
    made.encode.command(CommandId::kPackaged, size);
    append(made.bytes, package);
    tell();
  }
  // What was made meanwhile.
  void tell() {
    EXPECT_TRUE(between.tell(made.bytes));
    made.bytes.clear();
  }
  std::vector<std::byte> told(const std::string& block, uint64_t page) const {
    const auto found = between.destination.pages.find({block, page * kPage});
    return found == between.destination.pages.end() ? std::vector<std::byte>() : found->second;
  }

  MadeStream made;
  Between between;
};

std::vector<std::byte> page_of(uint8_t fill) {
  return std::vector<std::byte>(kPage, std::byte{fill});
}

TEST(QemuPageRequests, NamesTheBlockAfterAPageThatWasLeftOut) {
  PostCopy it;
  EXPECT_TRUE(it.between.say(request_of("ram0", 7 * kPage, kPage)));
  it.between.bring();
  it.made.section(ItemType::kSectionPart).page("rom", 0, 2).page("ram0", 7 * kPage, 3);
  it.made.page("", 8 * kPage, 4).page("rom", kPage, 5).end_of_section();
  it.tell();
  EXPECT_EQ(it.told("ram0", 7), page_of(0x5a));
  EXPECT_EQ(it.told("ram0", 8), page_of(4));
  EXPECT_EQ(it.told("rom", 1), page_of(5));
  EXPECT_EQ(it.between.inserted, 1U);
}

TEST(QemuPageRequests, PutsAPageBetweenASectionsEndAndItsFooter) {
  PostCopy it;
  it.made.section(ItemType::kSectionPart).page("ram0", 0, 2).encode.end_of_section();
  it.tell();
  EXPECT_TRUE(it.between.say(request_of("ram0", kPage, kPage)));
  EXPECT_TRUE(it.between.requests->may_insert());
  it.between.bring();
  EXPECT_EQ(it.told("ram0", 1), page_of(0x5a));
  it.made.encode.section_footer({.id = stream::kRamSectionId});
  it.made.section(ItemType::kSectionPart).page("", 2 * kPage, 3).end_of_section();
  it.tell();
  EXPECT_EQ(it.told("ram0", 2), page_of(3));
  EXPECT_FALSE(it.between.destination.parser().is_opaque());
}

TEST(QemuPageRequests, DropsAnAnswerThatComesAfterTheSources) {
  PostCopy it;
  EXPECT_TRUE(it.between.say(request_of("ram0", kPage, kPage)));
  it.made.section(ItemType::kSectionPart).page("ram0", kPage, 2).end_of_section();
  it.tell();
  it.between.bring();
  EXPECT_EQ(it.told("ram0", 1), page_of(2));
  EXPECT_EQ(it.between.inserted, 0U);
}

TEST(QemuPageRequests, AsksForAPageOnce) {
  PostCopy it;
  EXPECT_TRUE(it.between.say(request_of("ram0", kPage, kPage)));
  EXPECT_TRUE(it.between.say(request_of("", kPage, kPage)));
  EXPECT_EQ(it.between.asked.size(), 1U);
  EXPECT_TRUE(it.between.said.empty());
}

TEST(QemuPageRequests, LeavesMemoryThatCannotBeReadToTheSource) {
  PostCopy it;
  EXPECT_TRUE(it.between.say(request_of("rom", kPage, kPage)));
  EXPECT_TRUE(it.between.say(request_of("ram0", kPage, kPage)));
  EXPECT_TRUE(it.between.say(request_of("rom", 3 * kPage, kPage)));
  // With a block's name, since the source has not heard of the last one.
  EXPECT_TRUE(it.between.say(request_of("", 2 * kPage, kPage)));
  std::vector<std::byte> expected = request_of("rom", kPage, kPage);
  append(expected, request_of("rom", 3 * kPage, kPage));
  append(expected, request_of("rom", 2 * kPage, kPage));
  EXPECT_EQ(it.between.said, expected);
  EXPECT_EQ(it.between.asked.size(), 1U);
}

TEST(QemuPageRequests, LeavesPagesOfAnotherSizeToTheSource) {
  PostCopy it;
  const std::vector<std::byte> larger = request_of("ram0", 0, 2 * kMiB);
  EXPECT_TRUE(it.between.say(larger));
  EXPECT_EQ(it.between.said, larger);
}

TEST(QemuPageRequests, LeavesMemoryWithSmallerPagesThanTheGuestsToTheSource) {
  MadeStream made;
  std::vector<std::byte> advice;
  stream::ByteWriter(advice).be64(64 * kKiB);
  stream::ByteWriter(advice).be64(64 * kKiB);
  made.head().encode.command(CommandId::kPostCopyAdvise, advice);
  made.section(ItemType::kSectionStart);
  made.encode.ram_list_header({.total_bytes = kMiB});
  made.encode.ram_list_entry(
      {.name = "ram0", .size_bytes = kMiB, .page_size_bytes = {}, .address = {}});
  made.end_of_section();
  std::vector<std::byte> package;
  stream::StreamEncoder(package).command(CommandId::kPostCopyListen, {});
  std::vector<std::byte> size;
  stream::ByteWriter(size).be32(static_cast<uint32_t>(package.size()));
  made.encode.command(CommandId::kPackaged, size);
  append(made.bytes, package);
  Between between(ram0(), StreamParser({}), [](const RequestedPage&) { return page_of(0); });
  EXPECT_TRUE(between.tell(made.bytes));
  EXPECT_TRUE(between.requests->may_insert());
  const std::vector<std::byte> request = request_of("ram0", 0, kPage);
  EXPECT_TRUE(between.say(request));
  EXPECT_EQ(between.said, request);
}

TEST(QemuPageRequests, PutsNothingIntoWhatComesBeforeOrAfterTheGuestsPages) {
  PostCopy it;
  EXPECT_TRUE(it.between.say(request_of("ram0", kPage, kPage)));
  it.made.section(ItemType::kSectionEnd).page("ram0", kPage, 2).end_of_section();
  it.made.encode.end_of_stream();
  it.tell();
  EXPECT_FALSE(it.between.requests->may_insert());

  MadeStream before;
  before.up_to_records().page("ram0", 0, 1).end_of_section();
  Between early(ram0(), StreamParser({}), [](const RequestedPage&) { return page_of(0); });
  EXPECT_TRUE(early.tell(before.bytes));
  EXPECT_FALSE(early.requests->may_insert());
  const std::vector<std::byte> request = request_of("ram0", 0, kPage);
  EXPECT_TRUE(early.say(request));
  EXPECT_EQ(early.said, request);
}

// Pages that the destination has may be in what is not understood.
TEST(QemuPageRequests, EndsAStreamThatItCannotFollowAfterAnAnswer) {
  PostCopy answered;
  EXPECT_TRUE(answered.between.say(request_of("ram0", kPage, kPage)));
  answered.between.bring();
  PostCopy untouched;
  const std::vector<std::byte> unknown(8, std::byte{0x6f});
  EXPECT_FALSE(answered.between.tell(unknown));
  EXPECT_TRUE(untouched.between.tell(unknown));
  EXPECT_FALSE(untouched.between.requests->may_insert());
}

TEST(QemuPageRequests, EndsAReturnPathThatItCannotFollowAfterARequest) {
  PostCopy asked;
  EXPECT_TRUE(asked.between.say(request_of("ram0", kPage, kPage)));
  PostCopy untouched;
  const std::vector<std::byte> unknown(8, std::byte{0x6f});
  EXPECT_FALSE(asked.between.say(unknown));
  EXPECT_TRUE(untouched.between.say(unknown));
  EXPECT_EQ(untouched.between.said, unknown);
}

}  // namespace
}  // namespace godwit::qemu
