// SPDX-License-Identifier: Apache-2.0
#include "engine/numa/thread_binding.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "engine/base/check.h"

namespace godwit::numa {
namespace {

// More than any kernel is built for (NR_CPUS is at most 8192). It refuses masks that are too short
// for the CPUs it has.
constexpr size_t kCpusMax = 16384;
constexpr size_t kSetCount = kCpusMax / CPU_SETSIZE;

}  // namespace

Status bind_this_thread(const CpuList& cpus) {
  if (cpus.empty()) return {};
  std::vector<cpu_set_t> mask(kSetCount);
  for (const int cpu : cpus) {
    CHECK(cpu >= 0);
    CPU_SET_S(static_cast<size_t>(cpu), mask.size() * sizeof(cpu_set_t), mask.data());
  }
  if (::sched_setaffinity(0, mask.size() * sizeof(cpu_set_t), mask.data()) != 0)
    return fail_errno(errno, "bind a thread to CPUs {}", to_string(cpus));
  return {};
}

Result<CpuList> cpus_of_this_thread() {
  std::vector<cpu_set_t> mask(kSetCount);
  if (::sched_getaffinity(0, mask.size() * sizeof(cpu_set_t), mask.data()) != 0)
    return fail_errno(errno, "ask which CPUs a thread may run on");
  CpuList cpus;
  for (size_t cpu = 0; cpu < kCpusMax; cpu++)
    if (CPU_ISSET_S(cpu, mask.size() * sizeof(cpu_set_t), mask.data()) != 0)
      cpus.push_back(static_cast<int>(cpu));
  return cpus;
}

}  // namespace godwit::numa
