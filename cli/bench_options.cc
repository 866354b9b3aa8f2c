// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_options.h"

#include <algorithm>

#include "cli/units.h"
#include "engine/base/units.h"
#include "transports/address/socket_address.h"

namespace godwit::cli {

Result<std::string> bench_address(const std::string& host) {
  // An IPv6 address has colons of its own, and is in brackets where a port follows.
  const bool bare_ipv6 = host.find(':') != host.rfind(':') && host.front() != '[';
  const bool has_port = !bare_ipv6 && host.rfind(':') != std::string::npos && host.back() != ']';
  std::string address = bare_ipv6 ? "[" + host + "]" : host;
  if (!has_port) address += std::string(":") + kBenchPort;
  RETURN_IF_ERROR(parse_host_port(address));
  return address;
}

Result<qualify::BenchOptions> to_bench_options(const BenchCliOptions& options) {
  qualify::BenchOptions result;
  ASSIGN_OR_RETURN(result.time, parse_duration(options.time));
  ASSIGN_OR_RETURN(result.memory_bytes, parse_size(options.memory));
  if (result.memory_bytes > kBenchMemoryBytesMax || result.memory_bytes % kBasePageBytes != 0)
    return fail(Errc::kRefused, "--memory: whole pages, at most {}",
                format_bytes(kBenchMemoryBytesMax));
  for (const std::string& text : options.sizes) {
    ASSIGN_OR_RETURN(const uint64_t size, parse_size(text));
    if (size < 8 || size > qualify::kTransferBytesMax)
      return fail(Errc::kRefused, "--size {}: from 8 B to {}", text,
                  format_bytes(qualify::kTransferBytesMax));
    result.sizes_bytes.push_back(static_cast<uint32_t>(size));
  }
  result.lanes = options.lanes;
  result.depths = options.depths;
  if (!options.memory_nodes.empty()) result.memory_nodes = options.memory_nodes;
  if (!options.peer_memory_nodes.empty()) result.peer_memory_nodes = options.peer_memory_nodes;
  if (std::max(result.memory_nodes.size(), result.peer_memory_nodes.size()) > kBenchMemoriesMax)
    return fail(Errc::kRefused, "memory on more than {} nodes at a time", kBenchMemoriesMax);
  const uint64_t largest = qualify::largest_transfer_bytes(result);
  const uint64_t lanes = result.lanes.empty()
                             ? qualify::kLanesToTryMax
                             : *std::max_element(result.lanes.begin(), result.lanes.end());
  if (result.memory_bytes / lanes < largest)
    return fail(Errc::kRefused, "--memory {}: {} lanes with transfers of {} need {}",
                options.memory, lanes, format_bytes(largest), format_bytes(lanes * largest));
  return result;
}

}  // namespace godwit::cli
