// SPDX-License-Identifier: Apache-2.0
//
// Main and preempt channels of real migrations, in pieces of all sizes: every byte is accounted
// for, every item encodes to the bytes that it was read from, and it is what QEMU is known to have
// sent.
#include <gtest/gtest.h>

#include <map>

#include "engine/base/units.h"
#include "tests/vmm-adapters/qemu/stream/recorded.h"
#include "tests/vmm-adapters/qemu/stream/walk.h"
#include "vmm-adapters/qemu/stream/command.h"
#include "vmm-adapters/qemu/stream/stream_encoder.h"
#include "vmm-adapters/qemu/stream/stream_parser.h"

namespace godwit::qemu::stream {
namespace {

// Encodes what was read; what has no fields is copied.
class Reencoder {
 public:
  Reencoder(const StreamParser& parser, std::vector<std::byte>& output)
      : parser_(parser), output_(output), encoder_(output) {}

  void operator()(const StreamEvent& event) {
    bytes_ = event.bytes;
    std::visit([this](const auto& what) { encode(what); }, event.what);
  }

 private:
  void encode(const std::monostate&) { ADD_FAILURE() << "an event of nothing"; }
  void encode(const FileHeader& header) { encoder_.file_header(header); }
  void encode(const Configuration& configuration) { encoder_.configuration(configuration); }
  void encode(const ConfigurationPart& part) { encoder_.configuration_part(part); }
  void encode(const SectionHeader& header) { encoder_.section_header(header); }
  void encode(const SectionFooter& footer) { encoder_.section_footer(footer); }
  void encode(const RamListHeader& header) { encoder_.ram_list_header(header); }
  void encode(const RamListEntry& entry) { encoder_.ram_list_entry(parser_.blocks()[entry.block]); }
  void encode(const RamRecord& record) {
    encoder_.record(record, is_page(record.type) ? parser_.blocks()[record.block].name : "");
  }
  void encode(const BitmapChunk& chunk) { encoder_.bitmap_chunk(chunk); }
  void encode(const Command& command) { encoder_.command(command.id, command.body); }
  void encode(const EndOfStream&) { encoder_.end_of_stream(); }
  void encode(const VmDescription& description) { encoder_.vm_description(description); }
  void encode(const Payload&) { append(output_, bytes_); }
  void encode(const Opaque&) { append(output_, bytes_); }

  const StreamParser& parser_;
  std::vector<std::byte>& output_;
  StreamEncoder encoder_;
  Bytes bytes_;
};

class RecordedStream : public testing::TestWithParam<std::string> {};

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char letter) { return letter == '-' || letter == '.'; }, '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Qemu, RecordedStream, testing::ValuesIn(recorded_names(".main")),
                         test_name);

void expect_same_bytes(StreamParser parser, Bytes stream, const PieceSize& piece_size) {
  std::vector<std::byte> copied;
  std::vector<std::byte> encoded;
  encoded.reserve(stream.size());
  copied.reserve(stream.size());
  Reencoder reencode(parser, encoded);

  walk<StreamEvent>(parser, stream, piece_size, [&](const StreamEvent& event) {
    EXPECT_EQ(event.offset_bytes, copied.size());
    append(copied, event.bytes);
    reencode(event);
  });

  EXPECT_TRUE(std::equal(copied.begin(), copied.end(), stream.begin(), stream.end()));
  EXPECT_TRUE(std::equal(encoded.begin(), encoded.end(), stream.begin(), stream.end()));
  EXPECT_FALSE(parser.reason()) << parser.reason()->text();
}

TEST_P(RecordedStream, EncodesToTheSameBytesWhereverItIsCut) {
  const std::vector<std::byte> stream = read_recorded(GetParam());

  expect_same_bytes(parser_for(GetParam()), stream, cut_items);
  expect_same_bytes(parser_for(GetParam()), stream, pieces_of(stream.size()));
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    expect_same_bytes(parser_for(GetParam()), stream, random_pieces(seed));
  }
}

