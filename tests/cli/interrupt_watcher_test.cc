// SPDX-License-Identifier: Apache-2.0
#include "cli/interrupt_watcher.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <future>

#include "engine/base/time.h"

namespace godwit::cli {
namespace {

// Signals go to the whole process: they have to be blocked before gtest or anybody else has a
// thread.
class InterruptWatcherTest : public testing::Test {
 protected:
  InterruptWatcherTest() { block_interrupt_signals(); }
};

TEST_F(InterruptWatcherTest, RunsTheActionOnceHoweverOftenItIsInterrupted) {
  auto watcher = InterruptWatcher::start();
  ASSERT_TRUE(watcher);
  std::promise<void> acted;
  int actions = 0;
  (*watcher)->set_action([&] {
    ++actions;
    acted.set_value();
  });

  ::kill(::getpid(), SIGINT);
  ASSERT_EQ(acted.get_future().wait_for(seconds(20)), std::future_status::ready);
  ::kill(::getpid(), SIGTERM);
  ::kill(::getpid(), SIGINT);
  watcher->reset();

  EXPECT_EQ(actions, 1);
}

TEST_F(InterruptWatcherTest, RemembersAnInterruptThatCameTooEarly) {
  auto watcher = InterruptWatcher::start();
  ASSERT_TRUE(watcher);
  ::kill(::getpid(), SIGINT);
  pollfd entry{(*watcher)->fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&entry, 1, 20'000), 1);

  int actions = 0;
  (*watcher)->set_action([&] { ++actions; });

  EXPECT_TRUE((*watcher)->interrupted());
  EXPECT_EQ(actions, 1);
}

TEST_F(InterruptWatcherTest, EndsWithoutHavingBeenInterrupted) {
  auto watcher = InterruptWatcher::start();
  ASSERT_TRUE(watcher);

  EXPECT_FALSE((*watcher)->interrupted());
  watcher->reset();
}

}  // namespace
}  // namespace godwit::cli
