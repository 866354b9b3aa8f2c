// SPDX-License-Identifier: Apache-2.0
//
// A migration by multifd that a relay takes the pages out of: the destination's QEMU gets what it
// needs to keep its syncs, and everything that was not placed.
#include "vmm-adapters/qemu/relayed_multifd.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "tests/engine/relay/socket_pair.h"
#include "tests/vmm-adapters/qemu/stream/recorded.h"
#include "tests/vmm-adapters/qemu/stream/walk.h"
#include "vmm-adapters/linux/unix_stream.h"
#include "vmm-adapters/qemu/stream/stream_parser.h"

namespace godwit::qemu {
namespace {

using relay::make_socket_pair;
using relay::SocketPair;
using stream::Bytes;
using stream::MultifdEvent;
using stream::MultifdPacket;

BlockDescription ram() {
  return {.name = "ram0", .size_bytes = 2 * kMiB, .page_size_bytes = kBasePageBytes};
}

// Memory that is never touched.
GuestMemory memory_of(const BlockDescription& block, std::vector<std::byte>& bytes) {
  bytes.resize(block.size_bytes);
  return {{.name = block.name,
           .page_size_bytes = block.page_size_bytes,
           .numa_node = -1,
           .memory = bytes,
           .fd = -1,
           .fd_offset_bytes = 0}};
}

// A packet as a QEMU reads it.
struct Packet {
  uint32_t flags;
  uint64_t number;
  std::string block;
  std::vector<std::byte> offsets;
  std::vector<std::byte> payload;

  friend bool operator==(const Packet&, const Packet&) = default;
};

struct Channel {
  explicit Channel(Bytes bytes) {
    stream::MultifdParser parser;
    stream::walk<MultifdEvent>(
        parser, {bytes.begin(), bytes.end()}, stream::pieces_of(1 << 20),
        [&](const MultifdEvent& event) {
          if (std::holds_alternative<stream::MultifdHello>(event.what))
            stream::append(hello, event.bytes);
          if (const auto* packet = std::get_if<MultifdPacket>(&event.what))
            packets.push_back({packet->flags,
                               packet->number,
                               std::string(packet->block),
                               {packet->offsets.begin(), packet->offsets.end()},
                               {}});
          if (std::holds_alternative<stream::MultifdPages>(event.what))
            stream::append(packets.back().payload, event.bytes);
        });
    understood = !parser.reason();
  }

  std::vector<std::byte> hello;
  std::vector<Packet> packets;
  bool understood;
};

// Without pages of `block`, and packets that then say nothing.
std::vector<Packet> packets_without(const Channel& channel, const std::string& block) {
  std::vector<Packet> left;
  for (const Packet& packet : channel.packets) {
    if (packet.block != block) {
      left.push_back(packet);
    } else if ((packet.flags & stream::kMultifdFlagSync) != 0) {
      left.push_back({packet.flags, packet.number, {}, {}, {}});
    }
  }
  return left;
}

class Lane final : public PageChannel::Output {
 public:
  Status place(uint32_t, std::span<const PageRun> runs) override {
    for (const PageRun& run : runs) {
      for (uint64_t i = 0; i < run.page_count; ++i) pages.insert(run.first_page + i);
    }
    return {};
  }
  Status clear(uint32_t block, std::span<const PageRun> runs) override {
    return place(block, runs);
  }
  Status settle() override { return {}; }

  std::set<uint64_t> pages;
};

class Main final : public PageExtractor::Output {
 public:
  Status pass_on(Bytes bytes) override {
    stream::append(passed, bytes);
    return {};
  }
  Status place(uint32_t, uint64_t, Bytes) override { return {}; }
  Status clear(uint32_t, uint64_t, uint64_t) override { return {}; }
  Status settle() override { return {}; }
  Status complete() override { return {}; }

