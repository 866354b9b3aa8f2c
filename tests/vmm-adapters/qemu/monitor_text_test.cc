// SPDX-License-Identifier: Apache-2.0
//
// Recorded output of QEMU's monitor, and the same with something wrong.
#include "vmm-adapters/qemu/monitor_text.h"

#include <gtest/gtest.h>

#include "engine/base/units.h"

namespace godwit::qemu {
namespace {

constexpr const char* kRamBlocks72 =
    "              Block Name    PSize              Offset               Used              "
    "Total\r\n"
    "                      m0    4 KiB  0x0000000000000000 0x0000000008000000 "
    "0x0000000008000000\r\n"
    "                    huge    2 MiB  0x0000000008000000 0x0000000040000000 "
    "0x0000000040000000\r\n"
    "    /rom@etc/acpi/tables    4 KiB  0x00000000140c0000 0x0000000000020000 "
    "0x0000000000200000\r\n"
    "0000:00:01.0/virtio-net-pci.rom    4 KiB  0x0000000014080000 0x0000000000040000 "
    "0x0000000000040000\r\n";

constexpr const char* kRamBlocks10 =
    "              Block Name    PSize              Offset               Used              Total   "
    "   "
    "          HVA  RO\r\n"
    "                      m0    4 KiB  0x0000000000000000 0x0000000008000000 0x0000000008000000 "
    "0x00007ff383fff000  rw\r\n";

constexpr const char* kMemoryTree =
    "FlatView #0\r\n"
    " AS \"I/O\", root: io\r\n"
    " Root memory region: io\r\n"
    "  0000000000000000-0000000000000007 (prio 0, ram): decoy\r\n"
    "\r\n"
    "FlatView #1\r\n"
    " AS \"memory\", root: system\r\n"
    " AS \"cpu-memory-0\", root: system\r\n"
    " Root memory region: system\r\n"
    "  0000000000000000-00000000000bffff (prio 0, ram): m0 KVM\r\n"
    "  00000000000c0000-00000000000c0fff (prio 0, rom): m0 @00000000000c0000 KVM\r\n"
    "  0000000000100000-0000000007ffffff (prio 0, ram): m0 @0000000000100000 KVM\r\n"
    "  0000000008000000-000000000fffffff (prio 0, ram): m1\r\n"
    "  00000000febc0000-00000000febc003f (prio 0, i/o): msix-table\r\n"
    "\r\n"
    "FlatView #2\r\n"
    " AS \"cpu-smm-0\", root: memory\r\n"
    "  0000000000000000-00000000000bffff (prio 0, ram): decoy\r\n";

TEST(MonitorText, ReadsRamBlocksOfBothVersions) {
  Result<std::vector<RamBlock>> old_blocks = parse_ram_blocks(kRamBlocks72);
  Result<std::vector<RamBlock>> new_blocks = parse_ram_blocks(kRamBlocks10);

  ASSERT_TRUE(old_blocks) << to_string(old_blocks.error());
  ASSERT_EQ(old_blocks->size(), 4U);
  EXPECT_EQ((*old_blocks)[1].name, "huge");
  EXPECT_EQ((*old_blocks)[1].page_size_bytes, 2 * kMiB);
  EXPECT_EQ((*old_blocks)[1].used_bytes, kGiB);
  EXPECT_EQ((*old_blocks)[2].used_bytes, 128 * kKiB);
  ASSERT_TRUE(new_blocks) << to_string(new_blocks.error());
  ASSERT_EQ(new_blocks->size(), 1U);
  EXPECT_EQ((*new_blocks)[0].used_bytes, 128 * kMiB);
}

TEST(MonitorText, RefusesRamBlocksInAnotherForm) {
  for (const char* line : {"m0 4 KiB", "m0 x KiB 0x0 0x1000 0x1000", "m0 4 bytes 0x0 0x1000 0x1000",
                           "m0 4 KiB 0x0 many 0x1000", "m0 0 KiB 0x0 0x1000 0x1000"}) {
    EXPECT_FALSE(parse_ram_blocks(fmt::format("heading\n{}\n", line))) << line;
  }
}

TEST(MonitorText, ReadsWhereRamIsInTheGuestsMemory) {
  Result<std::vector<MappedRam>> ram = parse_memory_tree(kMemoryTree);

  ASSERT_TRUE(ram) << to_string(ram.error());
  ASSERT_EQ(ram->size(), 3U);
  EXPECT_EQ((*ram)[0].block, "m0");
  EXPECT_EQ((*ram)[0].guest_address, 0U);
  EXPECT_EQ((*ram)[0].block_offset, 0U);
  EXPECT_EQ((*ram)[1].block, "m0");
  EXPECT_EQ((*ram)[1].block_offset, 0x100000U);
  EXPECT_EQ((*ram)[2].block, "m1");
  EXPECT_EQ((*ram)[2].guest_address, 0x8000000U);
}

TEST(MonitorText, SaysThatAMemoryTreeShowsNoRam) {
  EXPECT_FALSE(parse_memory_tree("FlatView #0\n AS \"memory\", root: system\n"));
  EXPECT_FALSE(parse_memory_tree(""));
}

TEST(MonitorText, ReadsAHostAddressOfTheRightBlockOnly) {
  constexpr const char* kText = "Host virtual address for 0x9000000 (m1) is 0x7fcda8ffe000\r\n";

  Result<uint64_t> address = parse_host_address(kText, "m1");

  ASSERT_TRUE(address) << to_string(address.error());
  EXPECT_EQ(*address, 0x7fcda8ffe000U);
  EXPECT_FALSE(parse_host_address(kText, "m0"));
  EXPECT_FALSE(parse_host_address("No memory is mapped at address 0x5\r\n", "m1"));
  EXPECT_FALSE(parse_host_address("", "m1"));
}

}  // namespace
}  // namespace godwit::qemu
