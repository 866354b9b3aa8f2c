// SPDX-License-Identifier: Apache-2.0
#include "engine/numa/memory_binding.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <vector>

#include "engine/base/check.h"
#include "engine/numa/node_distances.h"

namespace godwit::numa {

Status prefer_node(std::span<std::byte> memory, int node) {
  if (node == kUnknownNode || memory.empty()) return {};
  CHECK(node >= 0);
  constexpr size_t kWordBits = 8 * sizeof(unsigned long);
  const auto number = static_cast<size_t>(node);
  std::vector<unsigned long> mask(number / kWordBits + 1);
  mask.back() = 1UL << number % kWordBits;
  // The kernel takes the number of bits for one more than it is.
  if (::syscall(SYS_mbind, memory.data(), memory.size(), MPOL_PREFERRED, mask.data(),
                mask.size() * kWordBits + 1, 0) != 0) {
    const char* hint = errno == EPERM ? " (a container's seccomp?)" : "";
    return fail_errno(errno, "place {} bytes of memory on NUMA node {}{}", memory.size(), node,
                      hint);
  }
  return {};
}

}  // namespace godwit::numa
