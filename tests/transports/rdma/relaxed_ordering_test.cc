// SPDX-License-Identifier: Apache-2.0
//
// The bit of a PCI Express function's configuration that allows relaxed ordering.
#include <gtest/gtest.h>
#include <linux/pci_regs.h>

#include <vector>

#include "transports/rdma/rdma_features.h"

namespace godwit {
namespace {

// A function with two capabilities: power management at 0x40, PCI Express at 0x60.
std::vector<std::byte> configuration(unsigned device_control) {
  std::vector<std::byte> bytes(256);
  const auto set = [&](size_t at, unsigned value) { bytes[at] = static_cast<std::byte>(value); };
  set(PCI_CAPABILITY_LIST, 0x40);
  set(0x40, PCI_CAP_ID_PM);
  set(0x41, 0x60);
  set(0x60, PCI_CAP_ID_EXP);
  set(0x60 + PCI_EXP_DEVCTL, device_control);
  return bytes;
}

TEST(RelaxedOrdering, IsOnWhenTheBitIsSet) {
  EXPECT_EQ(relaxed_ordering_of(configuration(PCI_EXP_DEVCTL_RELAX_EN)), true);
  EXPECT_EQ(relaxed_ordering_of(configuration(0xff & ~PCI_EXP_DEVCTL_RELAX_EN)), false);
}

TEST(RelaxedOrdering, IsNotKnownOfADeviceThatIsNoPciExpressFunction) {
  std::vector<std::byte> bytes = configuration(0);
  bytes[0x41] = std::byte{0};

  EXPECT_EQ(relaxed_ordering_of(bytes), std::nullopt);
  EXPECT_EQ(relaxed_ordering_of({}), std::nullopt);
}

TEST(RelaxedOrdering, IsNotKnownWhereTheConfigurationEndsBeforeIt) {
  const std::vector<std::byte> bytes = configuration(PCI_EXP_DEVCTL_RELAX_EN);

  // What the kernel shows without privileges.
  EXPECT_EQ(relaxed_ordering_of(std::span(bytes).first(64)), std::nullopt);
}

TEST(RelaxedOrdering, IsNotLookedForInACircle) {
  std::vector<std::byte> bytes = configuration(0);
  bytes[0x41] = std::byte{0x40};

  EXPECT_EQ(relaxed_ordering_of(bytes), std::nullopt);
}

}  // namespace
}  // namespace godwit
