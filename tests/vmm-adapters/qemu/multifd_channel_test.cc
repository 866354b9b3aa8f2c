// SPDX-License-Identifier: Apache-2.0
//
// Multifd channels that end here beside their main channel: the guest's memory becomes what it was,
// and nothing of one round overtakes anything of the round before.
#include "vmm-adapters/qemu/multifd_channel.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "tests/engine/relay/socket_pair.h"
#include "tests/vmm-adapters/qemu/stream/recorded.h"
#include "tests/vmm-adapters/qemu/stream/walk.h"
#include "vmm-adapters/linux/unix_stream.h"
#include "vmm-adapters/qemu/qemu_page_extractor.h"
#include "vmm-adapters/qemu/stream/stream_parser.h"

namespace godwit::qemu {
namespace {

using relay::make_socket_pair;
using relay::SocketPair;
using stream::Bytes;
using stream::MultifdEvent;
using stream::MultifdPacket;
using stream::MultifdParser;
using stream::read_recorded;

using Page = std::pair<std::string, uint64_t>;  // block, offset

// What reached guest memory or the destination QEMU, by whom, in the order of time.
struct Change {
  Page page;
  uint64_t round;
};
class Changes {
 public:
  void add(const Page& page, uint64_t round) {
    const std::lock_guard lock(mutex_);
    all_.push_back({page, round});
  }
  const std::vector<Change>& all() const { return all_; }
  size_t count() {
    const std::lock_guard lock(mutex_);
    return all_.size();
  }

