// SPDX-License-Identifier: Apache-2.0
//
// Lanes of several rails, in process, and what becomes of the pages of lanes that are lost.
#include "engine/precopy/lane_group.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <thread>

#include "engine/base/check.h"
#include "engine/migration/destination_lanes.h"
#include "tests/support/same_bytes.h"
#include "transports/loopback/loopback_transport.h"

namespace godwit::precopy {
namespace {

constexpr size_t kBytes = 64 * kMiB;

std::span<std::byte> map_memory() {
  void* start = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(start != MAP_FAILED);
  return {static_cast<std::byte*>(start), kBytes};
}

GuestMemory guest_of(std::span<std::byte> memory) {
  return {{.name = "ram",
           .page_size_bytes = kBasePageBytes,
           .numa_node = -1,
           .memory = memory,
           .fd = -1,
           .fd_offset_bytes = 0}};
}

std::array<std::byte, 32> token_of(uint32_t lane) {
  std::array<std::byte, 32> token{};
  std::memcpy(token.data(), &lane, sizeof(lane));
  return token;
}

// Both hosts: a loopback network per rail, with the faults of its source's end.
class Hosts final : public LaneOpener {
 public:
  // Nothing has to arrive sooner than a slow machine can do it, where that is not the question.
  explicit Hosts(const std::vector<LoopbackOptions>& links,
                 Clock::duration stall_max = seconds(60)) {
    context_.stall_max = stall_max;
    std::mt19937_64 random(1);
    for (size_t at = 0; at < kBytes; at += kBasePageBytes) {
      // Every fourth page stays zero.
      const uint64_t word = at / kBasePageBytes % 4 == 0 ? 0 : random() | 1;
      std::memcpy(here_.data() + at, &word, sizeof(word));
    }
    // What waits at the destination has to go.
    std::ranges::fill(there_, std::byte{0x5a});
    present_[0].set_all();
    std::vector<std::unique_ptr<Listener>> listeners;
    for (const LoopbackOptions& link : links) {
      auto& rail = *rails_.emplace_back(std::make_unique<LoopbackRail>(link));
      regions_.push_back(rail.destination.register_memory(there_, RemoteAccess::kWrite).value());
      const RemoteRegion remote = regions_.back()->describe();
      regions_.push_back(rail.source.register_memory(here_, RemoteAccess::kNone).value());
      context_.rails.push_back(
          {.local = {regions_.back().get()}, .remote = {remote}, .in_flight_bytes_max = 4 * kMiB});
      listeners.push_back(rail.destination.listen("there:0").value());
      rail.address = listeners.back()->address();
    }
    far_lanes_ = std::make_unique<DestinationLanes>(
        DestinationLanes::Parts{
            guest_there_,
            present_,
            interruption_,
            [](uint32_t lane) -> Result<std::array<std::byte, 32>> { return token_of(lane); },
            [](uint32_t, const Error&) {},
            {}},
        std::move(listeners));
  }
  ~Hosts() override {
    far_lanes_.reset();
    ::munmap(here_.data(), kBytes);
    ::munmap(there_.data(), kBytes);
  }

  Result<OpenedLane> open(size_t rail) override {
    const uint32_t number = next_lane_++;
    ASSIGN_OR_RETURN(std::unique_ptr<Endpoint> endpoint,
                     rails_[rail]->source.connect(rails_[rail]->address, {token_of(number), number},
                                                  deadline_in(seconds(5))));
    return OpenedLane{number, std::move(endpoint)};
  }
  Result<std::string> close(uint32_t number) override {
    far_lanes_->close(number);
    return word_of_the_destination_;
  }
  // What the destination says of every lane that is closed.
  void set_word_of_the_destination(std::string word) { word_of_the_destination_ = std::move(word); }

  const LaneContext& context() const { return context_; }
  Interruption& interruption() { return interruption_; }

  // Sends everything, and returns whether it arrived.
  testing::AssertionResult send_all(LaneGroup& lanes) {
    GuestPageSet pages = empty_page_set(guest_here_);
    pages[0].set_all();
    GuestPageSet torn = empty_page_set(guest_here_);
    const Status begun = lanes.begin(
        {.pages = &pages, .zeroes = nullptr, .memory = SourceMemory::kLive, .round = ++round_},
        torn);
    if (!begun) return testing::AssertionFailure() << to_string(begun.error());
    const auto result = lanes.finish([] {});
    if (!result) return testing::AssertionFailure() << to_string(result.error());
    if (!test::same_bytes(here_, there_)) return testing::AssertionFailure() << "other bytes";
    return testing::AssertionSuccess();
  }

