// SPDX-License-Identifier: Apache-2.0
//
// Lanes of page channels: what they place is there when they have settled, and what ends one of
// them ends all.
#include "engine/relay/page_lane.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "engine/relay/lane_word.h"
#include "engine/relay/page_receivers.h"
#include "engine/relay/relay_destination.h"
#include "engine/relay/relay_source.h"
#include "tests/engine/relay/placing_rig.h"
#include "tests/engine/relay/socket_pair.h"
#include "transports/loopback/loopback_control_channel.h"
#include "vmm-adapters/linux/unix_stream.h"

namespace godwit::relay {
namespace {

constexpr size_t kLanes = 3;

// What a channel says: a run of pages of one block, which are placed or cleared, after which it may
// settle.
struct Word {
  uint32_t block;
  PageRun run;
  uint32_t settles;
  uint32_t clears = 0;
};

// A VMM's channel that has been written by the test.
class WordChannel final : public PageChannel {
 public:
  WordChannel(std::unique_ptr<VmmStream> stream, std::function<void(const Word&)> on_settled)
      : stream_(std::move(stream)), on_settled_(std::move(on_settled)) {}

  VmmStream& stream() override { return *stream_; }
  Result<VmmStream::State> read_some(Output& output) override {
    Word word{};
    ASSIGN_OR_RETURN(const VmmStream::Progress progress,
                     stream_->read(std::as_writable_bytes(std::span(&word, 1))));
    if (progress.state != VmmStream::State::kOpen) return progress.state;
    read_bytes_ += progress.bytes;
    words_.push_back(word);
    const std::span<const PageRun> runs(&word.run, 1);
    RETURN_IF_ERROR(word.clears != 0 ? output.clear(word.block, runs)
                                     : output.place(word.block, runs));
    if (word.settles == 0) return progress.state;
    RETURN_IF_ERROR(output.settle());
    for (const Word& settled : words_) on_settled_(settled);
    words_.clear();
    return progress.state;
  }
  uint64_t read_bytes() const override { return read_bytes_; }
  void end_reading() override { stream_->end_reading(); }
  void shut_down() override { stream_->shut_down(); }

 private:
  const std::unique_ptr<VmmStream> stream_;
  const std::function<void(const Word&)> on_settled_;
  std::vector<Word> words_;
  uint64_t read_bytes_ = 0;
};

// Lanes over a real transport, from one guest's memory to the other's.
class PageLaneTest : public testing::TestWithParam<Wire> {
 protected:
  void SetUp() override {
    if (!PlacingRig::can_run(GetParam())) GTEST_SKIP() << "no io_uring here";
    source_.fill(random_contents(1));
    for (size_t lane = 0; lane < kLanes; ++lane)
      rigs_.push_back(std::make_unique<PlacingRig>(
          destination_, RigOptions{.wire = GetParam(), .faults = faults_, .source = &source_}));
    for (const uint64_t pages : kBlockPages) placed_.add_block(pages * kBasePageBytes);
    BlockContents touched = zero_contents();
    destination_.touch(touched);
    present_at_start_ = destination_.present();
    receivers_ = std::make_unique<PageReceivers>(destination_.memory(), present_at_start_, there_);
    for (size_t lane = 0; lane < kLanes; ++lane) {
      SocketPair pair = make_socket_pair();
      vmm_.push_back(std::move(pair.theirs));
      channels_.push_back(std::make_unique<WordChannel>(
          make_unix_stream(std::move(pair.ours)).value(), [this](const Word& word) {
            for (uint64_t i = 0; i < word.run.page_count; ++i)
              wrong_ += is_done(word, word.run.first_page + i) ? 0 : 1;
            ++settled_;
          }));
      receivers_->serve(rigs_[lane]->take_destination_end());
      lane_blocks_.push_back(rigs_[lane]->placed_blocks());
    }
  }
  // Each has to have its own transport's regions.
  std::vector<PageLane::Parts> parts() {
    std::vector<PageLane::Parts> lanes;
    for (size_t lane = 0; lane < kLanes; ++lane)
      lanes.push_back(
          {rigs_[lane]->source_end(), *channels_[lane], lane_blocks_[lane], placed_, torn_});
    return lanes;
  }
  void say(size_t lane, const Word& word) {
    ASSERT_TRUE(write_all(vmm_[lane].get(), std::as_bytes(std::span(&word, 1))));
  }
  bool is_there(uint32_t block, uint64_t page) const {
    return destination_.read_page(block, page) == source_.read_page(block, page);
  }

