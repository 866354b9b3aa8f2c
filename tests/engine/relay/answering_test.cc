// SPDX-License-Identifier: Apache-2.0
//
// Pages that one VMM asks another for, read from the guest's memory there by a lane of their own
// and put into the stream that goes on meanwhile, from end to end.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <thread>

#include "engine/relay/relay_destination.h"
#include "engine/relay/relay_source.h"
#include "tests/engine/relay/placing_rig.h"
#include "transports/loopback/loopback_control_channel.h"
#include "transports/tcp/tcp_transport.h"
#include "vmm-adapters/linux/unix_stream.h"

namespace godwit::relay {
namespace {

// The stream consists of units, between which a page can be put in: a unit that says so, and its
// content. A request is a page of block 0.
struct Unit {
  uint64_t mark;
  uint64_t number;
};
constexpr uint64_t kPageMark = 0x9a9e;
using PageContent = std::array<std::byte, kBasePageBytes>;

class MadeUpRequests final : public PageRequests {
 public:
  Status take_requests(std::span<const std::byte> piece, Said& output) override {
    for (const std::byte byte : piece) {
      request_.push_back(byte);
      if (request_.size() < sizeof(uint64_t)) continue;
      uint64_t page = 0;
      std::memcpy(&page, request_.data(), sizeof(page));
      output.request(
          {.block = 0, .offset_bytes = page * kBasePageBytes, .size_bytes = kBasePageBytes});
      request_.clear();
    }
    return {};
  }
  Status end_of_requests(Said&) override { return {}; }
  Status take_apart(std::span<const std::byte> piece, Told& output) override {
    while (!piece.empty()) {
      const size_t size = std::min(piece.size(), sizeof(Unit) - within_bytes_);
      RETURN_IF_ERROR(output.pass_on(piece.first(size)));
      piece = piece.subspan(size);
      within_bytes_ = (within_bytes_ + size) % sizeof(Unit);
      if (may_insert()) RETURN_IF_ERROR(output.at_border());
    }
    return {};
  }
  Status finish(Told&) override {
    ended_ = true;
    return {};
  }
  bool may_insert() const override { return within_bytes_ == 0 && !ended_; }
  void insert(const RequestedPage& page, std::span<const std::byte> content,
              std::vector<std::byte>& output) override {
    const Unit unit{kPageMark, page.offset_bytes / kBasePageBytes};
    const auto head = std::as_bytes(std::span(&unit, 1));
    output.insert(output.end(), head.begin(), head.end());
    output.insert(output.end(), content.begin(), content.end());
  }

 private:
  std::vector<std::byte> request_;
  size_t within_bytes_ = 0;
  bool ended_ = false;
};

class AnsweredRelay : public testing::TestWithParam<Wire> {
 protected:
  void SetUp() override {
    if (!PlacingRig::can_run(GetParam())) GTEST_SKIP() << "no TCP transport here";
    make_transports();
    source_rails_ = {{.name = "wire", .transport = source_transport_.get()}};
    destination_rails_ = {{.name = "wire", .transport = destination_transport_.get()}};
    destination_rails_[0].listen = GetParam() == Wire::kTcp ? "127.0.0.1:0" : "there:0";
    contents_ = random_contents(7);
    guest_.fill(contents_);
    SocketPair near = make_socket_pair();
    SocketPair far = make_socket_pair();
    near_ = std::move(near.theirs);
    far_ = std::move(far.theirs);
    near_stream_ = make_unix_stream(std::move(near.ours)).value();
    source_ = std::make_unique<RelaySource>(RelaySource::Parts{.stream = *near_stream_,
                                                               .rails = source_rails_,
                                                               .control = *control_.first,
                                                               .requested = &guest_.memory()},
                                            "0123456789abcdef", RelayOptions{});
    destination_ = std::make_unique<RelayDestination>(
        RelayDestination::Parts{.connect = [fd = std::make_shared<UniqueFd>(std::move(far.ours))](
                                               const OpenStream&) -> Result<StreamTarget> {
                                  return StreamTarget{.stream =
                                                          make_unix_stream(std::move(*fd)).value()};
                                },
                                .rails = destination_rails_,
                                .control = *control_.second,
                                .make_requests =
                                    [this](const std::vector<BlockDescription>& blocks) {
                                      blocks_ = blocks;
                                      return std::make_unique<MadeUpRequests>();
                                    }},
        RelayOptions{});
    destination_thread_ = std::jthread([this] { arrived_ = destination_->run(); });
    source_thread_ = std::jthread([this] {
      const Status opened = source_->open();
      sent_ = opened ? source_->carry() : tl::unexpected<Error>(opened.error());
      near_stream_.reset();
      control_.first->shut_down();
    });
  }

  void make_transports() {
    if (GetParam() == Wire::kTcp) {
      source_transport_ = TcpTransport::open().value();
      destination_transport_ = TcpTransport::open().value();
      return;
    }
    source_transport_ = std::make_unique<LoopbackTransport>(network_);
    destination_transport_ = std::make_unique<LoopbackTransport>(network_);
  }

