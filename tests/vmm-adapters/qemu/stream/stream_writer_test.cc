// SPDX-License-Identifier: Apache-2.0
//
// Whatever is left out of a stream, the destination reads the rest for what it was.
#include "vmm-adapters/qemu/stream/stream_writer.h"

#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "tests/vmm-adapters/qemu/stream/made_stream.h"
#include "tests/vmm-adapters/qemu/stream/recorded.h"
#include "tests/vmm-adapters/qemu/stream/walk.h"
#include "vmm-adapters/qemu/stream/stream_parser.h"

namespace godwit::qemu::stream {
namespace {

// A guest's memory, as its pages come. What is left out of the stream is put here directly.
class Memory {
 public:
  void apply(const StreamParser& parser, const StreamEvent& event) {
    if (const auto* record = std::get_if<RamRecord>(&event.what)) {
      if (is_page(record->type)) page_of(parser).assign(kBasePageBytes, std::byte{record->fill});
    }
    const auto* payload = std::get_if<Payload>(&event.what);
    if (payload == nullptr || payload->kind != PayloadKind::kPage) return;
    std::copy(event.bytes.begin(), event.bytes.end(),
              page_of(parser).begin() + static_cast<ptrdiff_t>(payload->at_bytes));
  }
  friend bool operator==(const Memory&, const Memory&) = default;

 private:
  std::vector<std::byte>& page_of(const StreamParser& parser) {
    const RamRecord& record = parser.record();
    return pages_[{parser.blocks()[record.block].name, record.offset_bytes}];
  }

  std::map<std::pair<std::string, uint64_t>, std::vector<std::byte>> pages_;
};

// A destination QEMU, as far as pages go.
struct Destination {
  StreamParser parser;
  std::vector<std::byte> received;

  void receive(Bytes bytes, Memory& memory) {
    append(received, bytes);
    parser.feed(bytes);
    StreamEvent event;
    while (parser.next(event)) memory.apply(parser, event);
  }
};

enum class Choice : uint8_t { kAllOfOneBlock = 1, kAtRandom = 2, kNone = 3 };

// What arrives when pages are left out of this stream and put in place directly.
Memory relay(const std::string& name, Choice choice, Destination& destination) {
  const std::vector<std::byte> stream = read_recorded(name);
  StreamParser parser = parser_for(name);
  StreamWriter writer(StreamWriter::Channel::kMain, parser.blocks());
  Memory memory;
  std::mt19937_64 random(3);
  bool dropping = false;
  walk<StreamEvent>(parser, stream, random_pieces(2), [&](const StreamEvent& event) {
    if (const auto* record = std::get_if<RamRecord>(&event.what)) {
      dropping =
          is_page(record->type) &&
          (choice == Choice::kAtRandom ? random() % 2 == 0
                                       : choice == Choice::kAllOfOneBlock && record->block == 0);
    } else if (!std::holds_alternative<Payload>(event.what)) {
      dropping = false;
    }
    if (dropping) {
      writer.drop(event);
      memory.apply(parser, event);
    } else {
      destination.receive(writer.pass(event), memory);
    }
  });
  return memory;
}

class StreamWriterRecorded : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Qemu, StreamWriterRecorded,
                         testing::Values("plain-7.2.main", "plain-10.0.main", "post-copy-7.2.main",
                                         "post-copy-10.0.main", "multifd-10.0.main"));

TEST_P(StreamWriterRecorded, WritesTheSameBytesWhenNothingIsLeftOut) {
  Destination destination{parser_for(GetParam()), {}};

  relay(GetParam(), Choice::kNone, destination);

  EXPECT_EQ(destination.received, read_recorded(GetParam()));
}

TEST_P(StreamWriterRecorded, IsReadForWhatItWasWhateverIsLeftOut) {
  Destination whole{parser_for(GetParam()), {}};
  const Memory expected = relay(GetParam(), Choice::kNone, whole);

  for (const Choice choice : {Choice::kAllOfOneBlock, Choice::kAtRandom}) {
    Destination destination{parser_for(GetParam()), {}};
    const Memory memory = relay(GetParam(), choice, destination);

    EXPECT_TRUE(memory == expected);
    EXPECT_FALSE(destination.parser.reason()) << destination.parser.reason()->text();
    EXPECT_TRUE(destination.parser.ram_ended());
    EXPECT_LE(destination.received.size(), whole.received.size());
  }
}

// Drops the first page of a stream, and passes on the rest.
class AfterADrop : public testing::Test {
 protected:
  void run(const MadeStream& stream) {
    walk<StreamEvent>(parser_, stream.bytes, pieces_of(stream.bytes.size()),
                      [&](const StreamEvent& event) {
                        const auto* record = std::get_if<RamRecord>(&event.what);
                        const bool page = record != nullptr && is_page(record->type);
                        if (!std::holds_alternative<Payload>(event.what)) {
                          dropping_ = page && !dropped_;
                        }
                        dropped_ = dropped_ || dropping_;
                        dropping_ ? writer_.drop(event) : step(event);
                      });
  }
  // What a relay does before it passes on what may hold records.
  void step(const StreamEvent& event) {
    const std::optional<uint32_t> block = writer_.block_out_of_step();
    if (std::holds_alternative<Opaque>(event.what) && block) {
      const std::vector<std::byte> page(kBasePageBytes, std::byte{9});
      writer_.append_page(*block, 8192, page, output_);
    }
    append(output_, writer_.pass(event));
  }

