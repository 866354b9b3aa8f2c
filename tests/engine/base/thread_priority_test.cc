// SPDX-License-Identifier: Apache-2.0
#include "engine/base/thread_priority.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include <thread>

namespace godwit {
namespace {

int policy_of_this_thread() {
  return sched_getscheduler(0) & ~SCHED_RESET_ON_FORK;
}

bool may_be_real_time() {
  bool may = false;
  std::thread([&may] {
    const sched_param lowest{.sched_priority = sched_get_priority_min(SCHED_FIFO)};
    may = sched_setscheduler(0, SCHED_FIFO, &lowest) == 0;
  }).join();
  return may;
}

TEST(ThreadPriority, MakesAThreadRealTimeWhereItMay) {
  if (!may_be_real_time()) GTEST_SKIP() << "this process may not have real-time threads";
  std::thread([] {
    EXPECT_EQ(make_this_thread_urgent(), Urgency::kRealTime);
    EXPECT_EQ(policy_of_this_thread(), SCHED_FIFO);
    // Again changes nothing.
    EXPECT_EQ(make_this_thread_urgent(), Urgency::kRealTime);
  }).join();
}

TEST(ThreadPriority, LeavesThreadsThatAnUrgentOneStartsOrdinary) {
  std::thread([] {
    make_this_thread_urgent();
    std::thread([] { EXPECT_EQ(policy_of_this_thread(), SCHED_OTHER); }).join();
  }).join();
}

TEST(ThreadPriority, MakesAThreadGiveWayAndNoOther) {
  const int before = getpriority(PRIO_PROCESS, 0);
  if (before > 5) GTEST_SKIP() << "this process gives way already";
  std::thread([] {
    EXPECT_TRUE(make_this_thread_give_way());
    EXPECT_EQ(getpriority(PRIO_PROCESS, 0), 5);
    EXPECT_EQ(policy_of_this_thread(), SCHED_OTHER);
  }).join();
  EXPECT_EQ(getpriority(PRIO_PROCESS, 0), before);
}

TEST(ThreadPriority, IsNotRealTimeWhereThatMayEndTheProcess) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_RTTIME, &before), 0);
  rlimit limited = before;
  limited.rlim_cur = 1'000'000;
  ASSERT_EQ(setrlimit(RLIMIT_RTTIME, &limited), 0);

  std::thread([] {
    EXPECT_NE(make_this_thread_urgent(), Urgency::kRealTime);
    EXPECT_EQ(policy_of_this_thread(), SCHED_OTHER);
  }).join();

  EXPECT_EQ(setrlimit(RLIMIT_RTTIME, &before), 0);
}

}  // namespace
}  // namespace godwit
