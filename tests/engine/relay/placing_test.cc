// SPDX-License-Identifier: Apache-2.0
//
// Pages past the stream: whatever is placed and cleared, and however that is cut, a VMM that reads
// what followed it finds it in place; nothing is allocated that nobody wrote.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <ostream>

#include "tests/engine/relay/placing_rig.h"
#include "tests/support/same_bytes.h"

namespace godwit::relay {
namespace {

// Opens once for every quiet check.
class Gate {
 public:
  void open(uint64_t checks = 1) {
    const std::lock_guard lock(mutex_);
    opened_ += checks;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return opened_ > 0; });
    --opened_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t opened_ = 0;
};

// The VMM at the source: it puts everything into its socket as it comes, and waits where it must.
void write_script(int fd, const Script& script, Gate& gate, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes;
  bool taken = true;
  for (const Record& record : script) {
    append(bytes, record);
    const bool quiet = record.kind == RecordKind::kQuietCheck;
    if (!quiet && random() % 20 != 0) continue;
    taken = taken && write_all(fd, bytes);
    bytes.clear();
    if (quiet) gate.pass();
  }
  EXPECT_TRUE(taken && write_all(fd, bytes));
  ::shutdown(fd, SHUT_WR);
}

// The VMM at the destination.
class Reader {
 public:
  Reader(const Script& script, const Guest& guest, const BlockContents* source, BlockContents start)
      : script_(script),
        guest_(guest),
        source_(source),
        memory_(std::move(start)),
        last_changes_(last_changes(script)) {}

  // Reads the stream to its end.
  void run(int fd, Gate& gate) {
    Record record{};
    while (read_all(fd, std::as_writable_bytes(std::span(&record, 1)))) {
      ASSERT_LT(record.index, script_.size());
      while (at_ < record.index) apply(script_[at_++], source_, memory_);
      std::vector<std::byte> content(record.size);
      ASSERT_TRUE(read_all(fd, content));
      ASSERT_TRUE(test::same_bytes(content, content_of(script_[record.index])))
          << "of record " << record.index;
      ASSERT_TRUE(record.kind == RecordKind::kPass || is_in_place(record));
      if (record.kind == RecordKind::kQuietCheck) gate.open();
    }
    EXPECT_EQ(at_, script_.size() - 1);
  }

 private:
  bool is_in_place(const Record& check) const {
    for (size_t block = 0; block < memory_.size(); ++block) {
      for (uint64_t page = 0; page < kBlockPages[block]; ++page) {
        const bool may_change = last_changes_[block][page] > int64_t{check.index};
        if (may_change && check.kind != RecordKind::kQuietCheck) continue;
        const std::vector<std::byte> found = guest_.read_page(block, page);
        const std::byte* const wanted = memory_[block].data() + page * kBasePageBytes;
        if (std::memcmp(found.data(), wanted, found.size()) == 0) continue;
        ADD_FAILURE() << "page " << page << " of block " << block << " at record " << check.index
                      << ", last changed by " << last_changes_[block][page];
        return false;
      }
    }
    return true;
  }