  bool is_zero(uint32_t block, uint64_t page) const {
    return destination_.read_page(block, page) == std::vector<std::byte>(kBasePageBytes);
  }
  bool is_done(const Word& word, uint64_t page) const {
    return word.clears != 0 ? is_zero(word.block, page) : is_there(word.block, page);
  }

  FaultPlan faults_;
  Guest source_;
  Guest destination_;
  GuestPageSet present_at_start_;
  Interruption here_;
  Interruption there_;
  std::vector<std::unique_ptr<PlacingRig>> rigs_;
  std::vector<std::vector<PlacingSender::Block>> lane_blocks_;
  PlacedPages placed_;
  TornPages torn_;
  std::unique_ptr<PageReceivers> receivers_;
  std::vector<UniqueFd> vmm_;
  std::vector<std::unique_ptr<WordChannel>> channels_;
  std::atomic<int> wrong_{0};
  std::atomic<int> settled_{0};  // words
};
INSTANTIATE_TEST_SUITE_P(Over, PageLaneTest, testing::Values(Wire::kLoopback, Wire::kTcp));

TEST_P(PageLaneTest, HasEveryPageInPlaceWhenItHasSettled) {
  PageLanes lanes(parts(), here_);
  // Block 2 has 1200 pages; each lane has a third of it, of runs longer than one operation.
  for (uint64_t at = 0; at < 400; at += 100) {
    for (size_t lane = 0; lane < kLanes; ++lane)
      say(lane, {2, {lane * 400 + at, 100}, at % 200 == 0 ? 0U : 1U});
  }
  say(0, {1, {3, 1}, 0});

  for (UniqueFd& vmm : vmm_) vmm.reset();
  lanes.end();

  EXPECT_EQ(lanes.read_bytes(), 13 * sizeof(Word));
  EXPECT_EQ(wrong_, 0);
  EXPECT_TRUE(here_.check());
  EXPECT_TRUE(there_.check());
  for (uint64_t page = 0; page < 1200; ++page)
    EXPECT_TRUE(is_there(2, page) && placed_.test(2, page)) << page;
  EXPECT_TRUE(is_there(1, 3) && placed_.test(1, 3));
  EXPECT_FALSE(placed_.test(1, 2) || placed_.test(1, 4));
  EXPECT_EQ(lanes.placed_bytes(), 1201 * kBasePageBytes);
}

class TearingPageLaneTest : public PageLaneTest {
 protected:
  void SetUp() override {
    faults_ = {.seed = 7, .torn_per_mille = 500};
    PageLaneTest::SetUp();
  }
};
INSTANTIATE_TEST_SUITE_P(Over, TearingPageLaneTest, testing::Values(Wire::kLoopback));

TEST_P(TearingPageLaneTest, KnowsWhichPagesAreNotAsTheyWereSent) {
  PageLanes lanes(parts(), here_);
  for (uint64_t at = 0; at < 400; at += 100) {
    for (size_t lane = 0; lane < kLanes; ++lane) say(lane, {2, {lane * 400 + at, 100}, 0});
  }
  say(0, {1, {3, 1}, 0});

  for (UniqueFd& vmm : vmm_) vmm.reset();
  lanes.end();

  std::set<TornPages::Page> damaged;
  for (uint64_t page = 0; page < 1200; ++page) {
    if (!is_there(2, page)) damaged.insert({2, page});
  }
  if (!is_there(1, 3)) damaged.insert({1, 3});
  EXPECT_GT(damaged.size(), 0U);
  EXPECT_LT(damaged.size(), 1200U);
  EXPECT_TRUE(torn_.take() == damaged);
  EXPECT_TRUE(torn_.take().empty());
}

TEST_P(PageLaneTest, ClearsWhatAnotherLaneHasPlacedAndLeavesHoles) {
  PageLanes lanes(parts(), here_);
  say(0, {2, {10, 20}, 1});
  while (settled_ == 0) std::this_thread::yield();
  say(1, {2, {10, 10}, 0, 1});
  say(1, {2, {100, 10}, 1, 1});
  say(2, {2, {20, 5}, 1, 1});

  for (UniqueFd& vmm : vmm_) vmm.reset();
  lanes.end();

  EXPECT_EQ(wrong_, 0);
  EXPECT_EQ(settled_, 4);
  EXPECT_TRUE(here_.check());
  EXPECT_TRUE(there_.check());
  EXPECT_TRUE(is_there(2, 25));
  EXPECT_FALSE(destination_.present()[2].test(100));
}

TEST_P(PageLaneTest, ClearsWhatWasThereBefore) {
  ASSERT_FALSE(is_zero(2, 99));
  PageLanes lanes(parts(), here_);
  say(0, {2, {0, 100}, 0, 1});

  for (UniqueFd& vmm : vmm_) vmm.reset();
  lanes.end();

  for (uint64_t page = 0; page < 100; ++page) EXPECT_TRUE(is_zero(2, page)) << page;
  EXPECT_FALSE(is_zero(2, 102));
}

TEST_P(PageLaneTest, RefusesToClearBeyondABlock) {
  std::vector<std::byte> message;
  const ZeroRuns zeroes{.block = 2, .history = PageHistory::kSent, .runs = {{1199, 2}}};
  // The other end may be gone before all of it is acknowledged.
  (void)relay::say(rigs_[0]->source_end(), zeroes, message);

  while (!there_.raised()) std::this_thread::yield();

  EXPECT_EQ(there_.check().error().code, Errc::kCorrupt);
}

TEST_P(PageLaneTest, EndsAllLanesWhenOneIsLost) {
  PageLanes lanes(parts(), here_);
  receivers_->close();
  // Where it has noticed by itself, nobody reads this any more.
  const Word word{2, {0, 100}, 1};
  (void)write_all(vmm_[0].get(), std::as_bytes(std::span(&word, 1)));

  while (!here_.raised()) std::this_thread::yield();
  lanes.end();

  EXPECT_FALSE(here_.check());
  EXPECT_TRUE(there_.check()) << "who closes lanes does not call that a loss";
}

TEST_P(PageLaneTest, RaisesAtTheDestinationWhatBreaksALane) {
  rigs_[1]->source_end().shut_down();

  while (!there_.raised()) std::this_thread::yield();

  EXPECT_FALSE(there_.check());
}

TEST_P(PageLaneTest, EndsIdleLanesWithoutAnError) {
  receivers_->close();

  EXPECT_TRUE(there_.check());
}

// What a whole relay with four page lanes has written by each of its two rails.
struct RailsTest : testing::Test {
  std::array<std::atomic<uint64_t>, 2> operations{};
  Guest source_guest;
  Guest guest;
  std::string note;