 private:
  std::mutex mutex_;
  std::vector<Change> all_;
};

// A QEMU's end of a channel: writes all of it, in pieces, with pauses that are none of the test's.
std::jthread write_in_pieces(UniqueFd socket, const std::vector<std::byte>& bytes, uint64_t seed) {
  return std::jthread([socket = std::move(socket), &bytes, seed] {
    std::mt19937_64 random(seed);
    for (size_t at = 0; at < bytes.size();) {
      const size_t wanted = std::min<size_t>(bytes.size() - at, 1 + random() % 60'000);
      const ssize_t size = ::send(socket.get(), bytes.data() + at, wanted, MSG_NOSIGNAL);
      if (size <= 0) return;
      at += static_cast<size_t>(size);
      if (random() % 4 == 0) std::this_thread::yield();
    }
  });
}

// A lane for pages. What it settled belongs to the round that ends there.
class PageOutput final : public PageChannel::Output {
 public:
  PageOutput(const std::vector<BlockDescription>& blocks, Changes& changes)
      : blocks_(blocks), changes_(changes) {}

  Status place(uint32_t block, std::span<const PageRun> runs) override {
    for (const PageRun& run : runs) {
      for (uint64_t page = run.first_page; page < run.first_page + run.page_count; ++page)
        changes_.add({blocks_.at(block).name, page * kBasePageBytes}, rounds);
    }
    return {};
  }
  Status clear(uint32_t block, std::span<const PageRun> runs) override {
    return place(block, runs);
  }
  Status settle() override {
    ++rounds;
    return {};
  }
  std::atomic<uint64_t> rounds = 0;

 private:
  const std::vector<BlockDescription>& blocks_;
  Changes& changes_;
};

// The main channel's lane, with the destination QEMU behind it.
class MainOutput final : public PageExtractor::Output {
 public:
  MainOutput(const std::vector<BlockDescription>& blocks, Changes& changes)
      : blocks_(blocks), changes_(changes) {}

  Status pass_on(Bytes bytes) override {
    parser.feed(bytes);
    stream::StreamEvent event;
    while (parser.next(event)) take(event);
    return {};
  }
  Status place(uint32_t, uint64_t, Bytes) override {
    ADD_FAILURE() << "a page on the main channel";
    return {};
  }
  Status clear(uint32_t block, uint64_t offset_bytes, uint64_t) override {
    changes_.add({blocks_.at(block).name, offset_bytes}, rounds);
    return {};
  }
  Status settle() override {
    ++rounds;
    return {};
  }
  Status complete() override { return {}; }

  stream::StreamParser parser{stream::StreamParser::Options{}};
  std::map<Page, std::vector<std::byte>> memory;  // of blocks that are passed on
  uint64_t rounds = 0;
  bool has_flushes = false;

 private:
  void take(const stream::StreamEvent& event) {
    const auto page = [this] {
      return Page{parser.blocks()[parser.record().block].name, parser.record().offset_bytes};
    };
    if (const auto* record = std::get_if<stream::RamRecord>(&event.what)) {
      has_flushes |= record->type == stream::RamRecordType::kMultifdFlush;
      if (record->type == stream::RamRecordType::kZero)
        memory[page()].assign(kBasePageBytes, std::byte{0});
    }
    const auto* payload = std::get_if<stream::Payload>(&event.what);
    if (payload == nullptr || payload->kind != stream::PayloadKind::kPage) return;
    if (payload->at_bytes == 0) memory[page()].clear();
    stream::append(memory[page()], event.bytes);
  }

  const std::vector<BlockDescription>& blocks_;
  Changes& changes_;
};

// A migration that was recorded, with its channels ended here.
struct Terminated {
  Terminated(const std::string& recorded, std::vector<BlockDescription> placed_blocks)
      : blocks(std::move(placed_blocks)), main(blocks, changes) {
    for (const char* name : {".multifd-0", ".multifd-1"})
      streams.push_back(read_recorded(recorded + name));
    main_stream = read_recorded(recorded + ".main");
  }

  void run(uint64_t seed) {
    meeting.expect(streams.size());
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < streams.size(); ++i) {
      SocketPair pair = make_socket_pair();
      channels.push_back(
          MultifdChannel::make(make_unix_stream(std::move(pair.ours)).value(), blocks, meeting)
              .value());
      outputs.push_back(std::make_unique<PageOutput>(blocks, changes));
      threads.push_back(write_in_pieces(std::move(pair.theirs), streams[i], seed + i));
    }
    for (size_t i = 0; i < streams.size(); ++i)
      threads.emplace_back([this, i] { statuses[i] = read_channel(*channels[i], *outputs[i]); });
    main_status = read_main(stream::random_pieces(seed));
    // As the lanes do.
    for (const auto& channel : channels) {
      if (main_status) {
        channel->stream().end_reading();
      } else {
        channel->shut_down();
      }
    }
    threads.clear();
  }

  static Status read_channel(MultifdChannel& channel, PageOutput& output) {
    while (true) {
      ASSIGN_OR_RETURN(const VmmStream::State state, channel.read_some(output));
      if (state == VmmStream::State::kEnded) return {};
      if (state == VmmStream::State::kNotReady) RETURN_IF_ERROR(channel.stream().wait_readable());
    }
  }
  Status read_main(const stream::PieceSize& piece_size) {
    const auto extractor = make_page_extractor_with_channels(blocks, meeting);
    for (Bytes rest = main_stream; !rest.empty();) {
      const size_t size = std::min(piece_size(2), rest.size());
      RETURN_IF_ERROR(extractor->take_apart(rest.first(size), main));
      rest = rest.subspan(size);
    }
    return extractor->finish(main);
  }

  const std::vector<BlockDescription> blocks;
  Changes changes;
  MultifdMeeting meeting;
  MainOutput main;
  std::vector<std::byte> main_stream;
  std::vector<std::vector<std::byte>> streams;
  std::vector<std::unique_ptr<MultifdChannel>> channels;
  std::vector<std::unique_ptr<PageOutput>> outputs;
  std::array<Status, 2> statuses;
  Status main_status;
};

BlockDescription ram() {
  return {.name = "ram0", .size_bytes = 2 * kMiB, .page_size_bytes = kBasePageBytes};
}

// Which pages the channels list, and what they have of them at the end of each round.
struct Listed {
  explicit Listed(const std::vector<std::vector<std::byte>>& channels) {
    for (const std::vector<std::byte>& channel : channels) read(channel);
  }
  void read(const std::vector<std::byte>& channel) {
    MultifdParser parser;
    std::vector<Page> packet;
    uint64_t round = 0;
    bool sync = false;
    const auto end_round = [&] {
      if (std::exchange(sync, false)) ++round;
    };
    stream::walk<MultifdEvent>(
        parser, channel, stream::pieces_of(1 << 20), [&](const MultifdEvent& event) {
          if (const auto* header = std::get_if<MultifdPacket>(&event.what)) {
            end_round();
            sync = header->is_sync();
            packet.clear();
            for (uint32_t i = 0; i < header->normal_pages + header->zero_pages; ++i) {
              packet.emplace_back(header->block, header->offset_bytes(i));
              if (header->block == "ram0") ++ram_pages;
              versions[packet.back()][round].assign(kBasePageBytes, std::byte{0});
            }
          }
          if (const auto* pages = std::get_if<stream::MultifdPages>(&event.what)) {
            for (size_t at = 0; at < event.bytes.size();) {
              const uint64_t in_page = (pages->at_bytes + at) % kBasePageBytes;
              const size_t size = std::min(event.bytes.size() - at, kBasePageBytes - in_page);
              const Page& page = packet[(pages->at_bytes + at) / kBasePageBytes];
              std::ranges::copy(event.bytes.subspan(at, size),
                                versions[page][round].begin() + static_cast<ptrdiff_t>(in_page));
              at += size;
            }
          }
        });
    end_round();
    rounds = round;
  }