// Counts what a stream consists of.
struct Census {
  std::map<RamRecordType, uint64_t> records;
  std::map<CommandId, uint64_t> commands;
  uint64_t sections = 0;
  uint64_t page_bytes = 0;
  uint64_t discarded_bytes = 0;
  uint64_t opaque_bytes = 0;
  uint64_t package_bytes = 0;
  uint64_t description_bytes = 0;
  uint64_t bitmap_chunks = 0;
  uint64_t bitmap_bytes = 0;
  bool ended = false;
  std::string machine;
  std::vector<RamBlock> blocks;
};
Census count(const std::string& name) {
  const std::vector<std::byte> stream = read_recorded(name);
  StreamParser parser = parser_for(name);
  Census census;
  walk<StreamEvent>(parser, stream, pieces_of(10000), [&](const StreamEvent& event) {
    if (const auto* configuration = std::get_if<Configuration>(&event.what)) {
      census.machine = configuration->machine;
    }
    if (const auto* record = std::get_if<RamRecord>(&event.what)) ++census.records[record->type];
    if (std::holds_alternative<SectionHeader>(event.what)) ++census.sections;
    if (std::holds_alternative<BitmapChunk>(event.what)) ++census.bitmap_chunks;
    if (std::holds_alternative<EndOfStream>(event.what)) census.ended = true;
    if (std::holds_alternative<Opaque>(event.what)) census.opaque_bytes += event.bytes.size();
    if (const auto* payload = std::get_if<Payload>(&event.what)) {
      uint64_t& bytes = payload->kind == PayloadKind::kPackage         ? census.package_bytes
                        : payload->kind == PayloadKind::kVmDescription ? census.description_bytes
                        : payload->kind == PayloadKind::kBitmap        ? census.bitmap_bytes
                                                                       : census.page_bytes;
      bytes += event.bytes.size();
    }
    if (const auto* command = std::get_if<Command>(&event.what)) {
      ++census.commands[command->id];
      if (command->id != CommandId::kPostCopyDiscard) return;
      const std::optional<PostCopyDiscard> discard = PostCopyDiscard::decode(command->body);
      for (size_t i = 0; i < discard->range_count(); ++i) {
        census.discarded_bytes += discard->range(i).size_bytes;
      }
    }
  });
  census.blocks = parser.blocks();
  return census;
}

TEST(RecordedStreamContent, ListsTheRamBlocks) {
  for (const char* name : {"plain-7.2.main", "plain-10.0.main"}) {
    const Census census = count(name);

    EXPECT_EQ(census.machine, "microvm");
    ASSERT_FALSE(census.blocks.empty());
    EXPECT_EQ(
        census.blocks[0],
        (RamBlock{.name = "ram0", .size_bytes = 2 * kMiB, .page_size_bytes = {}, .address = {}}));
  }
}

TEST(RecordedStreamContent, HasPagesInManySections) {
  for (const char* name : {"plain-7.2.main", "plain-10.0.main"}) {
    Census census = count(name);

    EXPECT_GT(census.records[RamRecordType::kPage], 160U) << name;
    EXPECT_GT(census.records[RamRecordType::kZero], 300U) << name;
    EXPECT_EQ(census.page_bytes, census.records[RamRecordType::kPage] * kBasePageBytes);
    EXPECT_EQ(census.records[RamRecordType::kEndOfSection], census.sections) << name;
    EXPECT_GT(census.opaque_bytes, 1000U);
  }
}

TEST(RecordedStreamContent, HasTheCommandsOfItsVersion) {
  Census old_one = count("return-path-7.2.main");
  Census new_one = count("return-path-10.0.main");

  EXPECT_EQ(old_one.commands[CommandId::kOpenReturnPath], 1U);
  EXPECT_EQ(old_one.commands[CommandId::kPing], 1U);
  EXPECT_EQ(old_one.commands[CommandId::kSwitchoverStart], 0U);
  EXPECT_EQ(new_one.commands[CommandId::kOpenReturnPath], 1U);
  EXPECT_EQ(new_one.commands[CommandId::kSwitchoverStart], 1U);
}

TEST(RecordedStreamContent, HasXbzrleRecords) {
  for (const char* name : {"xbzrle-7.2.main", "xbzrle-10.0.main"}) {
    EXPECT_GT(count(name).records[RamRecordType::kXbzrle], 0U) << name;
  }
}

