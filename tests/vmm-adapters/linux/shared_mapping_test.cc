// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/shared_mapping.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "engine/base/units.h"
#include "tests/vmm-adapters/linux/test_memory.h"
#include "vmm-adapters/linux/pagemap_scan.h"

namespace godwit::test {
namespace {

int64_t stored_blocks(int fd) {
  struct stat status {};
  EXPECT_EQ(fstat(fd, &status), 0);
  return status.st_blocks;
}

// How many pages of the mapping are in this process's page tables.
uint64_t mapped_pages(std::span<const std::byte> bytes) {
  UniqueFd pagemap = std::move(*open_pagemap(0));
  std::vector<uint64_t> entries(bytes.size() / kBasePageBytes);
  auto offset = static_cast<off_t>(reinterpret_cast<uint64_t>(bytes.data()) / kBasePageBytes * 8);
  EXPECT_EQ(pread(pagemap.get(), entries.data(), entries.size() * 8, offset),
            static_cast<ssize_t>(entries.size() * 8));
  uint64_t count = 0;
  for (uint64_t entry : entries) count += entry >> 63;
  return count;
}

TEST(SharedMapping, PutsPresentPagesIntoThePageTablesAndLeavesHolesAlone) {
  TestMemory memory(16 * kMiB);
  std::vector<char> page(kBasePageBytes, 'x');
  for (uint64_t i : {0UL, 1UL, 100UL, 101UL, 102UL, 4095UL}) {
    ASSERT_EQ(pwrite(memory.fd(), page.data(), page.size(), static_cast<off_t>(i * page.size())),
              static_cast<ssize_t>(page.size()));
  }
  int64_t blocks_before = stored_blocks(memory.fd());
  ASSERT_EQ(mapped_pages(memory.bytes()), 0U);

  Status status = map_present_pages(memory.memory()[0]);

  ASSERT_TRUE(status) << to_string(status.error());
  EXPECT_EQ(mapped_pages(memory.bytes()), 6U);
  EXPECT_EQ(stored_blocks(memory.fd()), blocks_before);
}

TEST(SharedMapping, SaysWhatCouldNotBeMapped) {
  Result<SharedMapping> mapping = SharedMapping::map(-1, {0, kMiB});

  ASSERT_FALSE(mapping);
  EXPECT_EQ(mapping.error().os_errno, EBADF);
}

}  // namespace
}  // namespace godwit::test