  // The second rail's other end is in `network_there`.
  void move_pages(LoopbackNetwork& network, LoopbackNetwork& network_there) {
    std::vector<std::unique_ptr<LoopbackTransport>> transports;
    std::vector<Rail> rails_here;
    std::vector<Rail> rails_there;
    for (size_t rail = 0; rail < 2; ++rail) {
      transports.push_back(std::make_unique<LoopbackTransport>(
          network, LoopbackOptions{.faults = {}, .before_operation = [this, rail](uint64_t) {
                                     ++operations[rail];
                                   }}));
      const std::string name = "wire" + std::to_string(rail);
      rails_here.push_back({.name = name, .transport = transports.back().get()});
      transports.push_back(
          std::make_unique<LoopbackTransport>(rail == 0 ? network : network_there));
      rails_there.push_back({.name = name, .transport = transports.back().get()});
      rails_there.back().listen = name + ":0";
    }
    const LoopbackControlPair control = make_loopback_control_pair();
    SocketPair near = make_socket_pair();
    SocketPair far = make_socket_pair();
    const std::unique_ptr<VmmStream> stream = make_unix_stream(std::move(near.ours)).value();
    source_guest.fill(random_contents(5));
    RelaySource source({.stream = *stream,
                        .rails = rails_here,
                        .control = *control.first,
                        .content = StreamContent::kGuestBesideChannels,
                        .make_extractor = [](const auto&) { return make_record_extractor(); },
                        .guest = &source_guest.memory()},
                       "0123456789abcdef", {});
    RelayDestination destination({[&](const OpenStream&) -> Result<StreamTarget> {
                                    return StreamTarget{
                                        .stream = make_unix_stream(std::move(far.ours)).value(),
                                        .guest = guest.memory()};
                                  },
                                  rails_there, *control.second},
                                 {});
    const std::jthread running([&] { EXPECT_TRUE(destination.run()); });
    ASSERT_TRUE(source.open());
    ASSERT_TRUE(source.open_page_lanes(4));
    note = source.page_lanes_note();
    std::vector<UniqueFd> vmm;
    std::vector<std::unique_ptr<WordChannel>> channels;
    std::vector<PageChannel*> carried;
    for (uint64_t lane = 0; lane < 4; ++lane) {
      SocketPair pair = make_socket_pair();
      channels.push_back(std::make_unique<WordChannel>(
          make_unix_stream(std::move(pair.ours)).value(), [](const Word&) {}));
      carried.push_back(channels.back().get());
      const Word word{2, {lane * 300, 300}, 1};
      EXPECT_TRUE(write_all(pair.theirs.get(), std::as_bytes(std::span(&word, 1))));
    }
    near.theirs.reset();
    const std::jthread reading([&] {
      std::byte more{};
      EXPECT_FALSE(read_all(far.theirs.get(), {&more, 1}));
      far.theirs.reset();
    });
    const Result<StreamTraffic> traffic = source.carry(carried);
    control.first->shut_down();
    ASSERT_TRUE(traffic) << to_string(traffic.error());
    for (uint64_t page = 0; page < 1200; ++page)
      EXPECT_TRUE(guest.read_page(2, page) == source_guest.read_page(2, page)) << page;
  }
};

TEST_F(RailsTest, EachHasItsShareOfThePageLanes) {
  LoopbackNetwork network;
  move_pages(network, network);
  EXPECT_GE(operations[0], 10U);
  EXPECT_GE(operations[1], 10U);
  EXPECT_EQ(note, "");
}

TEST_F(RailsTest, WithoutAnotherEndAreDoneWithout) {
  LoopbackNetwork network;
  LoopbackNetwork elsewhere;
  move_pages(network, elsewhere);
  EXPECT_GE(operations[0], 20U);
  EXPECT_EQ(operations[1], 0U);
  EXPECT_NE(note, "");
}

TEST(PlacedPages, KnowsRunsAcrossWords) {
  PlacedPages placed;
  placed.add_block(300 * kBasePageBytes);
  placed.set(0, {60, 140});
  placed.set(0, {299, 1});

  for (uint64_t page = 0; page < 300; ++page)
    EXPECT_EQ(placed.test(0, page), (page >= 60 && page < 200) || page == 299) << page;
}

}  // namespace
}  // namespace godwit::relay