TEST(RecordedStreamContent, HasCompressedPages) {
  EXPECT_GT(count("compress-7.2.main").records[RamRecordType::kCompressed], 0U);
}

TEST(RecordedStreamContent, HasMultifdPagesElsewhere) {
  EXPECT_EQ(count("multifd-7.2.main").records[RamRecordType::kPage], 0U);
  EXPECT_EQ(count("multifd-7.2.main").records[RamRecordType::kMultifdFlush], 0U);
  EXPECT_GT(count("multifd-10.0.main").records[RamRecordType::kMultifdFlush], 1U);
}

TEST(RecordedStreamContent, IsFollowedToItsEndInPostCopy) {
  for (const char* name :
       {"post-copy-7.2.main", "post-copy-10.0.main", "preempt-10.0.main", "huge-pages-10.0.main"}) {
    Census census = count(name);

    EXPECT_EQ(census.opaque_bytes, 0U) << name;
    EXPECT_TRUE(census.ended) << name;
    EXPECT_EQ(census.commands[CommandId::kPackaged], 1U) << name;
    EXPECT_EQ(census.commands[CommandId::kPostCopyListen], 1U) << name;
    EXPECT_GT(census.package_bytes, 1000U) << name;
    EXPECT_GE(census.discarded_bytes, kBasePageBytes) << name;
  }
}

TEST(RecordedStreamContent, HasDirtyBitmapsBesideRam) {
  for (const char* name : {"bitmaps-7.2.main", "bitmaps-10.0.main", "bitmaps-post-copy-7.2.main",
                           "bitmaps-post-copy-10.0.main"}) {
    const Census census = count(name);

    EXPECT_GT(census.bitmap_chunks, 2U) << name;
    EXPECT_GT(census.bitmap_bytes, 0U) << name;
  }
}

TEST(RecordedStreamContent, HasThePageSizeOfHugePages) {
  EXPECT_EQ(count("huge-pages-10.0.main").blocks[0].page_size_bytes, 2 * kMiB);
}

TEST(RecordedStreamContent, IsNotGuessedWhenPageSizesAreUnknown) {
  const std::vector<std::byte> stream = read_recorded("huge-pages-10.0.main");
  StreamParser parser({});
  std::vector<std::byte> copied;

  walk<StreamEvent>(parser, stream, pieces_of(100),
                    [&](const StreamEvent& event) { append(copied, event.bytes); });

  EXPECT_EQ(copied, stream);
  ASSERT_TRUE(parser.reason());
  EXPECT_NE(parser.reason()->text().find("0x201000"), std::string_view::npos)
      << parser.reason()->text();
}

// Another channel of a migration whose main channel is NAME.main.
void expect_channel(StreamParser::Channel channel, const std::string& name,
                    const std::string& suffix) {
  const std::vector<std::byte> main_stream = read_recorded(name + ".main");
  const std::vector<std::byte> stream = read_recorded(name + suffix);
  StreamParser main = parser_for(name);
  walk<StreamEvent>(main, main_stream, pieces_of(4096), [](const StreamEvent&) {});
  StreamParser parser = StreamParser::for_channel(channel, main);
  std::vector<std::byte> encoded;
  Reencoder reencode(parser, encoded);
  uint64_t pages = 0;

  walk<StreamEvent>(parser, stream, random_pieces(1), [&](const StreamEvent& event) {
    const auto* record = std::get_if<RamRecord>(&event.what);
    if (record != nullptr && is_page(record->type)) ++pages;
    reencode(event);
  });

  EXPECT_EQ(encoded, stream);
  EXPECT_FALSE(parser.is_opaque()) << parser.reason()->text();
  EXPECT_GT(pages, 0U);
}

TEST(RecordedStreamContent, OfThePreemptChannelIsRecordsOnly) {
  expect_channel(StreamParser::Channel::kPreempt, "preempt-10.0", ".preempt");
}

TEST(RecordedStreamContent, GoesOnAfterARecovery) {
  expect_channel(StreamParser::Channel::kMainAfterRecovery, "recovery-7.2", ".recovery");
  expect_channel(StreamParser::Channel::kMainAfterRecovery, "recovery-10.0", ".recovery");
}

}  // namespace
}  // namespace godwit::qemu::stream
