// SPDX-License-Identifier: Apache-2.0
//
// What the RDMA devices of this host can do beyond what every one can. For showing: README.md says
// what of it is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace godwit {

struct RdmaFeatures {
  std::string device;
  bool on_demand_paging;  // may read and write memory that is not pinned, over a queue pair as ours
  bool dma_buf;           // may register memory of other devices
  std::optional<bool> relaxed_ordering;  // as relaxed_ordering_of() says
  uint64_t region_bytes_max;
  uint32_t requests_max;
  uint32_t reads_in_flight_max;
};

// In the order of the devices, also of those that are down. Empty on a host without RDMA.
std::vector<RdmaFeatures> list_rdma_features();

// Whether a PCI Express function may send writes that pass others, by the bit of its configuration
// that allows it. Nothing where that cannot be read: without privileges it ends before the bit, and
// a device that is no PCI Express function has none.
std::optional<bool> relaxed_ordering_of(std::span<const std::byte> configuration);

}  // namespace godwit
