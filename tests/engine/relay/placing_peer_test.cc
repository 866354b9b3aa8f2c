// SPDX-License-Identifier: Apache-2.0
//
// Ends of a stream with pages whose other end says what it must not.
#include <gtest/gtest.h>
#include <unistd.h>

#include <limits>
#include <ostream>

#include "engine/migration/control_link.h"
#include "engine/relay/lane_word.h"
#include "engine/relay/relay_destination.h"
#include "engine/relay/relay_source.h"
#include "tests/engine/relay/placing_rig.h"
#include "transports/loopback/loopback_control_channel.h"
#include "vmm-adapters/linux/unix_stream.h"

namespace godwit::relay {
namespace {

void say_all(Endpoint& endpoint, const std::vector<LaneMessage>& words) {
  std::vector<std::byte> buffer;
  for (const LaneMessage& word : words) EXPECT_TRUE(say(endpoint, word, buffer));
}

// What a receiver makes of these messages, of which the last is one that it must not take.
Status received(const std::vector<LaneMessage>& words, const RigOptions& options) {
  Guest guest;
  BlockContents model = zero_contents();
  guest.touch(model);
  PlacingRig rig(guest, options);
  say_all(rig.source_end(), words);
  const Status status = rig.receive();
  EXPECT_TRUE(guest.read_page(1, 0) == std::vector<std::byte>(kBasePageBytes, std::byte{0x5a}));
  return status;
}

TEST(StreamReceiver, RefusesToClearWhatIsNotThere) {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  for (const ZeroRuns& zeroes :
       {ZeroRuns{.block = 3, .runs = {{0, 1}}}, ZeroRuns{.block = UINT32_MAX, .runs = {{0, 1}}},
        ZeroRuns{.block = 1, .runs = {{7, 1}}}, ZeroRuns{.block = 1, .runs = {{0, 8}}},
        ZeroRuns{.block = 1, .runs = {{1, kMax}}}, ZeroRuns{.block = 1, .runs = {{kMax, 2}}},
        ZeroRuns{.block = 1, .runs = {{1, 1}, {6, 2}}}}) {
    const Status status = received({zeroes}, {});
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Errc::kCorrupt) << status.error().text();
  }
}

TEST(StreamReceiver, ClearsNothingWhereItHasNoGuest) {
  const ZeroRuns zeroes{.block = 1, .runs = {{0, 1}}};
  for (const LaneMessage& word : {LaneMessage(zeroes), LaneMessage(RoundEnd{1})}) {
    const Status status = received({word}, {.knows_guest = false});
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Errc::kCorrupt) << status.error().text();
  }
}

TEST(StreamReceiver, RefusesWhatOnlyAReceiverSays) {
  for (const LaneMessage& word :
       {LaneMessage(RoundDone{1, 0}), LaneMessage(StreamDrained{0, StreamEnd::kOpen}),
        LaneMessage(FetchLane{})}) {
    const Status status = received({word}, {});
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Errc::kCorrupt) << status.error().text();
  }
}

TEST(StreamReceiver, RefusesMoreBytesThanItsRingHas) {
  for (const std::vector<LaneMessage>& words :
       {std::vector<LaneMessage>{StreamFilled{PlacingRig::kRingBytes + 1, StreamEnd::kOpen}},
        std::vector<LaneMessage>{StreamFilled{100, StreamEnd::kOpen},
                                 StreamFilled{99, StreamEnd::kOpen}}}) {
    const Status status = received(words, {});
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Errc::kCorrupt) << status.error().text();
  }
}

TEST(PlacingSender, RefusesAnswersToNothing) {
  for (const LaneMessage& word : {LaneMessage(RoundDone{1, 0}), LaneMessage(RoundEnd{1}),
                                  LaneMessage(StreamDrained{1, StreamEnd::kOpen}),
                                  LaneMessage(ZeroRuns{.block = 0, .runs = {{0, 1}}})}) {
    Guest guest;
    PlacingRig rig(guest, {});
    say_all(rig.destination_end(), {word});
    rig.close_near();
    const Status status = rig.send();
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Errc::kCorrupt) << status.error().text();
  }
}

// A source, and the test in place of its destination.
class RelaySourceOfPages : public testing::Test {
 protected:
  RelaySourceOfPages() {
    rails_ = {{.name = "wire", .transport = &transport_}};
    SocketPair near = make_socket_pair();
    near_ = std::move(near.theirs);
    stream_ = make_unix_stream(std::move(near.ours)).value();
  }

  Status open(const StreamOpened& answer) {
    RelaySource source({.stream = *stream_,
                        .rails = rails_,
                        .control = *control_.first,
                        .content = StreamContent::kGuest,
                        .make_extractor = [](const auto&) { return make_record_extractor(); }},
                       "0123456789abcdef", {});
    const std::jthread destination([&] {
      Interruption interruption;
      ControlLink link(*control_.second, interruption, seconds(10));
      EXPECT_TRUE(link.expect<Hello>(deadline_in(seconds(10))));
      EXPECT_TRUE(link.send(Hello{.protocol_version = kProtocolVersion,
                                  .software = "test",
                                  .session = "0123456789abcdef",
                                  .role = Role::kDestination,
                                  .purpose = Purpose::kRelay}));
      const Result<OpenStream> offer = link.expect<OpenStream>(deadline_in(seconds(10)));
      EXPECT_TRUE(offer && offer->content == StreamContent::kGuest);
      EXPECT_TRUE(link.send(answer));
      link.drain(deadline_in(seconds(10)));
    });
    const Status opened = source.open();
    control_.first->shut_down();
    return opened;
  }

