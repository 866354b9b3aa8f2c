// SPDX-License-Identifier: Apache-2.0
//
// Page sets over a whole guest, and which pages have storage.
//
// tmpfs answers SEEK_DATA and SEEK_HOLE page by page. hugetlbfs does not: it calls the whole file
// data (hugetlb_presence.h asks it in another way). Either way nothing is allocated by looking.
#include "engine/memory/guest_memory.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <numeric>

#include "engine/base/check.h"
#include "engine/memory/hugetlb_presence.h"

namespace godwit {
namespace {

// Whether the whole file has storage, in one call: 0.1 ms where SEEK_HOLE takes 6 ms/GiB. A file
// that ends inside a huge page has more storage than its size says, and so proves nothing.
bool is_without_holes(const GuestBlock& block, const struct stat& file) {
  constexpr off_t kHugePageBytes = 2 << 20;
  const auto block_end = static_cast<off_t>(block.fd_offset_bytes + block.size_bytes());
  return block_end <= file.st_size && file.st_size % kHugePageBytes == 0 &&
         file.st_blocks * 512 >= file.st_size;
}

Status find_present_in_file(const GuestBlock& block, PageBitmap& present) {
  const auto begin = static_cast<off_t>(block.fd_offset_bytes);
  const auto end = static_cast<off_t>(block.fd_offset_bytes + block.size_bytes());
  const auto page_bytes = static_cast<off_t>(block.page_size_bytes);

  for (off_t at = begin; at < end;) {
    const off_t data = ::lseek(block.fd, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // nothing but holes from here on
    if (data < 0) return fail_errno(errno, "SEEK_DATA in RAM block '{}'", block.name);
    if (data >= end) break;
    const off_t hole = ::lseek(block.fd, data, SEEK_HOLE);
    if (hole < 0) return fail_errno(errno, "SEEK_HOLE in RAM block '{}'", block.name);

    // A page counts as present when any part of it is data. A punch between the two calls leaves
    // hole == data: that page was present a moment ago, and progress must be made.
    const off_t data_end = std::max(std::min(hole, end), data + 1);
    const off_t first_page = (data - begin) / page_bytes;
    const off_t end_page = (data_end - begin + page_bytes - 1) / page_bytes;
    present.set_run(
        {static_cast<uint64_t>(first_page), static_cast<uint64_t>(end_page - first_page)});
    at = begin + end_page * page_bytes;
  }
  return {};
}

}  // namespace

uint64_t total_bytes(const GuestMemory& memory) {
  return std::accumulate(
      memory.begin(), memory.end(), uint64_t{0},
      [](uint64_t sum, const GuestBlock& block) { return sum + block.size_bytes(); });
}

GuestPageSet empty_page_set(const GuestMemory& memory) {
  GuestPageSet pages;
  pages.reserve(memory.size());
  for (const GuestBlock& block : memory) pages.emplace_back(block.page_count());
  return pages;
}

uint64_t count_pages(const GuestPageSet& pages) {
  uint64_t count = 0;
  for (const PageBitmap& bitmap : pages) count += bitmap.count();
  return count;
}

uint64_t count_bytes(const GuestMemory& memory, const GuestPageSet& pages) {
  CHECK(memory.size() == pages.size());
  uint64_t bytes = 0;
  for (size_t block = 0; block < pages.size(); ++block)
    bytes += pages[block].count() * memory[block].page_size_bytes;
  return bytes;
}

void unite(GuestPageSet& pages, const GuestPageSet& other) {
  CHECK(pages.size() == other.size());
  for (size_t block = 0; block < pages.size(); ++block) pages[block].unite(other[block]);
}

void subtract(GuestPageSet& pages, const GuestPageSet& other) {
  CHECK(pages.size() == other.size());
  for (size_t block = 0; block < pages.size(); ++block) pages[block].subtract(other[block]);
}

void intersect(GuestPageSet& pages, const GuestPageSet& other) {
  CHECK(pages.size() == other.size());
  for (size_t block = 0; block < pages.size(); ++block) pages[block].intersect(other[block]);
}

void clear(GuestPageSet& pages) {
  for (PageBitmap& bitmap : pages) bitmap.clear_all();
}

Status find_present_pages(const GuestBlock& block, PageBitmap& present) {
  CHECK(present.page_count() == block.page_count());
  if (block.fd < 0) {
    present.set_all();
    return {};
  }

  struct statfs filesystem = {};
  struct stat file = {};
  if (::fstatfs(block.fd, &filesystem) != 0 || ::fstat(block.fd, &file) != 0)
    return fail_errno(errno, "look at the file of RAM block '{}'", block.name);
  if (is_without_holes(block, file)) {
    present.set_all();
    return {};
  }
  present.clear_all();
  if (filesystem.f_type == HUGETLBFS_MAGIC) return find_present_huge_pages(block, present);
  return find_present_in_file(block, present);
}

}  // namespace godwit