  std::vector<std::byte> passed;
};

Status read_all_of(PageChannel& channel, PageChannel::Output& output) {
  while (true) {
    ASSIGN_OR_RETURN(const VmmStream::State state, channel.read_some(output));
    if (state == VmmStream::State::kEnded) return {};
    if (state == VmmStream::State::kNotReady) RETURN_IF_ERROR(channel.stream().wait_readable());
  }
}

std::vector<std::byte> read_to_the_end(VmmStream& stream) {
  std::vector<std::byte> all;
  std::vector<std::byte> piece(1 << 16);
  while (true) {
    const auto progress = stream.read(piece);
    if (!progress || progress->state == VmmStream::State::kEnded) return all;
    if (progress->state == VmmStream::State::kNotReady) {
      if (!stream.wait_readable()) return all;
      continue;
    }
    stream::append(all, Bytes(piece).first(progress->bytes));
  }
}

void write_and_close(UniqueFd socket, Bytes bytes) {
  while (!bytes.empty()) {
    const ssize_t size = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size <= 0) return;
    bytes = bytes.subspan(static_cast<size_t>(size));
  }
}

size_t flushes_of(const std::vector<std::byte>& main) {
  stream::StreamParser parser{stream::StreamParser::Options{}};
  size_t flushes = 0;
  stream::walk<stream::StreamEvent>(
      parser, main, stream::pieces_of(1 << 20), [&](const stream::StreamEvent& event) {
        const auto* record = std::get_if<stream::RamRecord>(&event.what);
        if (record != nullptr && record->type == stream::RamRecordType::kMultifdFlush) ++flushes;
      });
  EXPECT_FALSE(parser.reason());
  EXPECT_TRUE(parser.ram_ended());
  return flushes;
}

// A migration that was recorded, relayed.
struct Relayed {
  explicit Relayed(const std::string& recorded)
      : main_stream(stream::read_recorded(recorded + ".main")) {
    for (const char* name : {".multifd-0", ".multifd-1"})
      streams.push_back(stream::read_recorded(recorded + name));
    extractor = multifd.make_extractor({ram()});
  }
  void run() {
    std::vector<std::jthread> threads;
    std::vector<std::unique_ptr<VmmStream>> carried;
    for (const std::vector<std::byte>& bytes : streams) {
      SocketPair pair = make_socket_pair();
      carried.push_back(multifd.join(std::move(pair.ours)).value());
      threads.emplace_back([theirs = std::move(pair.theirs), &bytes]() mutable {
        write_and_close(std::move(theirs), bytes);
      });
    }
    const std::vector<PageChannel*> channels = multifd.wait_for_all(Deadline{}).value();
    for (size_t i = 0; i < channels.size(); ++i) {
      threads.emplace_back([&, i] { statuses[i] = read_all_of(*channels[i], lanes[i]); });
      threads.emplace_back([&, i] { passed[i] = read_to_the_end(*carried[i]); });
    }
    main_status = extractor->take_apart(main_stream, main);
    if (main_status) main_status = extractor->finish(main);
    threads.clear();
  }

  std::vector<std::byte> ram_bytes;
  RelayedMultifd multifd{::getpid(), 2, memory_of(ram(), ram_bytes)};
  std::unique_ptr<PageExtractor> extractor;
  std::vector<std::byte> main_stream;
  std::vector<std::vector<std::byte>> streams;
  std::array<Lane, 2> lanes;
  std::array<std::vector<std::byte>, 2> passed;
  std::array<Status, 2> statuses;
  Main main;
  Status main_status;
};

class RelayedMultifdStream : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Qemu, RelayedMultifdStream,
                         testing::Values("multifd-7.2", "multifd-10.0"));

TEST_P(RelayedMultifdStream, PassesOnSyncsAndWhatIsNotPlaced) {
  Relayed migration(GetParam());

  migration.run();

  ASSERT_TRUE(migration.main_status) << to_string(migration.main_status.error());
  size_t other_pages = 0;
  for (size_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(migration.statuses[i]) << to_string(migration.statuses[i].error());
    const Channel in(migration.streams[i]);
    const Channel out(migration.passed[i]);
    EXPECT_TRUE(out.understood);
    EXPECT_EQ(out.hello, in.hello);
    EXPECT_EQ(out.packets, packets_without(in, "ram0"));
    EXPECT_LT(migration.passed[i].size(), migration.streams[i].size());
    for (const Packet& packet : out.packets) other_pages += packet.offsets.size() / 8;
  }
  EXPECT_GT(other_pages, 0U);
  EXPECT_GT(migration.lanes[0].pages.size() + migration.lanes[1].pages.size(), 100U);
  EXPECT_EQ(flushes_of(migration.main.passed), flushes_of(migration.main_stream));
}

