// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/link_facts.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string_view>

#include "engine/base/system_files.h"

namespace godwit::qualify {
namespace {

// Nothing for what is not a number above zero: an interface that is down has the speed -1.
std::optional<double> read_number(const std::string& path) {
  std::istringstream text(read_line(path));
  double number = 0;
  text >> number;
  if (!text || number <= 0) return std::nullopt;
  return number;
}

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// Bits per second in one direction of a PCI Express link that carries `transfers` GT/s on each of
// `width` lanes, after its line code.
double pcie_bits_per_s(double transfers, double width) {
  const double coding = transfers < 8 ? 0.8 : 128.0 / 130;
  return transfers * 1e9 * coding * width;
}

void suspect_pcie(const std::string& device, LinkDescription& link) {
  const auto speed = read_number(device + "/current_link_speed");  // "8.0 GT/s PCIe"
  const auto width = read_number(device + "/current_link_width");
  if (!speed || !width) return;
  const auto speed_max = read_number(device + "/max_link_speed");
  const auto width_max = read_number(device + "/max_link_width");
  if (pcie_bits_per_s(*speed, *width) < static_cast<double>(link.line_rate_bits_per_s))
    link.suspicions.push_back(
        fmt::format("PCIe x{:.0f} at {} GT/s carries {:.1f} Gbit/s, less than the line rate",
                    *width, *speed, pcie_bits_per_s(*speed, *width) / 1e9));
  if (width_max && *width < *width_max)
    link.suspicions.push_back(
        fmt::format("PCIe width is x{:.0f}, the device could x{:.0f}", *width, *width_max));
  if (speed_max && *speed < *speed_max)
    link.suspicions.push_back(
        fmt::format("PCIe runs at {} GT/s, the device could {} GT/s", *speed, *speed_max));
}

// Each transfer is looked up, and each region entered: a matter of latency and registration.
void suspect_iommu(const std::string& device, LinkDescription& link) {
  const std::string type = read_line(device + "/iommu_group/type");
  if (type.starts_with("DMA"))
    link.suspicions.push_back(fmt::format("the IOMMU translates for this device ({})", type));
}

void suspect_mtu(LinkDescription& link) {
  constexpr uint64_t kFast = 10'000'000'000;
  constexpr uint32_t kOrdinaryMtu = 1500;
  if (link.line_rate_bits_per_s >= kFast && link.mtu_bytes > 0 && link.mtu_bytes <= kOrdinaryMtu)
    link.suspicions.push_back(
        fmt::format("the MTU is {}: jumbo frames (9000) cost less CPU", link.mtu_bytes));
}

void suspect_cpu_frequency(const std::string& sysfs, LinkDescription& link) {
  const std::string governor =
      read_line(sysfs + "/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  if (governor == "powersave" || governor == "conservative")
    link.suspicions.push_back(fmt::format("the CPUs' frequency governor is '{}'", governor));
}

void suspect_machine(const std::string& device, const std::string& sysfs, LinkDescription& link) {
  suspect_pcie(device, link);
  suspect_mtu(link);
  suspect_iommu(device, link);
  suspect_cpu_frequency(sysfs, link);
}

}  // namespace

LinkDescription describe_interface(const std::string& interface, const std::string& sysfs) {
  LinkDescription link{.device = interface};
  if (interface.empty()) return link;
  const std::string folder = sysfs + "/class/net/" + interface;
  link.mtu_bytes = static_cast<uint32_t>(read_number(folder + "/mtu").value_or(0));
  if (!exists(folder + "/device")) return link;
  const auto megabits = read_number(folder + "/speed");
  link.line_rate_bits_per_s = static_cast<uint64_t>(megabits.value_or(0) * 1e6);
  suspect_machine(folder + "/device", sysfs, link);
  return link;
}

LinkDescription describe_rdma_port(const RdmaPort& port, const std::string& sysfs) {
  LinkDescription link{.device = port.device};
  const std::string folder = sysfs + "/class/infiniband/" + port.device;
  if (!port.interface.empty())
    link.mtu_bytes = static_cast<uint32_t>(
        read_number(sysfs + "/class/net/" + port.interface + "/mtu").value_or(0));
  if (!exists(folder + "/device")) return link;
  // "100 Gb/sec (4X EDR)"
  const auto gigabits = read_number(fmt::format("{}/ports/{}/rate", folder, port.port));
  link.line_rate_bits_per_s = static_cast<uint64_t>(gigabits.value_or(0) * 1e9);
  suspect_machine(folder + "/device", sysfs, link);
  return link;
}

}  // namespace godwit::qualify
