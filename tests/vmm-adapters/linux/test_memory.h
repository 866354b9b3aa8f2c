// SPDX-License-Identifier: Apache-2.0
//
// A block of guest memory for tests: a memfd mapped into this process.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <span>
#include <vector>

#include "engine/base/unique_fd.h"
#include "engine/memory/guest_memory.h"
#include "vmm-adapters/linux/shared_mapping.h"

namespace godwit::test {

class TestMemory {
 public:
  explicit TestMemory(uint64_t size_bytes, uint64_t page_size_bytes = 4096,
                      unsigned memfd_flags = 0)
      : file_(memfd_create("godwit-test", MFD_CLOEXEC | memfd_flags)),
        mapping_(make(file_.get(), size_bytes)),
        memory_{{"memory", page_size_bytes, -1, mapping_.bytes(), file_.get(), 0}} {}

  const GuestMemory& memory() const { return memory_; }
  std::span<std::byte> bytes() const { return mapping_.bytes(); }
  int fd() const { return file_.get(); }

  // A store to the first byte of a page, as a guest makes it: while others read.
  void write(uint64_t page, int value) const {
    std::atomic_ref(bytes()[page * memory_[0].page_size_bytes])
        .store(static_cast<std::byte>(value), std::memory_order_relaxed);
  }

  // Reads from `offset` on, while others write.
  void read(uint64_t offset, std::span<std::byte> into) const {
    for (size_t i = 0; i < into.size(); ++i)
      into[i] = std::atomic_ref(bytes()[offset + i]).load(std::memory_order_relaxed);
  }

 private:
  static SharedMapping make(int fd, uint64_t size_bytes) {
    EXPECT_EQ(ftruncate(fd, static_cast<off_t>(size_bytes)), 0);
    Result<SharedMapping> mapping = SharedMapping::map(fd, {0, size_bytes});
    EXPECT_TRUE(mapping) << to_string(mapping.error());
    return std::move(*mapping);
  }

  UniqueFd file_;
  SharedMapping mapping_;
  GuestMemory memory_;
};

// Runs of set pages, readable in a failed assertion.
inline std::vector<PageRun> runs_of(const PageBitmap& bitmap) {
  std::vector<PageRun> runs;
  uint64_t at = 0;
  while (auto run = bitmap.next_run(at, bitmap.page_count())) {
    runs.push_back(*run);
    at = run->first_page + run->page_count;
  }
  return runs;
}

}  // namespace godwit::test
