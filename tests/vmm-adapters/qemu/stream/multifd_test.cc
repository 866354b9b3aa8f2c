// SPDX-License-Identifier: Apache-2.0
//
// The multifd channels of real migrations, and ones with something wrong.
#include "vmm-adapters/qemu/stream/multifd.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/vmm-adapters/qemu/stream/recorded.h"
#include "tests/vmm-adapters/qemu/stream/walk.h"

namespace godwit::qemu::stream {
namespace {

constexpr std::byte kGarbage{0xa5};

struct Census {
  std::vector<std::byte> copied;
  std::set<uint8_t> channels;
  uint64_t normal_pages = 0;
  uint64_t zero_pages = 0;
  uint64_t syncs = 0;
  uint64_t payload_bytes = 0;
  uint64_t rest_bytes = 0;
  std::string reason;
};
Census count(const std::vector<std::byte>& stream, const PieceSize& piece_size) {
  MultifdParser parser;
  Census census;
  walk<MultifdEvent>(parser, stream, piece_size, [&](const MultifdEvent& event) {
    EXPECT_EQ(event.offset_bytes, census.copied.size());
    append(census.copied, event.bytes);
    if (const auto* hello = std::get_if<MultifdHello>(&event.what)) {
      census.channels.insert(hello->channel);
    }
    if (const auto* packet = std::get_if<MultifdPacket>(&event.what)) {
      census.normal_pages += packet->normal_pages;
      census.zero_pages += packet->zero_pages;
      if (packet->is_sync()) ++census.syncs;
      for (uint32_t i = 0; i < packet->normal_pages + packet->zero_pages; ++i) {
        EXPECT_LT(packet->offset_bytes(i), 2 * kMiB);
      }
    }
    if (std::holds_alternative<MultifdPages>(event.what))
      census.payload_bytes += event.bytes.size();
    if (std::holds_alternative<MultifdRest>(event.what)) census.rest_bytes += event.bytes.size();
  });
  if (parser.reason()) census.reason = parser.reason()->text();
  return census;
}

class RecordedMultifd : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Qemu, RecordedMultifd, testing::Values("multifd-7.2", "multifd-10.0"));

TEST_P(RecordedMultifd, IsFollowedToItsEnd) {
  std::set<uint8_t> channels;
  uint64_t pages = 0;
  for (const char* channel : {".multifd-0", ".multifd-1"}) {
    const std::vector<std::byte> stream = read_recorded(std::string(GetParam()) + channel);

    const Census census = count(stream, random_pieces(1));

    EXPECT_EQ(census.copied, stream);
    EXPECT_EQ(census.reason, "");
    EXPECT_GT(census.syncs, 1U);
    EXPECT_EQ(census.payload_bytes, census.normal_pages * kBasePageBytes);
    channels.insert(census.channels.begin(), census.channels.end());
    pages += census.normal_pages;
  }
  EXPECT_EQ(channels, (std::set<uint8_t>{0, 1}));
  EXPECT_GT(pages, 160U);
}

TEST(RecordedMultifdContent, HasZeroPagesFromNineOn) {
  const std::vector<std::byte> first = read_recorded("multifd-10.0.multifd-0");
  const std::vector<std::byte> second = read_recorded("multifd-10.0.multifd-1");

  EXPECT_GT(count(first, pieces_of(4096)).zero_pages + count(second, pieces_of(4096)).zero_pages,
            300U);
}

TEST(RecordedMultifdContent, IsPassedOnWhenItIsCompressed) {
  const std::vector<std::byte> stream = read_recorded("multifd-zstd-10.0.multifd-0");

  const Census census = count(stream, random_pieces(1));

  EXPECT_EQ(census.copied, stream);
  EXPECT_GT(census.rest_bytes, 1000U);
  EXPECT_NE(census.reason.find("compression zstd"), std::string::npos) << census.reason;
}

TEST(RecordedMultifdContent, EncodesToTheSameBytes) {
  // Since 9.0 a packet is cleared before it is filled.
  const std::vector<std::byte> stream = read_recorded("multifd-10.0.multifd-1");
  MultifdParser parser;
  std::vector<std::byte> encoded;

  walk<MultifdEvent>(parser, stream, random_pieces(1), [&](const MultifdEvent& event) {
    if (const auto* hello = std::get_if<MultifdHello>(&event.what)) {
      encode_multifd_hello(*hello, encoded);
    } else if (const auto* packet = std::get_if<MultifdPacket>(&event.what)) {
      encode_multifd_packet(*packet, kBasePageBytes, encoded);
    } else {
      append(encoded, event.bytes);
    }
  });

  EXPECT_EQ(encoded, stream);
}

// A channel with one packet, in which something may be changed.
class MadeChannel {
 public:
  std::vector<std::byte> bytes;
  size_t packet_at = 0;

