// SPDX-License-Identifier: Apache-2.0
//
// Two agents in one process hand a simulated guest over in post-copy, and something fails at each
// point in turn: the guest never runs twice, and who says where it is, is right.
#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "engine/channel/channel_destination.h"
#include "engine/channel/channel_source.h"
#include "tests/engine/channel/simulated_vmm.h"
#include "transports/loopback/loopback_control_channel.h"
#include "transports/loopback/loopback_transport.h"

namespace godwit {
namespace {

// What an agent tells of itself, and what the test does then.
class Witness final : public MigrationObserver, public CommitLog {
 public:
  void on_state(std::string_view state) override {
    if (at_state) at_state(state);
  }
  void on_progress(const Progress&) override {}
  Status record_commit() override { return {}; }
  Status record_return() override { return {}; }
  Status record_started() override { return {}; }
  Status record_recovery(const std::string&) override { return {}; }
  Result<std::vector<postcopy::ReceivedWords>> received_pages(const GuestMemory&) override {
    return fail(Errc::kRefused, "not of this mode");
  }

  std::function<void(std::string_view)> at_state;
};

struct Outcome {
  MigrationReport source;
  MigrationReport destination;
  uint64_t said_by_source = 0;  // messages
  uint64_t said_by_destination = 0;
};

class ChannelPostCopy : public testing::Test {
 protected:
  struct Faults {
    ControlFaultPlan control;
    std::string cancelled_in;  // a state of the source's
    std::string broken_in;     // the same: its VMM's stream
  };

  static Outcome move(const Faults& faults) {
    test::Whereabouts guest;
    const Outcome outcome = move(faults, guest);
    check(outcome, guest);
    return outcome;
  }

 private:
  static Outcome move(const Faults& faults, test::Whereabouts& whereabouts) {
    LoopbackNetwork network;
    LoopbackTransport source_transport(network);
    LoopbackTransport destination_transport(network);
    const std::vector<Rail> source_rails{{.name = "wire", .transport = &source_transport}};
    std::vector<Rail> destination_rails{{.name = "wire", .transport = &destination_transport}};
    destination_rails[0].listen = "there:0";
    LoopbackControlPair control = make_loopback_control_pair(faults.control);
    test::SimulatedSource source_guest(whereabouts);
    test::SimulatedDestination destination_guest(whereabouts);
    Witness source_witness;
    Witness destination_witness;
    ChannelSource source(
        {source_guest, source_rails, *control.first, source_witness, source_witness},
        {.session = "00c0ffee00c0ffee", .post_copy = PostCopy::kNow});
    ChannelDestination destination({destination_guest, destination_rails, *control.second,
                                    destination_witness, destination_witness},
                                   {});
    source_witness.at_state = [&](std::string_view state) {
      if (state == faults.cancelled_in) source.cancel();
      if (state == faults.broken_in) source_guest.break_stream();
    };
    Outcome outcome;
    {
      const std::jthread there([&] { outcome.destination = destination.run(); });
      outcome.source = source.run();
      outcome.said_by_source = control.first->sent_count();
      // What a process does that has ended.
      control.first->shut_down();
    }
    outcome.said_by_destination = control.second->sent_count();
    return outcome;
  }

  static void check(const Outcome& outcome, const test::Whereabouts& guest) {
    SCOPED_TRACE(fmt::format("source {} ({}), destination {} ({})",
                             to_string(outcome.source.status), describe(outcome.source),
                             to_string(outcome.destination.status), describe(outcome.destination)));
    EXPECT_FALSE(guest.ever_at_both());
    switch (outcome.source.status) {
      case MigrationStatus::kCompleted:
        EXPECT_TRUE(guest.at_destination());
        break;
      case MigrationStatus::kInDoubt:
        EXPECT_FALSE(guest.at_source());
        EXPECT_TRUE(guest.at_destination() || !outcome.source.post_copy);
        break;
      default:
        EXPECT_TRUE(guest.at_source());
        EXPECT_FALSE(guest.at_destination());
    }
    switch (outcome.destination.status) {
      case MigrationStatus::kCompleted:
        EXPECT_TRUE(guest.at_destination());
        break;
      case MigrationStatus::kInDoubt:
        EXPECT_EQ(guest.at_destination(), outcome.destination.post_copy.has_value());
        break;
      default:
        EXPECT_FALSE(guest.at_destination());
    }
  }

  static std::string describe(const MigrationReport& report) {
    return report.error ? to_string(*report.error) : "";
  }
};

TEST_F(ChannelPostCopy, HandsTheGuestOverWhileTheStreamPasses) {
  const Outcome outcome = move({});

  EXPECT_EQ(outcome.source.status, MigrationStatus::kCompleted);
  EXPECT_EQ(outcome.destination.status, MigrationStatus::kCompleted);
  EXPECT_TRUE(outcome.source.post_copy && outcome.destination.post_copy);
}

TEST_F(ChannelPostCopy, KnowsWhereTheGuestIsWhereverTheConnectionIsCut) {
  const Outcome whole = move({});
  for (const auto when : {ControlCut::When::kBeforeMessage, ControlCut::When::kLosingMessage,
                          ControlCut::When::kAfterMessage}) {
    for (uint64_t message = 1; message <= whole.said_by_source; ++message) {
      SCOPED_TRACE(fmt::format("source's message {}, cut {}", message, static_cast<int>(when)));
      move({.control = {.from_first = ControlCut{message, when}, .from_second = {}}});
    }
    for (uint64_t message = 1; message <= whole.said_by_destination; ++message) {
      SCOPED_TRACE(
          fmt::format("destination's message {}, cut {}", message, static_cast<int>(when)));
      move({.control = {.from_first = {}, .from_second = ControlCut{message, when}}});
    }
  }
}

TEST_F(ChannelPostCopy, IsCancelledUntilTheCommitOnly) {
  for (const char* state : {"negotiating", "precopy", "awaiting-ready"}) {
    SCOPED_TRACE(state);
    EXPECT_EQ(move({.cancelled_in = state}).source.status, MigrationStatus::kCancelled);
  }
  for (const char* state : {"committed", "post-copy"}) {
    SCOPED_TRACE(state);
    EXPECT_EQ(move({.cancelled_in = state}).source.status, MigrationStatus::kCompleted);
  }
}

TEST_F(ChannelPostCopy, KnowsWhereTheGuestIsWheneverTheStreamBreaks) {
  for (const char* state : {"negotiating", "precopy", "awaiting-ready", "committed", "post-copy"}) {
    SCOPED_TRACE(state);
    move({.broken_in = state});
  }
}

}  // namespace
}  // namespace godwit
