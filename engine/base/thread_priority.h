// SPDX-License-Identifier: Apache-2.0
//
// How urgent the work of a thread is to the scheduler: more than others' for the threads that serve
// page faults, for which somebody waits, and less for those that fetch what nobody waits for.
//
// A fault that takes 40 us takes 4 ms when one of its threads has to wait for its turn on a CPU
// behind threads that are always busy. A nice value does not help against the VMM's threads: the
// kernel's autogroups share a CPU between sessions, whatever the niceness within each. Real-time
// priority does, and a shorter slice in part.
#pragma once

#include <atomic>
#include <cstdint>

namespace godwit {

// What an urgent thread got.
enum class Urgency : uint8_t {
  kRealTime = 1,    // it runs as soon as it can run
  kShortSlice = 2,  // it soon runs, for a short time
  kOrdinary = 3,    // as it was
};

// Makes the calling thread urgent, as far as this process may (CAP_SYS_NICE, and a share for it of
// real-time in its control group). Threads and processes that it starts are ordinary ones.
//
// Requires of a thread that got kRealTime: it sleeps when it has nothing to do, in the kernel, and
// does not poll. What it must not do by mistake, the kernel's limit on real-time (95 % of a CPU)
// bounds.
Urgency make_this_thread_urgent();

// Makes the calling thread give way to ordinary ones that want its CPU: it then has a quarter of
// it, which is enough to come to an end on a host where all CPUs are busy. For a guest that runs
// while its memory arrives: on a host with few CPUs it had half of one until all was there. False,
// and the thread as it was, where the kernel refuses.
bool make_this_thread_give_way();

// The least that one of several threads got. Thread: any.
class LeastUrgency {
 public:
  void note(Urgency got) {
    Urgency least = least_.load(std::memory_order_relaxed);
    while (got > least && !least_.compare_exchange_weak(least, got, std::memory_order_relaxed)) {
    }
  }
  // kRealTime when there was none.
  Urgency get() const { return least_.load(std::memory_order_relaxed); }

 private:
  std::atomic<Urgency> least_{Urgency::kRealTime};
};

// "real-time", "short slice", "ordinary".
const char* to_string(Urgency urgency);

}  // namespace godwit
