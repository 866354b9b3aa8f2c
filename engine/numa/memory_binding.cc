// SPDX-License-Identifier: Apache-2.0
#include "engine/numa/memory_binding.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

namespace godwit::numa {
namespace {

constexpr size_t kNodesMax = 1024;  // of the kernel's largest configuration
constexpr size_t kWordBits = 64;

}  // namespace

Status bind_memory(std::span<std::byte> memory, int node) {
  if (node < 0 || static_cast<size_t>(node) >= kNodesMax)
    return fail(Errc::kRefused, "NUMA node {} cannot be", node);
  std::array<uint64_t, kNodesMax / kWordBits> nodes{};
  const auto bit = static_cast<size_t>(node);
  nodes[bit / kWordBits] = uint64_t{1} << (bit % kWordBits);
  // SAFETY: the kernel changes nothing but the policy of this mapping. It takes one bit less than
  // it is told that there are.
  if (::syscall(SYS_mbind, memory.data(), memory.size(), MPOL_BIND, nodes.data(), kNodesMax + 1,
                0) == 0)
    return {};
  if (errno == EINVAL) return fail(Errc::kRefused, "there is no memory on NUMA node {}", node);
  return fail_errno(errno, "bind memory to NUMA node {}", node);
}

}  // namespace godwit::numa