  StreamParser parser_{StreamParser::Options{}};
  StreamWriter writer_{StreamWriter::Channel::kMain, parser_.blocks()};
  std::vector<std::byte> output_;
  bool dropping_ = false;
  bool dropped_ = false;
};

TEST_F(AfterADrop, TheNextRecordNamesItsBlockAndLaterOnesDoNot) {
  MadeStream stream;
  stream.up_to_records().page("ram0", 0, 1).page("", 4096, 2).page("", 8192, 3).end_of_section();
  MadeStream expected;
  expected.up_to_records().page("ram0", 4096, 2).page("", 8192, 3).end_of_section();

  run(stream);

  EXPECT_EQ(output_, expected.bytes);
  EXPECT_TRUE(writer_.is_in_step());
}

TEST_F(AfterADrop, ANameIsWrittenInALaterSection) {
  MadeStream stream;
  stream.up_to_records().page("rom", 0, 1).end_of_section();
  stream.section(ItemType::kSectionPart).page("", 4096, 2).end_of_section();
  MadeStream expected;
  expected.up_to_records().end_of_section();
  expected.section(ItemType::kSectionPart).page("rom", 4096, 2).end_of_section();

  run(stream);

  EXPECT_EQ(output_, expected.bytes);
}

TEST_F(AfterADrop, APageBringsTheDestinationIntoStepWithinASection) {
  MadeStream stream;
  stream.up_to_records().page("ram0", 8192, 1).raw.be64(0x400);
  stream.page("", 4096, 2);
  MadeStream expected;
  expected.up_to_records().page("ram0", 8192, 9).raw.be64(0x400);
  expected.page("", 4096, 2);

  run(stream);

  EXPECT_EQ(output_, expected.bytes);
}

TEST_F(AfterADrop, APageBringsTheDestinationIntoStepBetweenSections) {
  MadeStream stream;
  stream.up_to_records().page("ram0", 8192, 1).end_of_section();
  stream.section(ItemType::kSectionStart, "other").raw.text("anything");
  MadeStream expected;
  expected.up_to_records().end_of_section();
  expected.section(ItemType::kSectionPart).page("ram0", 8192, 9).end_of_section();
  expected.section(ItemType::kSectionStart, "other").raw.text("anything");

  run(stream);

  EXPECT_EQ(output_, expected.bytes);
}

TEST_F(AfterADrop, NoPageCanComeBetweenTheEndOfASectionAndItsFooter) {
  MadeStream stream;
  stream.up_to_records().page("ram0", 8192, 1);
  run(stream);
  EXPECT_TRUE(writer_.may_append_page());
  MadeStream end;
  end.encode.end_of_section();
  run(end);
  EXPECT_FALSE(writer_.may_append_page());
  MadeStream footer;
  footer.encode.section_footer({.id = kRamSectionId});

  run(footer);

  EXPECT_TRUE(writer_.may_append_page());
}

TEST_F(AfterADrop, DeviceStateNeedsNoStep) {
  MadeStream stream;
  stream.up_to_records().page("ram0", 8192, 1).end_of_section();
  stream.section(ItemType::kSectionEnd).end_of_section();
  stream.section(ItemType::kSectionFull, "timer").raw.text("anything");

  walk<StreamEvent>(parser_, stream.bytes, pieces_of(100), [&](const StreamEvent& event) {
    const auto* record = std::get_if<RamRecord>(&event.what);
    if (record != nullptr) dropping_ = is_page(record->type);
    if (dropping_ && !std::holds_alternative<Opaque>(event.what)) {
      writer_.drop(event);
    } else {
      append(output_, writer_.pass(event));
    }
  });

  EXPECT_FALSE(writer_.is_in_step());
  EXPECT_LT(output_.size(), stream.bytes.size());
}

TEST_F(AfterADrop, AForgottenPayloadIsNoticed) {
  MadeStream stream;
  stream.up_to_records().page("ram0", 8192, 1);
  StreamEvent event;
  parser_.feed(stream.bytes);
  while (!std::holds_alternative<RamRecord>(event.what)) ASSERT_TRUE(parser_.next(event));
  writer_.drop(event);
  ASSERT_TRUE(parser_.next(event));

  EXPECT_DEATH(writer_.pass(event), "dropping_");
}

}  // namespace
}  // namespace godwit::qemu::stream