  const Script& script_;
  const Guest& guest_;
  const BlockContents* source_;
  BlockContents memory_;
  const std::vector<std::vector<int64_t>> last_changes_;
  size_t at_ = 0;
};

void expect_holes_where_nothing_was_placed(const Script& script, const GuestPageSet& before,
                                           const GuestPageSet& after) {
  GuestPageSet placed = before;
  uint64_t cleared_holes = 0;
  for (const Record& record : script) {
    if (record.kind == RecordKind::kPlace) placed[record.block].set(record.page);
  }
  for (const Record& record : script) {
    if (record.kind == RecordKind::kClear && !placed[record.block].test(record.page))
      ++cleared_holes;
  }
  EXPECT_GT(cleared_holes, 0U);
  for (size_t block = 0; block < after.size(); ++block) {
    for (uint64_t page = 0; page < kBlockPages[block]; ++page)
      EXPECT_EQ(after[block].test(page), placed[block].test(page))
          << "page " << page << " of block " << block;
  }
}

void run_script(const Script& script, RigOptions options, const BlockContents* source) {
  SCOPED_TRACE("seed " + std::to_string(options.seed));
  Guest destination;
  BlockContents start = zero_contents();
  destination.touch(start);
  const GuestPageSet before = destination.present();
  PlacingRig rig(destination, options);
  Gate gate;
  rig.start();
  {
    const std::jthread writer([&] { write_script(rig.near(), script, gate, options.seed); });
    Reader(script, destination, source, std::move(start)).run(rig.far(), gate);
    gate.open(script.size());
    rig.close_far();
  }
  rig.finish();
  EXPECT_TRUE(rig.sent()) << to_string(rig.sent().error());
  EXPECT_TRUE(rig.received()) << to_string(rig.received().error());
  expect_holes_where_nothing_was_placed(script, before, destination.present());
}

struct Way {
  const char* name;
  Wire wire;
  FaultPlan faults;
  size_t piece_bytes_max;
};

void PrintTo(const Way& way, std::ostream* output) {
  *output << way.name;
}

class Placing : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    if (!PlacingRig::can_run(GetParam().wire)) GTEST_SKIP() << "no io_uring here";
  }
  static RigOptions options(uint64_t seed) {
    const Way& way = GetParam();
    return {.wire = way.wire,
            .faults = way.faults,
            .piece_bytes_max = way.piece_bytes_max,
            .seed = seed};
  }
};
INSTANTIATE_TEST_SUITE_P(
    Ways, Placing,
    testing::Values(Way{"Loopback", Wire::kLoopback, {}, 0},
                    Way{"SmallPieces", Wire::kLoopback, {}, 300},
                    Way{"LateCompletions",
                        Wire::kLoopback,
                        {.seed = 3, .delayed_per_mille = 500, .short_post_per_mille = 300},
                        20'000},
                    Way{"Tcp", Wire::kTcp, {}, 0}, Way{"TcpInPieces", Wire::kTcp, {}, 6000}),
    [](const testing::TestParamInfo<Way>& way) { return way.param.name; });

TEST_P(Placing, HasEverythingInPlaceBeforeWhatFollowedIt) {
  for (uint64_t seed = 1; seed <= 3; ++seed)
    run_script(make_script(seed, 700), options(seed), nullptr);
}

TEST_P(Placing, TakesPagesFromTheGuestsMemoryWhereItHasIt) {
  for (uint64_t seed = 11; seed <= 12; ++seed) {
    const BlockContents contents = random_contents(seed);
    Guest source;
    source.fill(contents);
    RigOptions from_memory = options(seed);
    from_memory.source = &source;
    run_script(make_script(seed, 700), from_memory, &contents);
  }
}

Record record(RecordKind kind, uint8_t block, uint32_t page, uint32_t size, uint32_t index) {
  return {kind, block, 0, page, size, index};
}

// So that what is passed on is sent in the middle of a piece, with pages before it.
TEST_P(Placing, PassesOnMoreThanTheRingHolds) {
  Script script;
  const auto add = [&](RecordKind kind, uint32_t page, uint32_t size) {
    script.push_back(record(kind, 2, page, size, static_cast<uint32_t>(script.size())));
  };
  for (uint32_t i = 0; i < 20; ++i) {
    add(RecordKind::kPlace, 2 * i, kBasePageBytes);
    add(RecordKind::kCheck, 0, 10);
    add(RecordKind::kPass, 0, 2 * PlacingRig::kRingBytes);
    add(RecordKind::kClear, 600 + i, 1);
    add(RecordKind::kCheck, 0, 10);
    add(RecordKind::kPass, 0, 2 * PlacingRig::kRingBytes);
  }
  add(RecordKind::kQuietCheck, 0, 0);
  run_script(script, options(51), nullptr);
}

TEST_P(Placing, EndsWhenNobodyReadsAnyMore) {
  const Script script = make_script(21, 2000);
  Guest destination;
  PlacingRig rig(destination, options(21));
  rig.start();
  std::vector<std::byte> stream;
  for (const Record& record : script) append(stream, record);
  bool taken = true;
  std::jthread writer([&] {
    taken = write_all(rig.near(), stream);
    rig.close_near();
  });
  std::vector<std::byte> first(1000);
  EXPECT_TRUE(read_all(rig.far(), first));
  rig.close_far();
  writer.join();
  rig.finish();
  EXPECT_FALSE(taken);
  EXPECT_TRUE(rig.sent()) << to_string(rig.sent().error());
  EXPECT_TRUE(rig.received()) << to_string(rig.received().error());
}

// Nothing is passed on, so nothing but the end says that it must be there.
TEST_P(Placing, HasEverythingInPlaceWhenTheStreamEnds) {
  Guest destination;
  BlockContents model = zero_contents();
  destination.touch(model);
  PlacingRig rig(destination, options(31));
  rig.start();
  std::vector<std::byte> stream;
  const Record place = record(RecordKind::kPlace, 0, 1, kBasePageBytes, 0);
  const Record clear = record(RecordKind::kClear, 2, 0, 200, 1);
  for (const Record& record : {place, clear}) {
    append(stream, record);
    apply(record, nullptr, model);
  }
  EXPECT_TRUE(write_all(rig.near(), stream));
  rig.close_near();
  std::byte more{};
  EXPECT_FALSE(read_all(rig.far(), {&more, 1}));
  EXPECT_TRUE(destination.read_page(0, 1) == content_of(place));
  for (const uint64_t page : {0, 3, 198})
    EXPECT_TRUE(destination.read_page(2, page) == std::vector<std::byte>(kBasePageBytes)) << page;
  rig.finish();
  EXPECT_EQ(rig.placed_bytes(), kBasePageBytes);
}

TEST(PlacingFromTheStream, KeepsWhatIsOnItsWay) {
  Guest destination;
  PlacingRig rig(destination, {.late_writes = true});
  rig.start();
  std::vector<std::byte> stream;
  BlockContents model = zero_contents();
  for (uint32_t page = 0; page < kBlockPages[2]; ++page) {
    const Record place = record(RecordKind::kPlace, 2, page, kBasePageBytes, page);
    append(stream, place);
    apply(place, nullptr, model);
  }
  EXPECT_TRUE(write_all(rig.near(), stream));
  rig.close_near();
  std::byte more{};
  EXPECT_FALSE(read_all(rig.far(), {&more, 1}));
  rig.finish();
  EXPECT_TRUE(test::same_bytes(destination.memory()[2].memory, model[2]));
}

// Where it was a hole at the start, the destination would leave it one.
TEST(PlacingFromTheStream, ClearsWhatAnotherLaneHasPlaced) {
  Guest destination;
  PlacedPages placed;
  for (const uint64_t pages : kBlockPages) placed.add_block(pages * kBasePageBytes);
  placed.set(2, {70, 1});
  PlacingRig rig(destination, {.placed = &placed});
  std::ranges::fill(destination.memory()[2].memory.subspan(70 * kBasePageBytes, kBasePageBytes),
                    std::byte{0x5a});
  rig.start();
  std::vector<std::byte> stream;
  append(stream, record(RecordKind::kClear, 2, 69, 3, 0));
  EXPECT_TRUE(write_all(rig.near(), stream));
  rig.close_near();
  std::byte more{};
  EXPECT_FALSE(read_all(rig.far(), {&more, 1}));
  rig.finish();
  EXPECT_TRUE(test::same_bytes(destination.memory()[2].memory, zero_contents()[2]));
}

// What the wire does to pages of a guest that has stopped, nobody else would mend.
TEST(PlacingFromMemory, SendsPagesThatArriveDamagedAgain) {
  Guest source;
  source.fill(random_contents(41));
  Guest destination;
  PlacingRig rig(destination, {.faults = {.seed = 4, .torn_per_mille = 500}, .source = &source});
  rig.start();
  std::vector<std::byte> stream;
  for (uint32_t page = 0; page < 600; ++page)
    append(stream, record(RecordKind::kPlace, 2, 2 * page, kBasePageBytes, page));
  EXPECT_TRUE(write_all(rig.near(), stream));
  rig.close_near();
  std::byte more{};
  EXPECT_FALSE(read_all(rig.far(), {&more, 1}));
  rig.finish();
  EXPECT_TRUE(rig.sent()) << to_string(rig.sent().error());
  for (uint64_t page = 0; page < 1200; page += 2)
    EXPECT_TRUE(destination.read_page(2, page) == source.read_page(2, page)) << page;
}

TEST(PlacingFromMemory, FailsWhenEveryPageArrivesDamaged) {
  Guest source;
  source.fill(random_contents(42));
  Guest destination;
  PlacingRig rig(destination, {.faults = {.seed = 4, .torn_per_mille = 1000}, .source = &source});
  rig.start();
  std::vector<std::byte> stream;
  append(stream, record(RecordKind::kPlace, 0, 5, kBasePageBytes, 0));
  EXPECT_TRUE(write_all(rig.near(), stream));
  rig.close_near();
  std::byte more{};
  EXPECT_FALSE(read_all(rig.far(), {&more, 1}));
  rig.finish();
  ASSERT_FALSE(rig.sent());
  EXPECT_EQ(rig.sent().error().code, Errc::kCorrupt) << to_string(rig.sent().error());
}

}  // namespace
}  // namespace godwit::relay
