// SPDX-License-Identifier: Apache-2.0
#include "engine/numa/page_location.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "engine/base/units.h"
#include "engine/numa/node_distances.h"

namespace godwit::numa {
namespace {

constexpr uint64_t kSamplesMax = 64;

}  // namespace

Result<std::vector<int>> find_page_nodes(pid_t pid, std::span<const uint64_t> addresses) {
  std::vector<int> nodes(addresses.size(), kUnknownNode);
  if (addresses.empty()) return nodes;
  // No nodes to move to (nullptr): the kernel only answers. The addresses are numbers to it, as
  // wide as its pointers.
  if (::syscall(SYS_move_pages, pid, addresses.size(), addresses.data(), nullptr, nodes.data(),
                0) != 0) {
    return fail_errno(errno, "ask on which NUMA nodes pages of process {} are", pid);
  }
  // A negative answer is an errno: ENOENT for no page, EFAULT for the page of zeroes.
  for (int& node : nodes) node = std::max(node, kUnknownNode);
  return nodes;
}

Result<int> find_node(const MappedRange& range) {
  const uint64_t page_count = range.size_bytes / kBasePageBytes;
  const uint64_t sample_count = std::min(page_count, kSamplesMax);
  std::vector<uint64_t> addresses;
  for (uint64_t i = 0; i < sample_count; i++)
    addresses.push_back(range.start + i * page_count / sample_count * kBasePageBytes);
  ASSIGN_OR_RETURN(std::vector<int> nodes, find_page_nodes(range.pid, addresses));
  return most_frequent_node(nodes);
}

int most_frequent_node(std::span<const int> nodes) {
  std::map<int, size_t> counts;
  for (const int node : nodes)
    if (node != kUnknownNode) counts[node]++;
  const auto most = std::max_element(
      counts.begin(), counts.end(),
      [](const auto& one, const auto& other) { return one.second < other.second; });
  return most == counts.end() ? kUnknownNode : most->first;
}

}  // namespace godwit::numa
