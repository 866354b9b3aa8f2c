// SPDX-License-Identifier: Apache-2.0
#include "engine/base/thread_priority.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "engine/base/check.h"

namespace godwit {
namespace {

// Above every ordinary thread, and below whatever else is real-time on the host.
constexpr uint32_t kLowestRealTime = 1;
// The kernel takes 0.1 ms at least. From Linux 6.12 on it is the slice of an ordinary thread, after
// which another may have its turn, and which decides how soon this one has its own; before, it is
// ignored.
constexpr uint64_t kShortSliceNs = 100'000;

// A nice value. The kernel's weights of 0 and 5 are as 3 to 1 (sched_prio_to_weight[]).
constexpr int32_t kGivesWay = 5;

constexpr uint64_t kResetOnFork = 0x01;  // SCHED_FLAG_RESET_ON_FORK

// struct sched_attr as the kernel has had it from the beginning. Its header and the C library's
// cannot be had together.
struct Attributes {
  uint32_t size = sizeof(Attributes);
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime_ns = 0;
  uint64_t deadline_ns = 0;
  uint64_t period_ns = 0;
};

bool set(const Attributes& attributes) {
  return syscall(SYS_sched_setattr, 0, &attributes, 0) == 0;
}

bool get(Attributes& attributes) {
  return syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) == 0;
}

// A limit on how long a real-time thread may run without sleeping ends with the end of the process.
bool may_run_for_long() {
  rlimit limit{};
  return getrlimit(RLIMIT_RTTIME, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY;
}

}  // namespace

Urgency make_this_thread_urgent() {
  Attributes before;
  if (!get(before)) return Urgency::kOrdinary;
  Attributes attributes;
  attributes.flags = kResetOnFork;
  if (may_run_for_long()) {
    attributes.policy = SCHED_FIFO;
    attributes.priority = kLowestRealTime;
    if (set(attributes)) return Urgency::kRealTime;
  }
  attributes.policy = SCHED_OTHER;
  attributes.priority = 0;
  attributes.nice = before.nice;
  attributes.runtime_ns = kShortSliceNs;
  if (!set(attributes)) return Urgency::kOrdinary;
  Attributes after;
  return get(after) && after.runtime_ns == kShortSliceNs ? Urgency::kShortSlice
                                                         : Urgency::kOrdinary;
}

bool make_this_thread_give_way() {
  Attributes attributes;
  if (!get(attributes)) return false;
  attributes.flags = kResetOnFork;
  attributes.nice = std::max(attributes.nice, kGivesWay);
  return set(attributes);
}

const char* to_string(Urgency urgency) {
  switch (urgency) {
    case Urgency::kRealTime:
      return "real-time";
    case Urgency::kShortSlice:
      return "short slice";
    case Urgency::kOrdinary:
      return "ordinary";
  }
  CHECK(false && "an Urgency outside its enumerators");
}

}  // namespace godwit