  std::map<Page, std::map<uint64_t, std::vector<std::byte>>> versions;
  uint64_t ram_pages = 0;
  uint64_t rounds = 0;
};

class MultifdTermination : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Qemu, MultifdTermination, testing::Values("multifd-7.2", "multifd-10.0"));

TEST_P(MultifdTermination, PlacesEveryPageRoundByRound) {
  const Listed listed(Terminated(GetParam(), {}).streams);
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Terminated migration(GetParam(), {ram()});

    migration.run(seed);

    ASSERT_TRUE(migration.main_status) << to_string(migration.main_status.error());
    for (size_t i = 0; i < migration.outputs.size(); ++i) {
      EXPECT_TRUE(migration.statuses[i]) << to_string(migration.statuses[i].error());
      EXPECT_EQ(migration.outputs[i]->rounds, listed.rounds);
      EXPECT_EQ(migration.channels[i]->read_bytes(), migration.streams[i].size());
    }
    EXPECT_EQ(migration.main.rounds, listed.rounds);
    std::set<Page> changed;
    uint64_t round = 0;
    for (const Change& change : migration.changes.all()) {
      ASSERT_GE(change.round, round) << "a page overtook a sync";
      round = change.round;
      changed.insert(change.page);
    }
    EXPECT_GT(round, 1U);
    for (const auto& [page, versions] : listed.versions)
      EXPECT_TRUE(page.first != "ram0" || changed.contains(page)) << page.second;
    EXPECT_GE(migration.changes.all().size(), listed.ram_pages);
    EXPECT_FALSE(migration.main.has_flushes);
    EXPECT_FALSE(migration.main.parser.reason());
    EXPECT_TRUE(migration.main.parser.ram_ended());
  }
}

TEST_P(MultifdTermination, PutsPagesOfOtherBlocksIntoTheMainChannelInTheirOrder) {
  const Listed listed(Terminated(GetParam(), {}).streams);
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Terminated migration(GetParam(), {});

    migration.run(seed);

    ASSERT_TRUE(migration.main_status) << to_string(migration.main_status.error());
    EXPECT_TRUE(migration.changes.all().empty());
    EXPECT_GT(listed.versions.size(), 160U);
    for (const auto& [page, versions] : listed.versions) {
      const auto found = migration.main.memory.find(page);
      ASSERT_NE(found, migration.main.memory.end()) << page.first << " " << page.second;
      EXPECT_EQ(found->second, versions.rbegin()->second) << page.first << " " << page.second;
    }
    EXPECT_FALSE(migration.main.has_flushes);
    EXPECT_FALSE(migration.main.parser.reason());
    EXPECT_TRUE(migration.main.parser.ram_ended());
  }
}

TEST_P(MultifdTermination, EndsWhenAChannelEndsBeforeItsTime) {
  Terminated migration(GetParam(), {ram()});
  migration.streams[1].resize(migration.streams[1].size() / 2);

  migration.run(1);

  ASSERT_FALSE(migration.main_status);
  EXPECT_EQ(migration.main_status.error().code, Errc::kGuest);
  EXPECT_TRUE(migration.statuses[1]);
}

TEST_P(MultifdTermination, EndsWhenTheMainChannelEndsBeforeItsTime) {
  Terminated migration(GetParam(), {ram()});
  migration.main_stream.resize(160);

  migration.run(1);

  EXPECT_TRUE(migration.statuses[0]);
  EXPECT_TRUE(migration.statuses[1]);
  EXPECT_LT(migration.main.rounds, Listed(migration.streams).rounds);
}

TEST_P(MultifdTermination, RefusesMemoryThatTheMainChannelDoesNotList) {
  BlockDescription larger = ram();
  larger.size_bytes *= 2;
  Terminated migration(GetParam(), {larger});

  migration.run(1);

  ASSERT_FALSE(migration.main_status);
  EXPECT_NE(to_string(migration.main_status.error()).find("other RAM"), std::string::npos);
}