  LoopbackNetwork network_;
  LoopbackTransport transport_{network_};
  std::vector<Rail> rails_;
  LoopbackControlPair control_ = make_loopback_control_pair();
  UniqueFd near_;
  std::unique_ptr<VmmStream> stream_;
};

struct WrongRegions {
  const char* name;
  std::vector<RemoteRegion> regions;
  const char* complaint;
};
void PrintTo(const WrongRegions& wrong, std::ostream* output) {
  *output << wrong.name;
}

class RelaySourceRegions : public RelaySourceOfPages,
                           public testing::WithParamInterface<WrongRegions> {};
constexpr RemoteRegion kRing{.base = 0, .size_bytes = kRingThereBytes, .key = 1};
constexpr RemoteRegion kBlock{.base = 0, .size_bytes = kMiB, .key = 2};
INSTANTIATE_TEST_SUITE_P(
    Wrong, RelaySourceRegions,
    testing::Values(
        WrongRegions{"NoBlock", {kRing}, "1 regions for 1 RAM blocks and a ring"},
        WrongRegions{"OneTooMany", {kRing, kBlock, kBlock}, "3 regions for 1"},
        WrongRegions{"SmallRing", {{0, kRingThereBytes - 1, 1}, kBlock}, "no ring of the right"},
        WrongRegions{"LargeRing", {{0, 2 * kRingThereBytes, 1}, kBlock}, "no ring of the right"},
        WrongRegions{"SmallBlock", {kRing, {0, kMiB - 1, 2}}, "'ram' has two sizes"},
        WrongRegions{"LargeBlock", {kRing, {0, kMiB + 1, 2}}, "'ram' has two sizes"}),
    [](const testing::TestParamInfo<WrongRegions>& wrong) { return wrong.param.name; });

TEST_P(RelaySourceRegions, AreRefused) {
  const Status opened =
      open({.rails = {{.name = "wire",
                       .transport = "loopback",
                       .address = "there:1",
                       .regions = GetParam().regions}},
            .blocks = {{.name = "ram", .size_bytes = kMiB, .page_size_bytes = kBasePageBytes}}});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::kCorrupt) << opened.error().text();
  EXPECT_NE(opened.error().text().find(GetParam().complaint), std::string_view::npos)
      << opened.error().text();
}

// Both ends, as a program has them: the source takes pages from the memory that the two guests
// have alike, and from the stream where they have not.
TEST(RelayOfPages, PutsThemIntoTheGuestOfTheOtherEnd) {
  LoopbackNetwork network;
  LoopbackTransport here(network);
  LoopbackTransport there(network);
  const std::vector<Rail> source_rails{{.name = "wire", .transport = &here}};
  std::vector<Rail> destination_rails{{.name = "wire", .transport = &there}};
  destination_rails[0].listen = "there:0";
  const LoopbackControlPair control = make_loopback_control_pair();
  SocketPair near = make_socket_pair();
  SocketPair far = make_socket_pair();
  const std::unique_ptr<VmmStream> stream = make_unix_stream(std::move(near.ours)).value();
  const BlockContents contents = random_contents(5);
  Guest source_guest;
  source_guest.fill(contents);
  source_guest.memory()[2].name = "another";
  Guest guest;
  RelaySource source({.stream = *stream,
                      .rails = source_rails,
                      .control = *control.first,
                      .content = StreamContent::kGuest,
                      .make_extractor = [](const auto&) { return make_record_extractor(); },
                      .guest = &source_guest.memory()},
                     "0123456789abcdef", {});
  RelayDestination destination({[&](const OpenStream&) -> Result<StreamTarget> {
                                  return StreamTarget{
                                      .stream = make_unix_stream(std::move(far.ours)).value(),
                                      .guest = guest.memory()};
                                },
                                destination_rails, *control.second},
                               {});
  std::jthread running([&] { EXPECT_TRUE(destination.run()); });
  ASSERT_TRUE(source.open());
  EXPECT_TRUE(source.places_pages());
  std::vector<std::byte> bytes;
  const Record last{RecordKind::kPlace, 2, 0, 9, kBasePageBytes, 1};
  append(bytes, {RecordKind::kPlace, 0, 0, 5, kBasePageBytes, 0});
  append(bytes, last);
  EXPECT_TRUE(write_all(near.theirs.get(), bytes));
  near.theirs.reset();
  std::jthread reading([&] {
    std::byte more{};
    EXPECT_FALSE(read_all(far.theirs.get(), {&more, 1}));
    far.theirs.reset();
  });
  const Result<StreamTraffic> traffic = source.carry();
  control.first->shut_down();
  ASSERT_TRUE(traffic) << to_string(traffic.error());
  EXPECT_EQ(traffic->sent_bytes, bytes.size());
  EXPECT_EQ(traffic->placed_bytes, 2 * kBasePageBytes);
  const std::vector<std::byte> placed = guest.read_page(0, 5);
  EXPECT_TRUE(std::equal(placed.begin(), placed.end(), &contents[0][5 * kBasePageBytes]));
  EXPECT_TRUE(guest.read_page(2, 9) == content_of(last));
}

}  // namespace
}  // namespace godwit::relay
