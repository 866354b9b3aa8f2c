// SPDX-License-Identifier: Apache-2.0
//
// Streams whose peer must not see them end yet, over a real socket.
#include "vmm-adapters/linux/lasting_stream.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <thread>
#include <vector>

#include "engine/base/unique_fd.h"
#include "vmm-adapters/linux/unix_stream.h"

namespace godwit {
namespace {

class LastingStreamTest : public testing::Test {
 protected:
  LastingStreamTest() {
    std::array<int, 2> fds{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
    ours_ = UniqueFd(fds[0]);
    theirs_ = UniqueFd(fds[1]);
  }
  void connect() { stream_.connect(make_unix_stream(std::move(ours_)).value()); }
  void expect_cancelled() {
    std::array<std::byte, 8> bytes{};
    const Result<VmmStream::Progress> progress = stream_.read(bytes);
    ASSERT_FALSE(progress);
    EXPECT_EQ(progress.error().code, Errc::kCancelled);
  }
  bool peer_sees_end() const {
    pollfd entry{theirs_.get(), POLLIN, 0};
    char byte = 0;
    return ::poll(&entry, 1, 0) == 1 && ::read(theirs_.get(), &byte, 1) == 0;
  }
  // More than sockets hold. Returns whether somebody took it.
  bool write_a_lot() const {
    const std::vector<char> bytes(4 << 20, 'x');
    return ::send(theirs_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }

  UniqueFd ours_;
  UniqueFd theirs_;
  LastingStream stream_;
};

TEST_F(LastingStreamTest, IsShutDownByWhoCameBeforeItsConnection) {
  stream_.shut_down();
  connect();
  expect_cancelled();
  EXPECT_TRUE(peer_sees_end());
}

TEST_F(LastingStreamTest, EndsAtOnceWhereItDoesNotLast) {
  connect();
  stream_.shut_down();
  EXPECT_TRUE(peer_sees_end());
}

TEST_F(LastingStreamTest, TakesWhatThePeerWritesUntilItsEndMayBeSeen) {
  connect();
  stream_.last();
  stream_.end_writing();
  stream_.end_reading();
  EXPECT_FALSE(peer_sees_end());
  EXPECT_TRUE(write_a_lot());

  stream_.shut_down();
  expect_cancelled();
  EXPECT_FALSE(peer_sees_end());
  EXPECT_TRUE(write_a_lot());

  const std::jthread waiting([this] { EXPECT_TRUE(stream_.wait_readable()); });
  stream_.stop_lasting();
  EXPECT_TRUE(peer_sees_end());
  EXPECT_FALSE(write_a_lot());
}

TEST_F(LastingStreamTest, LastsNoLongerThanItsPeerOrAtMostSoLong) {
  connect();
  stream_.last_until_peer_ends(milliseconds(1));
  stream_.shut_down();
  EXPECT_TRUE(stream_.wait_readable());
  EXPECT_TRUE(peer_sees_end());

  std::array<int, 2> fds{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
  LastingStream other;
  other.connect(make_unix_stream(UniqueFd(fds[0])).value());
  other.last_until_peer_ends(std::chrono::hours(1));
  other.shut_down();
  ::close(fds[1]);
}

TEST_F(LastingStreamTest, PutsNothingOffThatNobodyEnded) {
  connect();
  stream_.last();
  stream_.stop_lasting();
  EXPECT_FALSE(peer_sees_end());
  stream_.end_writing();
  EXPECT_TRUE(peer_sees_end());
}

}  // namespace
}  // namespace godwit