  void ask(uint64_t page) const {
    EXPECT_TRUE(write_all(far_.get(), std::as_bytes(std::span(&page, 1))));
  }
  void send_units(uint64_t first, uint64_t count) const {
    std::vector<Unit> units;
    for (uint64_t i = 0; i < count; ++i) units.push_back({1, first + i});
    EXPECT_TRUE(write_all(near_.get(), std::as_bytes(std::span(units))));
  }
  // The next unit, and the page that it announces.
  Unit read_unit() {
    Unit unit{};
    EXPECT_TRUE(read_all(far_.get(), std::as_writable_bytes(std::span(&unit, 1))));
    if (unit.mark != kPageMark) return unit;
    PageContent content{};
    EXPECT_TRUE(read_all(far_.get(), content));
    EXPECT_TRUE(
        std::equal(content.begin(), content.end(),
                   contents_[0].begin() + static_cast<ptrdiff_t>(unit.number * kBasePageBytes)));
    return unit;
  }
  void finish() {
    near_.reset();
    std::byte more{};
    EXPECT_FALSE(read_all(far_.get(), {&more, 1}));
    far_.reset();
    source_thread_.join();
    destination_thread_.join();
    ASSERT_TRUE(sent_) << to_string(sent_.error());
    ASSERT_TRUE(arrived_) << to_string(arrived_.error());
  }
  void TearDown() override {
    far_.reset();
    near_.reset();
  }

  LoopbackNetwork network_;
  std::unique_ptr<Transport> source_transport_;
  std::unique_ptr<Transport> destination_transport_;
  std::vector<Rail> source_rails_;
  std::vector<Rail> destination_rails_;
  LoopbackControlPair control_ = make_loopback_control_pair();
  Guest guest_;
  BlockContents contents_;
  std::vector<BlockDescription> blocks_;  // as the destination was told them
  std::unique_ptr<VmmStream> near_stream_;
  UniqueFd near_;
  UniqueFd far_;
  std::unique_ptr<RelaySource> source_;
  std::unique_ptr<RelayDestination> destination_;
  Result<StreamTraffic> sent_;
  Result<StreamTraffic> arrived_;
  std::jthread source_thread_;
  std::jthread destination_thread_;
};

// Nothing goes through the stream that a page could come with.
TEST_P(AnsweredRelay, BringsPagesWhileTheSourceIsSilent) {
  for (uint64_t page = 0; page < kBlockPages[0]; ++page) {
    ask(page);
    const Unit unit = read_unit();
    EXPECT_EQ(unit.mark, kPageMark);
    EXPECT_EQ(unit.number, page);
  }
  finish();
  EXPECT_EQ(arrived_->answered_pages, kBlockPages[0]);
  ASSERT_EQ(blocks_.size(), guest_.memory().size());
  EXPECT_EQ(blocks_[1].name, guest_.memory()[1].name);
  EXPECT_EQ(blocks_[1].size_bytes, guest_.memory()[1].size_bytes());
}

TEST_P(AnsweredRelay, PutsPagesBetweenUnitsOfAStreamThatRuns) {
  constexpr uint64_t kUnits = 200'000;
  std::jthread writer([&] { send_units(0, kUnits); });
  uint64_t asked = 0;
  uint64_t answered = 0;
  std::map<uint64_t, int> pages;
  for (uint64_t next = 0; next < kUnits;) {
    if (next % 1000 == 0 && asked < kBlockPages[0] && asked == next / 1000) ask(asked++);
    const Unit unit = read_unit();
    if (unit.mark == kPageMark) {
      ++pages[unit.number];
      ++answered;
    } else {
      ASSERT_EQ(unit.number, next);
      ++next;
    }
  }
  for (; answered < asked; ++answered) ++pages[read_unit().number];
  EXPECT_EQ(pages.size(), asked);
  writer.join();
  finish();
  EXPECT_EQ(arrived_->answered_pages, asked);
}

TEST_P(AnsweredRelay, WaitsWithAPageForTheRestOfAUnit) {
  const Unit unit{1, 5};
  const auto bytes = std::as_bytes(std::span(&unit, 1));
  std::array<std::byte, sizeof(Unit)> here{};
  EXPECT_TRUE(write_all(near_.get(), bytes.first(3)));
  EXPECT_TRUE(read_all(far_.get(), std::span(here).first(3)));
  ask(2);
  // The answer to the first is on its way when the second is asked.
  ask(3);
  EXPECT_TRUE(write_all(near_.get(), bytes.subspan(3)));
  EXPECT_TRUE(read_all(far_.get(), std::span(here).subspan(3)));
  EXPECT_TRUE(std::ranges::equal(here, bytes));
  EXPECT_EQ(read_unit().number, 2U);
  EXPECT_EQ(read_unit().number, 3U);
  finish();
}

TEST_P(AnsweredRelay, EndsWithPagesThatNobodyWaitsForAnyMore) {
  const std::array<std::byte, 3> part{};
  EXPECT_TRUE(write_all(near_.get(), part));
  std::array<std::byte, 3> here{};
  EXPECT_TRUE(read_all(far_.get(), here));
  for (uint64_t page = 0; page < kBlockPages[0]; ++page) ask(page);
  finish();
  EXPECT_EQ(arrived_->answered_pages, 0U);
}

TEST_P(AnsweredRelay, BreaksWhenTheSourceIsStopped) {
  ask(0);
  EXPECT_EQ(read_unit().mark, kPageMark);
  source_->stop();
  std::byte more{};
  EXPECT_FALSE(read_all(far_.get(), {&more, 1}));
  source_thread_.join();
  destination_thread_.join();
  EXPECT_FALSE(sent_);
  EXPECT_FALSE(arrived_);
}

INSTANTIATE_TEST_SUITE_P(Wires, AnsweredRelay, testing::Values(Wire::kLoopback, Wire::kTcp),
                         [](const auto& instance) {
                           return instance.param == Wire::kTcp ? "Tcp" : "Loopback";
                         });

}  // namespace
}  // namespace godwit::relay
