// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/identity.h"

#include <gtest/gtest.h>

namespace godwit::qemu {
namespace {

GuestIdentity sample() {
  return {
      {"vmm", "qemu"}, {"version", "7.2.22"},  {"machine", "pc"},     {"cpu", "qemu64-x86_64-cpu"},
      {"cpus", "2"},   {"accelerator", "kvm"}, {"cpuid.1.0.EDX", "f"}};
}

// What is said when the destination differs in one key; empty when nothing is.
std::string refusal(const std::string& key, const std::string& value) {
  GuestIdentity destination = sample();
  destination[key] = value;
  Status status = check_identities(sample(), destination);
  if (status) return "";
  EXPECT_EQ(status.error().code, Errc::kRefused);
  return to_string(status.error());
}

TEST(QemuIdentity, AcceptsItself) {
  EXPECT_TRUE(check_identities(sample(), sample()));
}

TEST(QemuIdentity, AcceptsANewerQemu) {
  EXPECT_EQ(refusal("version", "7.2.23"), "");
  EXPECT_EQ(refusal("version", "8.0.0"), "");
  EXPECT_EQ(refusal("version", "10.0.2"), "");
}

TEST(QemuIdentity, AcceptsAnotherStableReleaseOfTheSameVersion) {
  EXPECT_EQ(refusal("version", "7.2.1"), "");
}

TEST(QemuIdentity, RefusesAnOlderQemu) {
  EXPECT_NE(refusal("version", "7.1.0").find("older"), std::string::npos);
  EXPECT_NE(refusal("version", "6.9.0").find("older"), std::string::npos);
}

TEST(QemuIdentity, RefusesAVersionThatIsNone) {
  EXPECT_NE(refusal("version", "new").find("'new'"), std::string::npos);
  EXPECT_NE(refusal("version", ""), "");
}

TEST(QemuIdentity, NamesWhatDiffers) {
  EXPECT_NE(refusal("machine", "q35").find("machine type"), std::string::npos);
  EXPECT_NE(refusal("cpu", "max").find("CPU model"), std::string::npos);
  EXPECT_NE(refusal("cpus", "4").find("number of CPUs"), std::string::npos);
  EXPECT_NE(refusal("accelerator", "tcg").find("accelerator"), std::string::npos);
  EXPECT_NE(refusal("vmm", "synthetic").find("VMM"), std::string::npos);
}

TEST(QemuIdentity, AcceptsMoreCpuFeaturesAndRefusesFewer) {
  EXPECT_EQ(refusal("cpuid.1.0.EDX", "1f"), "");
  EXPECT_EQ(refusal("cpuid.7.0.EBX", "1"), "");
  EXPECT_NE(refusal("cpuid.1.0.EDX", "7").find("bits 0x8"), std::string::npos);
}

TEST(QemuIdentity, RefusesASourceThatSaysNothing) {
  EXPECT_FALSE(check_identities({}, sample()));
}

}  // namespace
}  // namespace godwit::qemu
