// SPDX-License-Identifier: Apache-2.0
//
// What is read out of sysfs: a folder with the same files.
#include "engine/qualify/link_facts.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

namespace godwit::qualify {
namespace {

class LinkFacts : public testing::Test {
 protected:
  LinkFacts() {
    std::string pattern = testing::TempDir() + "sysfs-XXXXXX";
    sysfs_ = ::mkdtemp(pattern.data());
  }
  ~LinkFacts() override { std::filesystem::remove_all(sysfs_); }

  void write(const std::map<std::string, std::string>& files) {
    for (const auto& [path, content] : files) {
      const std::filesystem::path file = sysfs_ + "/" + path;
      std::filesystem::create_directories(file.parent_path());
      std::ofstream(file) << content << "\n";
    }
  }
  void write_pci(const std::string& speed, const std::string& width) {
    write({{"class/net/eth9/device/current_link_speed", speed},
           {"class/net/eth9/device/max_link_speed", "16.0 GT/s PCIe"},
           {"class/net/eth9/device/current_link_width", width},
           {"class/net/eth9/device/max_link_width", "16"}});
  }

  std::string sysfs_;
};

TEST_F(LinkFacts, InterfaceHasItsSpeedAndMtu) {
  write({{"class/net/eth9/speed", "100000"}, {"class/net/eth9/mtu", "9000"}});
  write_pci("16.0 GT/s PCIe", "16");

  const LinkDescription link = describe_interface("eth9", sysfs_);

  EXPECT_EQ(link.line_rate_bits_per_s, 100'000'000'000U);
  EXPECT_EQ(link.mtu_bytes, 9000U);
  EXPECT_TRUE(link.suspicions.empty());
}

TEST_F(LinkFacts, SoftwareHasNoLineRate) {
  write({{"class/net/veth9/speed", "10000"}, {"class/net/veth9/mtu", "1500"}});

  EXPECT_EQ(describe_interface("veth9", sysfs_).line_rate_bits_per_s, 0U);
  EXPECT_EQ(describe_interface("", sysfs_).line_rate_bits_per_s, 0U);
  EXPECT_EQ(describe_interface("none", sysfs_).mtu_bytes, 0U);
}

TEST_F(LinkFacts, InterfaceThatIsDownHasNoLineRate) {
  write({{"class/net/eth9/speed", "-1"}, {"class/net/eth9/device/vendor", "0x15b3"}});

  EXPECT_EQ(describe_interface("eth9", sysfs_).line_rate_bits_per_s, 0U);
}

TEST_F(LinkFacts, NarrowSlotIsSuspected) {
  write({{"class/net/eth9/speed", "100000"}, {"class/net/eth9/mtu", "9000"}});
  write_pci("8.0 GT/s PCIe", "8");

  const LinkDescription link = describe_interface("eth9", sysfs_);

  ASSERT_EQ(link.suspicions.size(), 3U);
  EXPECT_NE(link.suspicions[0].find("63.0 Gbit/s"), std::string::npos) << link.suspicions[0];
  EXPECT_NE(link.suspicions[1].find("x8"), std::string::npos) << link.suspicions[1];
  EXPECT_NE(link.suspicions[2].find("8 GT/s"), std::string::npos) << link.suspicions[2];
}

TEST_F(LinkFacts, SmallPacketsIommuAndGovernorAreSuspected) {
  write({{"class/net/eth9/speed", "25000"},
         {"class/net/eth9/mtu", "1500"},
         {"class/net/eth9/device/iommu_group/type", "DMA-FQ"},
         {"devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave"}});

  EXPECT_EQ(describe_interface("eth9", sysfs_).suspicions.size(), 3U);
}

TEST_F(LinkFacts, RdmaPortHasItsRate) {
  write({{"class/infiniband/mlx9_0/ports/2/rate", "100 Gb/sec (4X EDR)"},
         {"class/infiniband/mlx9_0/device/vendor", "0x15b3"},
         {"class/net/eth9/mtu", "4200"}});

  const LinkDescription link =
      describe_rdma_port({.device = "mlx9_0", .port = 2, .interface = "eth9"}, sysfs_);

  EXPECT_EQ(link.device, "mlx9_0");
  EXPECT_EQ(link.line_rate_bits_per_s, 100'000'000'000U);
  EXPECT_EQ(link.mtu_bytes, 4200U);
}

}  // namespace
}  // namespace godwit::qualify