 private:
  struct LoopbackRail {
    explicit LoopbackRail(const LoopbackOptions& link)
        : source(network, link), destination(network, {}) {}
    LoopbackNetwork network;
    LoopbackTransport source;
    LoopbackTransport destination;
    std::string address;
  };

  std::span<std::byte> here_ = map_memory();
  std::span<std::byte> there_ = map_memory();
  GuestMemory guest_here_ = guest_of(here_);
  GuestMemory guest_there_ = guest_of(there_);
  GuestPageSet present_ = empty_page_set(guest_there_);
  Interruption interruption_;
  BandwidthLimiter limiter_{0};
  std::vector<std::unique_ptr<LoopbackRail>> rails_;
  std::vector<std::unique_ptr<MemoryRegion>> regions_;
  LaneContext context_{.memory = guest_here_,
                       .rails = {},
                       .limiter = limiter_,
                       .interruption = interruption_,
                       .stall_max = {}};
  std::unique_ptr<DestinationLanes> far_lanes_;
  std::string word_of_the_destination_;
  std::atomic<uint32_t> next_lane_{0};
  uint32_t round_ = 0;
};

const LoopbackOptions kSound{};
// Each lane ends at its third operation.
const LoopbackOptions kBroken{.faults = {.disconnect_at_operation = 3}};

TEST(LaneGroup, UsesAllRails) {
  Hosts hosts({kSound, kSound});
  LaneGroup lanes(hosts.context(), hosts, {RailUse::kAlways, RailUse::kAlways}, 4);
  ASSERT_TRUE(lanes.connect());

  EXPECT_TRUE(hosts.send_all(lanes));
  EXPECT_TRUE(hosts.send_all(lanes));

  EXPECT_GT(lanes.rails()[0].bytes_sent, 0U);
  EXPECT_GT(lanes.rails()[1].bytes_sent, 0U);
  EXPECT_EQ(lanes.rails()[0].losses + lanes.rails()[1].losses, 0U);
}

TEST(LaneGroup, SendsWhatALostRailCarriedByTheOther) {
  Hosts hosts({kBroken, kSound});
  LaneGroup lanes(hosts.context(), hosts, {RailUse::kAlways, RailUse::kAlways}, 2);
  ASSERT_TRUE(lanes.connect());

  EXPECT_TRUE(hosts.send_all(lanes));

  EXPECT_GT(lanes.rails()[0].losses, 0U);
  ASSERT_TRUE(lanes.rails()[0].last_loss);
  EXPECT_EQ(lanes.rails()[0].last_loss->code, Errc::kPeerLost);
  EXPECT_GT(lanes.rails()[1].bytes_sent, 0U);
}

TEST(LaneGroup, SaysWhyBothEndsLostALane) {
  Hosts hosts({kBroken, kSound});
  hosts.set_word_of_the_destination("there is no space for a page");
  LaneGroup lanes(hosts.context(), hosts, {RailUse::kAlways, RailUse::kAlways}, 2);
  ASSERT_TRUE(lanes.connect());

  EXPECT_TRUE(hosts.send_all(lanes));

  ASSERT_TRUE(lanes.rails()[0].last_loss);
  const std::string reason(lanes.rails()[0].last_loss->text());
  // Of the endpoint, and not that its operations were flushed.
  EXPECT_NE(reason.find("the fault plan ended the connection"), std::string::npos) << reason;
  EXPECT_NE(reason.find("at the destination: there is no space for a page"), std::string::npos)
      << reason;
}

TEST(LaneGroup, FallsBackToTheLastResortOnlyWhenNothingElseWorks) {
  Hosts sound({kSound, kSound});
  LaneGroup unused(sound.context(), sound, {RailUse::kAlways, RailUse::kLastResort}, 2);
  ASSERT_TRUE(unused.connect());
  EXPECT_TRUE(sound.send_all(unused));
  EXPECT_EQ(unused.rails()[1].lanes_opened, 0U);

  Hosts broken({kBroken, kSound});
  LaneGroup used(broken.context(), broken, {RailUse::kAlways, RailUse::kLastResort}, 2);
  ASSERT_TRUE(used.connect());
  EXPECT_TRUE(broken.send_all(used));
  EXPECT_GT(used.rails()[1].bytes_sent, 0U);
}

TEST(LaneGroup, UsesARailAgainThatCameBack) {
  LoopbackOptions once = kBroken;
  once.faults.disconnect_lanes_below = 2;  // those that there are at first
  Hosts hosts({once, kSound});
  LaneGroup lanes(hosts.context(), hosts, {RailUse::kAlways, RailUse::kLastResort}, 2);
  ASSERT_TRUE(lanes.connect());
  EXPECT_TRUE(hosts.send_all(lanes));

  const Deadline deadline = deadline_in(seconds(60));
  uint64_t before = lanes.rails()[1].bytes_sent;
  while (Clock::now() < deadline) {
    EXPECT_TRUE(hosts.send_all(lanes));
    const uint64_t now = lanes.rails()[1].bytes_sent;
    if (now == before) break;  // a whole round without the last resort
    before = now;
  }
  EXPECT_LT(Clock::now(), deadline);
  EXPECT_GE(lanes.rails()[0].lanes_opened, 3U);
}

// The first rail stands still in the middle of its first chunk, until the other has nothing left to
// do: by then it has taken over all that was not on its way.
TEST(LaneGroup, TakesOverWhatASlowLaneHasNotBegun) {
  constexpr uint64_t kContentBytes = kBytes / 4 * 3;  // every fourth page is zero
  constexpr uint64_t kHeldMax = 2 * kMiB;             // half of a chunk
  LaneGroup* group = nullptr;
  bool others_are_through = false;
  LoopbackOptions slow;
  slow.before_operation = [&](uint64_t operation) {
    if (operation != 3) return;
    const Deadline deadline = deadline_in(seconds(20));
    while (!others_are_through && Clock::now() < deadline) {
      others_are_through = group->rails()[1].bytes_sent >= kContentBytes - kHeldMax;
      std::this_thread::yield();
    }
  };
  Hosts hosts({slow, kSound});
  LaneGroup lanes(hosts.context(), hosts, {RailUse::kAlways, RailUse::kAlways}, 2);
  group = &lanes;
  ASSERT_TRUE(lanes.connect());

  EXPECT_TRUE(hosts.send_all(lanes));

  EXPECT_TRUE(others_are_through);
  EXPECT_GT(lanes.rails()[0].bytes_sent, 0U);
  EXPECT_LE(lanes.rails()[0].bytes_sent, kHeldMax);
  EXPECT_GT(lanes.rails()[1].helped_bytes, 0U);
}

// Another rail is lost again and again, for longer than something has to arrive in.
TEST(LaneGroup, FindsAWayInASlowLane) {
  constexpr uint32_t kLosses = 12;  // four a second
  LaneGroup* group = nullptr;
  LoopbackOptions slow;
  slow.before_operation = [&](uint64_t operation) {
    if (operation % 200 != 0) return;
    const Deadline deadline = deadline_in(seconds(20));
    const uint32_t wanted = std::min(group->rails()[0].losses + 1, kLosses);
    while (group->rails()[0].losses < wanted && Clock::now() < deadline) std::this_thread::yield();
  };
  Hosts hosts({kBroken, slow}, seconds(2));
  LaneGroup lanes(hosts.context(), hosts, {RailUse::kAlways, RailUse::kAlways}, 2);
  group = &lanes;
  ASSERT_TRUE(lanes.connect());

  EXPECT_TRUE(hosts.send_all(lanes));

  EXPECT_GE(lanes.rails()[0].losses, kLosses);
}

TEST(LaneGroup, FailsWhenNoWayIsLeft) {
  Hosts hosts({kBroken}, seconds(1));
  LaneGroup lanes(hosts.context(), hosts, {RailUse::kAlways}, 2);
  ASSERT_TRUE(lanes.connect());

  EXPECT_FALSE(hosts.send_all(lanes));
}

}  // namespace
}  // namespace godwit::precopy
