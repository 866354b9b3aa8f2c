// SPDX-License-Identifier: Apache-2.0
//
// The guard on streams of real QEMUs, in pieces of all sizes, and on streams with something wrong.
#include "vmm-adapters/qemu/stream_guard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>

#include "engine/base/units.h"

namespace godwit::qemu {
namespace {

using Bytes = std::vector<std::byte>;

Bytes read_stream(const std::string& name) {
  std::ifstream file(std::string(GODWIT_TEST_STREAMS) + "/" + name, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), {});
  EXPECT_FALSE(text.empty()) << name;
  auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

StreamGuard make_guard() {
  return StreamGuard({{"ram0", 16 * kMiB}});
}

Status feed_in_pieces(StreamGuard& guard, std::span<const std::byte> bytes, size_t piece_bytes) {
  while (!bytes.empty()) {
    size_t size = std::min(piece_bytes, bytes.size());
    RETURN_IF_ERROR(guard.feed(bytes.first(size)));
    bytes = bytes.subspan(size);
  }
  return {};
}

class StreamGuardRecorded : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Qemu, StreamGuardRecorded,
                         testing::Values("ignore-shared-7.2.stream", "ignore-shared-10.0.stream"));

TEST_P(StreamGuardRecorded, PassesInPiecesOfEverySize) {
  Bytes stream = read_stream(GetParam());

  for (size_t piece_bytes : {1UL, 2UL, 3UL, 7UL, 61UL, 511UL, 513UL, 4096UL, 1UL << 20}) {
    StreamGuard guard = make_guard();
    Status status = feed_in_pieces(guard, stream, piece_bytes);
    EXPECT_TRUE(status) << to_string(status.error());
    EXPECT_TRUE(guard.ram_passed()) << piece_bytes;
  }
}

TEST_P(StreamGuardRecorded, PassesInPiecesOfRandomSizes) {
  Bytes stream = read_stream(GetParam());
  std::mt19937_64 random(5);

  StreamGuard guard = make_guard();
  std::span<const std::byte> rest = stream;
  while (!rest.empty()) {
    size_t size = std::min<size_t>(1 + random() % 3000, rest.size());
    ASSERT_TRUE(guard.feed(rest.first(size)));
    rest = rest.subspan(size);
  }

  EXPECT_TRUE(guard.ram_passed());
}

TEST_P(StreamGuardRecorded, HasNotPassedBeforeTheRamSectionHasEnded) {
  Bytes stream = read_stream(GetParam());
  StreamGuard guard = make_guard();

  ASSERT_TRUE(guard.feed(std::span(stream).first(2000)));

  EXPECT_FALSE(guard.ram_passed());
}

TEST_P(StreamGuardRecorded, MissesABlockThatIsNotListed) {
  Bytes stream = read_stream(GetParam());
  StreamGuard guard({{"ram0", 16 * kMiB}, {"ram1", 16 * kMiB}});

  Status status = guard.feed(stream);

  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::kCorrupt);
}

TEST_P(StreamGuardRecorded, RefusesABlockOfAnotherSize) {
  Bytes stream = read_stream(GetParam());
  StreamGuard guard({{"ram0", 32 * kMiB}});

  EXPECT_FALSE(guard.feed(stream));
}

TEST_P(StreamGuardRecorded, RefusesABlockThatIsReallyInTheStream) {
  Bytes stream = read_stream(GetParam());
  StreamGuard guard({{"ram0", 16 * kMiB}, {"pc.bios", 64 * kKiB}});

  EXPECT_FALSE(guard.feed(stream));
}

TEST(StreamGuard, RefusesSharedRamThatQemuSendsAllTheSame) {
  Bytes stream = read_stream("memfd-10.0.stream");
  StreamGuard guard = make_guard();

  Status status = guard.feed(stream);

  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::kRefused);
  EXPECT_NE(status.error().text().find("ram0"), std::string_view::npos);
}

TEST(StreamGuard, RefusesWhatIsNoMigrationStream) {
  Bytes stream(100, std::byte{'x'});
  StreamGuard guard = make_guard();

  Status status = guard.feed(stream);

  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::kCorrupt);
}

TEST(StreamGuard, StaysFailed) {
  Bytes stream(8, std::byte{'x'});
  StreamGuard guard = make_guard();
  ASSERT_FALSE(guard.feed(stream));

  EXPECT_FALSE(guard.feed(read_stream("ignore-shared-7.2.stream")));
}

// The head of a stream, built by hand up to between sections.
class StreamBuilder {
 public:
  StreamBuilder() {
    number(0x5145564d, 4);
    number(3, 4);
    number(0x07, 1);
    number(2, 4);
    text("pc");
  }
  StreamBuilder& number(uint64_t value, int size) {
    for (int shift = 8 * (size - 1); shift >= 0; shift -= 8) {
      bytes_.push_back(static_cast<std::byte>(value >> shift & 0xff));
    }
    return *this;
  }
  StreamBuilder& text(std::string_view text) {
    for (char letter : text) bytes_.push_back(static_cast<std::byte>(letter));
    return *this;
  }
  StreamBuilder& section(int type, std::string_view name) {
    number(static_cast<uint64_t>(type), 1).number(2, 4);
    number(name.size(), 1).text(name);
    return number(0, 4).number(4, 4);
  }
  const Bytes& bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

Errc code_of(const StreamBuilder& builder) {
  StreamGuard guard = make_guard();
  Status status = guard.feed(builder.bytes());
  EXPECT_FALSE(status);
  return status ? Errc{} : status.error().code;
}

TEST(StreamGuard, RefusesSectionsBeforeRamThatHaveNoLength) {
  EXPECT_EQ(code_of(StreamBuilder().section(0x04, "virtio-mem-early")), Errc::kRefused);
  EXPECT_EQ(code_of(StreamBuilder().section(0x01, "dirty-bitmap")), Errc::kRefused);
}

TEST(StreamGuard, RefusesQemusOwnPostCopy) {
  EXPECT_EQ(code_of(StreamBuilder().number(0x08, 1).number(7, 2).number(4, 2).number(9, 4)),
            Errc::kRefused);
}

TEST(StreamGuard, RefusesAnEndBeforeRam) {
  EXPECT_EQ(code_of(StreamBuilder().number(0x00, 1)), Errc::kCorrupt);
}

TEST(StreamGuard, RefusesUnknownRecords) {
  EXPECT_EQ(code_of(StreamBuilder().section(0x01, "ram").number(0x400, 8)), Errc::kRefused);
}

TEST(StreamGuard, RefusesAPageThatContinuesNoBlock) {
  EXPECT_EQ(code_of(StreamBuilder().section(0x01, "ram").number(0x28, 8)), Errc::kCorrupt);
}

TEST(StreamGuard, RefusesABlockLargerThanTheList) {
  StreamBuilder builder;
  builder.section(0x01, "ram").number(0x1004, 8).number(4, 1).text("ram0").number(16 * kMiB, 8);

  EXPECT_EQ(code_of(builder), Errc::kCorrupt);
}

TEST(StreamGuard, RefusesAFooterOfAnotherSection) {
  StreamBuilder builder;
  builder.section(0x01, "ram").number(0x10, 8).number(0x7e, 1).number(3, 4);

  EXPECT_EQ(code_of(builder), Errc::kCorrupt);
}

}  // namespace
}  // namespace godwit::qemu