// One channel alone, of packets made by hand.
struct MadeChannel {
  MadeChannel() {
    meeting.expect(1);
    const std::array<std::byte, 16> uuid{};
    stream::encode_multifd_hello({.version = 1, .uuid = uuid, .channel = 0}, bytes);
  }
  void packet(std::string_view block, std::vector<uint64_t> offsets, uint32_t flags = 0,
              uint32_t zero_pages = 0) {
    std::vector<std::byte> encoded;
    stream::ByteWriter writer(encoded);
    for (const uint64_t offset : offsets) writer.be64(offset);
    const auto pages = static_cast<uint32_t>(offsets.size()) - zero_pages;
    stream::encode_multifd_packet({.flags = flags,
                                   .pages_max = 128,
                                   .normal_pages = pages,
                                   .zero_pages = zero_pages,
                                   .payload_bytes = pages * static_cast<uint32_t>(kBasePageBytes),
                                   .number = 0,
                                   .block = block,
                                   .offsets = encoded},
                                  kBasePageBytes, bytes);
    bytes.resize(bytes.size() + pages * kBasePageBytes, std::byte{0x5a});
  }
  // Once. Somebody writes the packets.
  std::unique_ptr<MultifdChannel> open() {
    SocketPair pair = make_socket_pair();
    sending = write_in_pieces(std::move(pair.theirs), bytes, 1);
    return MultifdChannel::make(make_unix_stream(std::move(pair.ours)).value(), blocks, meeting)
        .value();
  }
  Status run() {
    const auto channel = open();
    Status status = Terminated::read_channel(*channel, output);
    channel->shut_down();
    return status;
  }

  std::vector<std::byte> bytes;
  const std::vector<BlockDescription> blocks = {ram()};
  Changes changes;
  MultifdMeeting meeting;
  PageOutput output{blocks, changes};
  std::jthread sending;
};

// The main channel may end before it has come to a sync: where nobody takes it any more.
TEST(MultifdChannel, WaitsForNobodyAtASyncOnceTheStreamHasEnded) {
  MadeChannel made;
  made.packet("ram0", {0}, stream::kMultifdFlagSync);
  const auto channel = made.open();
  Result<VmmStream::State> state = VmmStream::State::kOpen;
  std::jthread lane([&] {
    while (state && *state != VmmStream::State::kEnded) state = channel->read_some(made.output);
  });
  // It settles before it waits.
  while (made.output.rounds == 0) std::this_thread::yield();

  channel->end_reading();
  lane.join();

  EXPECT_TRUE(state);
}

TEST(MultifdChannel, PlacesNeighboursAsOneRunAndClearsThoseThatAreZero) {
  struct Runs final : PageChannel::Output {
    Status place(uint32_t, std::span<const PageRun> runs) override {
      seen.assign(runs.begin(), runs.end());
      return {};
    }
    Status clear(uint32_t, std::span<const PageRun> runs) override {
      cleared.assign(runs.begin(), runs.end());
      return {};
    }
    Status settle() override { return {}; }
    std::vector<PageRun> seen;
    std::vector<PageRun> cleared;
  } runs;
  MadeChannel made;
  made.packet("ram0", {0, 4096, 8192, 20480, 24576, 12288, 16384, 28672, 32768}, 0, 3);
  const auto channel = made.open();

  Result<VmmStream::State> state = VmmStream::State::kOpen;
  while (state && *state != VmmStream::State::kEnded) state = channel->read_some(runs);

  EXPECT_TRUE(state);
  EXPECT_EQ(runs.seen, (std::vector<PageRun>{{0, 3}, {5, 2}, {3, 1}}));
  EXPECT_EQ(runs.cleared, (std::vector<PageRun>{{4, 1}, {7, 2}}));
}

TEST(MultifdChannel, RefusesAPageBeyondItsBlock) {
  MadeChannel made;
  made.packet("ram0", {2 * kMiB});

  const Status status = made.run();

  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::kCorrupt);
  EXPECT_TRUE(made.changes.all().empty());
}

TEST(MultifdChannel, RefusesWhatItCannotFollow) {
  MadeChannel made;
  made.packet("ram0", {0}, 1 << 1);  // zlib

  const Status status = made.run();

  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::kGuest);
  EXPECT_NE(to_string(status.error()).find("zlib"), std::string::npos);
}

TEST(MultifdChannel, WakesWhenItIsShutDownAtASync) {
  MadeChannel made;
  made.packet("ram0", {0});
  made.packet("", {}, stream::kMultifdFlagSync);
  SocketPair pair = make_socket_pair();
  const auto channel = MultifdChannel::make(make_unix_stream(std::move(pair.ours)).value(),
                                            made.blocks, made.meeting)
                           .value();
  const std::jthread writer = write_in_pieces(std::move(pair.theirs), made.bytes, 1);
  Status status;
  {
    const std::jthread reader([&] { status = Terminated::read_channel(*channel, made.output); });
    while (made.changes.count() == 0) std::this_thread::yield();

    channel->shut_down();
  }

  EXPECT_EQ(made.changes.count(), 1U);
}

}  // namespace
}  // namespace godwit::qemu
