// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/vcpu_threads.h"

namespace godwit::qemu {
namespace {

// More than QEMU has: a number beyond it is not one.
constexpr int64_t kVcpusMax = 1 << 16;

}  // namespace

Result<std::vector<pid_t>> query_vcpu_threads(QmpClient& client, Deadline deadline) {
  ASSIGN_OR_RETURN(const Json cpus, client.execute("query-cpus-fast", {}, deadline));
  return vcpu_threads_in(cpus);
}

std::vector<pid_t> vcpu_threads_in(const Json& cpus) {
  std::vector<pid_t> threads;
  if (!cpus.is_array()) return threads;
  for (const Json& cpu : cpus) {
    const int64_t number = integer_or(cpu, "cpu-index", -1);
    if (number < 0 || number >= kVcpusMax) continue;
    const auto index = static_cast<size_t>(number);
    if (threads.size() <= index) threads.resize(index + 1);
    threads[index] = static_cast<pid_t>(integer_or(cpu, "thread-id", 0));
  }
  return threads;
}

}  // namespace godwit::qemu