TEST_P(RelayedMultifdStream, BreaksWhereNobodyTakesWhatIsPassedOn) {
  Relayed migration(GetParam());
  SocketPair pair = make_socket_pair();
  migration.multifd.join(std::move(pair.ours)).value().reset();
  const SocketPair other = make_socket_pair();
  auto carried = migration.multifd.join(UniqueFd(::dup(other.ours.get()))).value();
  const std::vector<PageChannel*> channels = migration.multifd.wait_for_all(Deadline{}).value();
  const std::jthread writer(
      [&pair, &migration] { write_and_close(std::move(pair.theirs), migration.streams[0]); });

  const Status status = read_all_of(*channels[0], migration.lanes[0]);
  channels[0]->shut_down();

  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::kPeerLost);
}

TEST(RelayedMultifd, SaysHowManyHaveNotCome) {
  Relayed migration("multifd-10.0");
  const auto carried = migration.multifd.join(make_socket_pair().ours);
  ASSERT_TRUE(carried);
  EXPECT_FALSE(migration.multifd.is_complete());

  const auto channels = migration.multifd.wait_for_all(Deadline{});

  ASSERT_FALSE(channels);
  EXPECT_EQ(channels.error().code, Errc::kTimeout);
  EXPECT_NE(to_string(channels.error()).find("1 of its 2"), std::string::npos);
}

TEST(RelayedMultifd, RefusesMoreThanThereAre) {
  Relayed migration("multifd-10.0");
  const auto first = migration.multifd.join(make_socket_pair().ours);
  const auto second = migration.multifd.join(make_socket_pair().ours);
  EXPECT_TRUE(first && second && migration.multifd.is_complete());

  EXPECT_FALSE(migration.multifd.join(make_socket_pair().ours));
}

TEST(RelayedMultifd, EndsAllWhenOneIsRaised) {
  Relayed migration("multifd-10.0");
  SocketPair pair = make_socket_pair();
  const auto carried = migration.multifd.join(std::move(pair.ours));
  ASSERT_TRUE(carried);
  Status waited;
  {
    const std::jthread waiter(
        [&] { waited = migration.multifd.wait_for_all(Deadline::max()).map([](const auto&) {}); });
    migration.multifd.interruption().raise(fail(Errc::kPeerLost, "gone").value());
  }

  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().code, Errc::kPeerLost);
  EXPECT_TRUE(read_to_the_end(**carried).empty());
  EXPECT_FALSE(migration.multifd.join(make_socket_pair().ours));
}

TEST(RelayedMultifd, KeepsTheChannelsUntilQemuEndsThem) {
  SocketPair pair = make_socket_pair();
  const std::vector<std::byte> more_than_sockets_hold(4 * kMiB);
  std::optional<Relayed> migration("multifd-10.0");
  ASSERT_TRUE(migration->multifd.join(std::move(pair.ours)));
  migration->multifd.interruption().raise(fail(Errc::kPeerLost, "gone").value());
  std::jthread end([&] { migration.reset(); });

  const ssize_t taken = ::send(pair.theirs.get(), more_than_sockets_hold.data(),
                               more_than_sockets_hold.size(), MSG_NOSIGNAL);

  EXPECT_EQ(taken, static_cast<ssize_t>(more_than_sockets_hold.size()));
  pair.theirs.reset();
  end.join();
}

TEST(RelayedMultifd, PlacesNothingWherePartOfMemoryIsOutOfReach) {
  std::vector<std::byte> bytes;
  RelayedMultifd multifd(::getpid(), 2, memory_of(ram(), bytes));
  BlockDescription more = ram();
  more.name = "ram1";

  const auto extractor = multifd.make_extractor({ram(), more});

  EXPECT_FALSE(extractor->note().empty());
  EXPECT_FALSE(multifd.join(make_socket_pair().ours));
  const std::vector<std::byte> stream = stream::read_recorded("multifd-10.0.main");
  Main main;
  ASSERT_TRUE(extractor->take_apart(stream, main));
  ASSERT_TRUE(extractor->finish(main));
  EXPECT_EQ(main.passed, stream);
}

}  // namespace
}  // namespace godwit::qemu
