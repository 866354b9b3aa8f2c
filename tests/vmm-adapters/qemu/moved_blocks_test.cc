// SPDX-License-Identifier: Apache-2.0
//
// Which RAM blocks can be moved outside QEMU's stream, from facts as QEMU tells them.
#include <gtest/gtest.h>

#include "engine/base/units.h"
#include "vmm-adapters/qemu/guest_ram.h"

namespace godwit::qemu {
namespace {

RamFacts guest_with(const std::string& backend_type, Version version = {7, 2, 22}) {
  RamFacts facts{};
  facts.version = version;
  facts.backends = {{"ram0", backend_type, kGiB, Sharing::kShared, -1}};
  facts.blocks = {{"ram0", 4 * kKiB, kGiB}, {"pc.bios", 4 * kKiB, 256 * kKiB}};
  facts.mapped = {{0, 0, "ram0"}};
  facts.guest_ram_bytes = kGiB;
  return facts;
}

std::string refusal(const RamFacts& facts) {
  Result<std::vector<RamBlock>> moved = choose_moved_blocks(facts);
  EXPECT_FALSE(moved);
  if (moved) return "";
  EXPECT_EQ(moved.error().code, Errc::kRefused);
  return to_string(moved.error());
}

TEST(MovedBlocks, AreTheSharedBackendsAndNotTheRoms) {
  Result<std::vector<RamBlock>> moved = choose_moved_blocks(guest_with("memory-backend-file"));

  ASSERT_TRUE(moved) << to_string(moved.error());
  ASSERT_EQ(moved->size(), 1U);
  EXPECT_EQ((*moved)[0].name, "ram0");
}

TEST(MovedBlocks, TakeFilesInEveryVersionAndMemfdsUpTo8Point0) {
  EXPECT_TRUE(choose_moved_blocks(guest_with("memory-backend-file", {10, 0, 2})));
  EXPECT_TRUE(choose_moved_blocks(guest_with("memory-backend-memfd", {8, 0, 5})));
  EXPECT_NE(refusal(guest_with("memory-backend-memfd", {8, 1, 0})).find("memory-backend-file"),
            std::string::npos);
}

TEST(MovedBlocks, AreKnownByTheirQomPathInOldMachineTypes) {
  RamFacts facts = guest_with("memory-backend-file");
  facts.blocks[0].name = "/objects/ram0";

  Result<std::vector<RamBlock>> moved = choose_moved_blocks(facts);

  ASSERT_TRUE(moved) << to_string(moved.error());
  EXPECT_EQ((*moved)[0].name, "/objects/ram0");
}

TEST(MovedBlocks, LeaveOutABackendThatNoDeviceUses) {
  RamFacts facts = guest_with("memory-backend-file");
  facts.backends.push_back({"spare", "memory-backend-ram", kGiB, Sharing::kPrivate, -1});
  facts.blocks.push_back({"spare", 4 * kKiB, kGiB});

  Result<std::vector<RamBlock>> moved = choose_moved_blocks(facts);

  ASSERT_TRUE(moved) << to_string(moved.error());
  EXPECT_EQ(moved->size(), 1U);
}

TEST(MovedBlocks, RefuseAPluggedDimmThatIsPrivate) {
  RamFacts facts = guest_with("memory-backend-file");
  facts.backends.push_back({"dimm", "memory-backend-ram", kGiB, Sharing::kPrivate, -1});
  facts.blocks.push_back({"dimm", 4 * kKiB, kGiB});
  facts.mapped.push_back({4 * kGiB, 0, "dimm"});
  facts.guest_ram_bytes = 2 * kGiB;

  EXPECT_NE(refusal(facts).find("'dimm'"), std::string::npos);
}

TEST(MovedBlocks, RefuseLargePrivateMemoryWithoutABackend) {
  RamFacts facts = guest_with("memory-backend-file");
  facts.blocks.push_back({"pc.ram", 4 * kKiB, kGiB});
  facts.mapped.push_back({4 * kGiB, 0, "pc.ram"});

  EXPECT_NE(refusal(facts).find("'pc.ram'"), std::string::npos);
}

TEST(MovedBlocks, RefuseWhenTheyAreNotAllOfTheGuestsMemory) {
  RamFacts facts = guest_with("memory-backend-file");
  facts.guest_ram_bytes = kGiB + kMiB;

  EXPECT_NE(refusal(facts).find("1024 of 1025 MiB"), std::string::npos);
}

}  // namespace
}  // namespace godwit::qemu