  explicit MadeChannel(MultifdPacket packet) {
    const std::vector<std::byte> uuid(16);
    encode_multifd_hello({.version = kMultifdVersion, .uuid = uuid, .channel = 1}, bytes);
    packet_at = bytes.size();
    std::vector<std::byte> offsets;
    ByteWriter writer(offsets);
    for (uint32_t i = 0; i < packet.normal_pages + packet.zero_pages; ++i) {
      writer.be64(i * kBasePageBytes);
    }
    packet.offsets = offsets;
    encode_multifd_packet(packet, kBasePageBytes, bytes);
    bytes.insert(bytes.end(), packet.normal_pages * kBasePageBytes, std::byte{1});
  }
};
MultifdPacket two_pages() {
  return {.flags = 0,
          .pages_max = 128,
          .normal_pages = 2,
          .zero_pages = 1,
          .payload_bytes = 8192,
          .number = 1,
          .block = "ram0",
          .offsets = {}};
}

void expect_not_understood(const MadeChannel& channel, std::string_view text) {
  const Census census = count(channel.bytes, pieces_of(1));

  EXPECT_EQ(census.copied, channel.bytes);
  EXPECT_EQ(census.rest_bytes, channel.bytes.size() - channel.packet_at);
  EXPECT_NE(census.reason.find(text), std::string::npos) << census.reason;
}

TEST(Multifd, ReadsAPacket) {
  const MadeChannel channel(two_pages());

  const Census census = count(channel.bytes, pieces_of(1));

  EXPECT_EQ(census.reason, "");
  EXPECT_EQ(census.normal_pages, 2U);
  EXPECT_EQ(census.zero_pages, 1U);
}

TEST(Multifd, TakesNoNoticeOfWhatIsLeftOverFromAnEarlierPacket) {
  MultifdPacket sync = two_pages();
  sync.flags = kMultifdFlagSync;
  sync.normal_pages = sync.zero_pages = 0;
  MadeChannel channel(sync);
  const size_t name_at = channel.packet_at + 64;
  std::fill(channel.bytes.begin() + static_cast<ptrdiff_t>(name_at), channel.bytes.end(), kGarbage);

  const Census census = count(channel.bytes, pieces_of(100));

  EXPECT_EQ(census.reason, "");
  EXPECT_EQ(census.syncs, 1U);
}

TEST(Multifd, PassesOnPacketsThatContradictThemselves) {
  MultifdPacket packet = two_pages();
  packet.payload_bytes = 4096;
  expect_not_understood(MadeChannel(packet), "2 pages in 4096 bytes");
  packet = two_pages();
  packet.pages_max = 129;
  expect_not_understood(MadeChannel(packet), "in a packet of 129");
  packet = two_pages();
  packet.pages_max = 2;
  expect_not_understood(MadeChannel(packet), "2 pages and 1 zero pages");
  packet = two_pages();
  packet.flags = 0x80;
  expect_not_understood(MadeChannel(packet), "unknown flags 0x80");
}

TEST(Multifd, PassesOnAPageAtNoPage) {
  MadeChannel channel(two_pages());
  channel.bytes[channel.packet_at + kMultifdHeaderBytes + 7] = std::byte{1};

  expect_not_understood(channel, "a page at 0x1");
}

TEST(Multifd, ReadsDeviceState) {
  MadeChannel channel(two_pages());
  ByteWriter writer(channel.bytes);
  writer.be32(kMultifdMagic);
  writer.be32(kMultifdVersion);
  writer.be32(kMultifdFlagDeviceState);
  writer.text("vfio");
  writer.zeroes(kMultifdBlockNameBytes - 4);
  writer.be32(0);
  writer.be32(10);
  writer.zeroes(10);

  const Census census = count(channel.bytes, pieces_of(1));

  EXPECT_EQ(census.reason, "");
  EXPECT_EQ(census.payload_bytes, 8192U);
}

}  // namespace
}  // namespace godwit::qemu::stream
