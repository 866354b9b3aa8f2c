// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/rdma_features.h"

#include <fmt/core.h>
#include <linux/pci_regs.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>

#include "transports/rdma/queue_sizes.h"
#include "transports/rdma/rdma_device.h"

namespace godwit {
namespace {

bool pages_on_demand(ibv_context* context) {
  ibv_device_attr_ex attributes{};
  if (ibv_query_device_ex(context, nullptr, &attributes) != 0) return false;
  constexpr uint32_t kNeeded = IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ;
  const ibv_odp_caps& caps = attributes.odp_caps;
  return (caps.general_caps & IBV_ODP_SUPPORT) != 0 &&
         (caps.per_transport_caps.rc_odp_caps & kNeeded) == kNeeded;
}

// Nothing says so but the attempt: a device that can do it complains of the descriptor.
bool takes_dma_buf(ibv_context* context) {
  const VerbsHandle<ibv_pd> domain(ibv_alloc_pd(context));
  if (domain == nullptr) return false;
  const VerbsHandle<ibv_mr> region(ibv_reg_dmabuf_mr(domain.get(), 0, 0, 0, -1, 0));
  return region == nullptr && errno == EBADF;
}

std::vector<std::byte> pci_configuration(const std::string& device) {
  std::ifstream file(fmt::format("/sys/class/infiniband/{}/device/config", device),
                     std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

}  // namespace

std::optional<bool> relaxed_ordering_of(std::span<const std::byte> configuration) {
  const auto byte_at = [&](size_t at) { return std::to_integer<size_t>(configuration[at]); };
  if (configuration.size() < PCI_STD_HEADER_SIZEOF) return std::nullopt;
  size_t at = byte_at(PCI_CAPABILITY_LIST);
  // A list that leads in a circle ends with the space.
  for (size_t i = 0; i < configuration.size() / sizeof(uint32_t); ++i) {
    if (at < PCI_STD_HEADER_SIZEOF || at + PCI_EXP_DEVSTA > configuration.size())
      return std::nullopt;
    if (byte_at(at) == PCI_CAP_ID_EXP)
      return (byte_at(at + PCI_EXP_DEVCTL) & PCI_EXP_DEVCTL_RELAX_EN) != 0;
    at = byte_at(at + PCI_CAP_LIST_NEXT);
  }
  return std::nullopt;
}

std::vector<RdmaFeatures> list_rdma_features() {
  std::vector<RdmaFeatures> list;
  for (ibv_context* context : all_device_contexts()) {
    ibv_device_attr attributes{};
    if (ibv_query_device(context, &attributes) != 0) continue;
    const std::string name = ibv_get_device_name(context->device);
    const DeviceLimits limits = limits_of(attributes);
    list.push_back({.device = name,
                    .on_demand_paging = pages_on_demand(context),
                    .dma_buf = takes_dma_buf(context),
                    .relaxed_ordering = relaxed_ordering_of(pci_configuration(name)),
                    .region_bytes_max = attributes.max_mr_size,
                    .requests_max = limits.requests_max,
                    .reads_in_flight_max = limits.reads_asked_max});
  }
  return list;
}

}  // namespace godwit
