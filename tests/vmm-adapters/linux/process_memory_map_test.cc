// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/process_memory_map.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>

#include "engine/base/units.h"
#include "tests/vmm-adapters/linux/tracked_process.h"

namespace godwit::test {
namespace {

uint64_t address_of(const TestMemory& memory) {
  return reinterpret_cast<uint64_t>(memory.bytes().data());
}

TEST(ProcessMemoryMap, ParsesASharedMappingWithABlankInItsName) {
  Result<MemoryMapping> mapping = parse_mapping(
      "7f00-7f10ff000 rw-s 00001000 00:01 2064       /memfd:memory-backend-memfd (deleted)");

  ASSERT_TRUE(mapping) << to_string(mapping.error());
  EXPECT_EQ(mapping->range.start, 0x7f00U);
  EXPECT_EQ(mapping->range.end, 0x7f10ff000U);
  EXPECT_EQ(mapping->sharing, Sharing::kShared);
  EXPECT_EQ(mapping->access, Access::kWritable);
  EXPECT_EQ(mapping->file_offset, 0x1000U);
  EXPECT_EQ(mapping->file, (FileIdentity{makedev(0, 1), 2064}));
  EXPECT_EQ(mapping->path, "/memfd:memory-backend-memfd (deleted)");
}

TEST(ProcessMemoryMap, ParsesAnAnonymousMapping) {
  Result<MemoryMapping> mapping = parse_mapping("1000-2000 r--p 00000000 00:00 0");

  ASSERT_TRUE(mapping) << to_string(mapping.error());
  EXPECT_EQ(mapping->sharing, Sharing::kPrivate);
  EXPECT_EQ(mapping->access, Access::kReadOnly);
  EXPECT_EQ(mapping->file.inode, 0U);
  EXPECT_EQ(mapping->path, "");
}

TEST(ProcessMemoryMap, RefusesEveryCutLineWithoutAnInode) {
  const std::string line = "1000-2000 rw-s 00000000 00:01 7";
  for (size_t length = 0; length < line.size(); length++) {
    EXPECT_FALSE(parse_mapping(line.substr(0, length))) << length;
  }
}

TEST(ProcessMemoryMap, FindsTheFileBehindAMappingOfAnotherProcess) {
  TestMemory memory(4 * kMiB);
  TrackedProcess process(memory);

  Result<std::vector<MemoryMapping>> map = read_memory_map(process.pid());
  ASSERT_TRUE(map) << to_string(map.error());
  const MemoryMapping* mapping = find_mapping(*map, address_of(memory) + kMiB);
  ASSERT_NE(mapping, nullptr);
  Result<UniqueFd> file = open_mapped_file(process.pid(), *mapping);

  ASSERT_TRUE(file) << to_string(file.error());
  process.write_page(3);
  char byte = 0;
  ASSERT_EQ(pread(file->get(), &byte, 1, 3 * 4096), 1);
  EXPECT_EQ(byte, 77);
}

TEST(ProcessMemoryMap, FindsNoMappingBetweenMappings) {
  std::vector<MemoryMapping> map(2);
  map[0].range = {0x1000, 0x2000};
  map[1].range = {0x3000, 0x4000};

  EXPECT_EQ(find_mapping(map, 0xfff), nullptr);
  EXPECT_EQ(find_mapping(map, 0x1fff), &map[0]);
  EXPECT_EQ(find_mapping(map, 0x2000), nullptr);
  EXPECT_EQ(find_mapping(map, 0x3000), &map[1]);
  EXPECT_EQ(find_mapping(map, 0x4000), nullptr);
}

TEST(ProcessMemoryMap, FindsOtherProcessesThatCanWriteTheMemory) {
  TestMemory memory(4 * kMiB);
  TrackedProcess owner(memory);
  FileIdentity file = *identity_of(memory.fd());
  Result<ForeignMappers> alone = find_foreign_mappers(owner.pid(), {file});
  ASSERT_TRUE(alone) << to_string(alone.error());
  EXPECT_TRUE(alone->found.empty());

  TrackedProcess intruder(memory);
  Result<ForeignMappers> mappers = find_foreign_mappers(owner.pid(), {file});

  ASSERT_TRUE(mappers) << to_string(mappers.error());
  ASSERT_EQ(mappers->found.size(), 1U);
  EXPECT_EQ(mappers->found[0].pid, intruder.pid());
}

}  // namespace
}  // namespace godwit::test
