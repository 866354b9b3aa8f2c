// SPDX-License-Identifier: Apache-2.0
//
// Byte streams between two hosts in one process: real sockets at the ends, loopback between. Every
// byte is compared, both ways, and every way in which a stream can end is tried.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>

#include "engine/relay/relay_destination.h"
#include "engine/relay/relay_source.h"
#include "tests/engine/relay/socket_pair.h"
#include "tests/support/same_bytes.h"
#include "transports/loopback/loopback_control_channel.h"
#include "transports/loopback/loopback_transport.h"
#include "vmm-adapters/linux/unix_stream.h"

namespace godwit::relay {
namespace {

std::vector<std::byte> random_bytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(size);
  for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(&bytes[at], &word, std::min(sizeof(word), size - at));
  }
  return bytes;
}

// Writes in pieces of random size; returns whether all of it was taken.
bool write_all(int fd, std::span<const std::byte> bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  while (!bytes.empty()) {
    const size_t piece = std::min<size_t>(bytes.size(), 1 + random() % 300'000);
    const ssize_t size = ::send(fd, bytes.data(), piece, MSG_NOSIGNAL);
    if (size <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(size));
  }
  return true;
}

std::vector<std::byte> read_all(int fd) {
  std::vector<std::byte> bytes;
  std::vector<std::byte> buffer(100'000);
  while (true) {
    const ssize_t size = ::read(fd, buffer.data(), buffer.size());
    if (size <= 0) return bytes;
    bytes.insert(bytes.end(), buffer.begin(), buffer.begin() + size);
  }
}

// Two hosts, each with a VMM's end of a socket in the hands of the test.
class Relay : public testing::Test {
 protected:
  void start(const LoopbackOptions& options = {}) {
    source_transport_ = std::make_unique<LoopbackTransport>(network_, options);
    destination_transport_ = std::make_unique<LoopbackTransport>(network_);
    source_rails_ = {{.name = "wire", .transport = source_transport_.get()}};
    destination_rails_ = {{.name = "wire", .transport = destination_transport_.get()}};
    destination_rails_[0].listen = "there:0";
    control_ = make_loopback_control_pair();
    SocketPair near = make_socket_pair();
    SocketPair far = make_socket_pair();
    near_ = std::move(near.theirs);
    far_ = std::move(far.theirs);
    near_stream_ = make_unix_stream(std::move(near.ours)).value();
    source_ = std::make_unique<RelaySource>(
        RelaySource::Parts{*near_stream_, source_rails_, *control_.first}, "0123456789abcdef",
        RelayOptions{});
    destination_ = std::make_unique<RelayDestination>(
        RelayDestination::Parts{
            [fd = std::make_shared<UniqueFd>(std::move(far.ours))](const OpenStream&) {
              StreamTarget target;
              target.stream = make_unix_stream(std::move(*fd)).value();
              return target;
            },
            destination_rails_, *control_.second},
        RelayOptions{});
    destination_thread_ = std::jthread([this] { arrived_ = destination_->run(); });
    source_thread_ = std::jthread([this] {
      const Status opened = source_->open();
      sent_ = opened ? source_->carry() : tl::unexpected<Error>(opened.error());
      // What a process does that has ended.
      near_stream_.reset();
      control_.first->shut_down();
    });
  }
  void finish() {
    source_thread_.join();
    destination_thread_.join();
    destination_.reset();
  }

  LoopbackNetwork network_;
  std::unique_ptr<LoopbackTransport> source_transport_;
  std::unique_ptr<LoopbackTransport> destination_transport_;
  std::vector<Rail> source_rails_;
  std::vector<Rail> destination_rails_;
  LoopbackControlPair control_;
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

TEST_F(Relay, CarriesBothWays) {
  const auto there = random_bytes(50 * kMiB + 12'345, 1);
  const auto back = random_bytes(3 * kMiB + 1, 2);
  start();
  std::jthread near_writer([&] {
    EXPECT_TRUE(write_all(near_.get(), there, 3));
    ::shutdown(near_.get(), SHUT_WR);
  });
  std::jthread far_writer([&] {
    EXPECT_TRUE(write_all(far_.get(), back, 4));
    ::shutdown(far_.get(), SHUT_WR);
  });
  std::vector<std::byte> back_here;
  std::jthread near_reader([&] { back_here = read_all(near_.get()); });
  EXPECT_TRUE(test::same_bytes(read_all(far_.get()), there));
  near_reader.join();
  EXPECT_TRUE(test::same_bytes(back_here, back));
  finish();
  ASSERT_TRUE(sent_) << to_string(sent_.error());
  ASSERT_TRUE(arrived_) << to_string(arrived_.error());
  EXPECT_EQ(sent_->sent_bytes, there.size());
  EXPECT_EQ(arrived_->received_bytes, there.size());
  EXPECT_EQ(sent_->received_bytes, back.size());
}

TEST_F(Relay, PassesOnWhatIsSmallAtOnce) {
  start();
  for (int i = 0; i < 100; ++i) {
    const auto word = static_cast<char>('a' + i % 26);
    ASSERT_EQ(::write(near_.get(), &word, 1), 1);
    char heard = 0;
    ASSERT_EQ(::read(far_.get(), &heard, 1), 1);
    ASSERT_EQ(heard, word);
    ASSERT_EQ(::write(far_.get(), &word, 1), 1);
    ASSERT_EQ(::read(near_.get(), &heard, 1), 1);
  }
  near_.reset();
  far_.reset();
  finish();
  EXPECT_TRUE(sent_);
}

TEST_F(Relay, HoldsUpAWriterWhoseReaderRests) {
  const auto bytes = random_bytes(32 * kMiB, 5);
  start();
  // Until there is no room for long.
  size_t taken = 0;
  pollfd writable{.fd = near_.get(), .events = POLLOUT, .revents = 0};
  while (taken < bytes.size() && ::poll(&writable, 1, 300) > 0) {
    const ssize_t size =
        ::send(near_.get(), bytes.data() + taken, bytes.size() - taken, MSG_DONTWAIT);
    if (size > 0) taken += static_cast<size_t>(size);
  }
  EXPECT_LT(taken, bytes.size());
  const std::jthread writer([&] {
    EXPECT_TRUE(write_all(near_.get(), std::span(bytes).subspan(taken), 6));
    ::shutdown(near_.get(), SHUT_WR);
  });
  EXPECT_TRUE(test::same_bytes(read_all(far_.get()), bytes));
  far_.reset();
  finish();
  EXPECT_TRUE(sent_) << to_string(sent_.error());
}

TEST_F(Relay, TellsTheWriterThatNobodyReadsAnyMore) {
  start();
  far_.reset();
  EXPECT_FALSE(write_all(near_.get(), random_bytes(64 * kMiB, 7), 8));
  near_.reset();
  finish();
  // Nothing broke but what the two ends wanted.
  EXPECT_TRUE(sent_) << to_string(sent_.error());
  EXPECT_TRUE(arrived_) << to_string(arrived_.error());
}

TEST_F(Relay, BreaksBothEndsWhenTheConnectionEnds) {
  start({.faults = {.disconnect_at_operation = 20}});
  std::jthread writer(
      [&] { EXPECT_FALSE(write_all(near_.get(), random_bytes(64 * kMiB, 9), 10)); });
  // The reader sees an end, and less than there was.
  EXPECT_LT(read_all(far_.get()).size(), 64 * kMiB);
  finish();
  ASSERT_FALSE(sent_);
  EXPECT_EQ(sent_.error().code, Errc::kPeerLost);
  EXPECT_FALSE(arrived_);
}

TEST_F(Relay, StopsAtEitherEnd) {
  start();
  char byte = 'x';
  ASSERT_EQ(::write(near_.get(), &byte, 1), 1);
  ASSERT_EQ(::read(far_.get(), &byte, 1), 1);
  destination_->stop();
  finish();
  ASSERT_FALSE(sent_);
  EXPECT_NE(sent_.error().text().find("stopped at the destination"), std::string_view::npos)
      << sent_.error().text();
  EXPECT_EQ(::read(near_.get(), &byte, 1), 0);
}

TEST(RelayDestination, SaysWhyTheStreamHasNowhereToGo) {
  LoopbackNetwork network;
  LoopbackTransport here(network);
  LoopbackTransport there(network);
  const std::vector<Rail> source_rails{{.name = "wire", .transport = &here}};
  std::vector<Rail> destination_rails{{.name = "wire", .transport = &there}};
  destination_rails[0].listen = "there:0";
  const LoopbackControlPair control = make_loopback_control_pair();
  SocketPair near = make_socket_pair();
  const std::unique_ptr<VmmStream> stream = make_unix_stream(std::move(near.ours)).value();
  RelaySource source({*stream, source_rails, *control.first}, "0123456789abcdef", {});
  RelayDestination destination({[](const OpenStream&) -> Result<StreamTarget> {
                                  return fail(Errc::kRefused, "QEMU does not listen");
                                },
                                destination_rails, *control.second},
                               {});
  const std::jthread running([&] { EXPECT_FALSE(destination.run()); });
  const Status opened = source.open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::kRefused);
  EXPECT_EQ(opened.error().text(), "QEMU does not listen");
  control.first->shut_down();
}

}  // namespace
}  // namespace godwit::relay
