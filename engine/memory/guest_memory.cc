// SPDX-License-Identifier: Apache-2.0
//
// Page sets over a whole guest, and which pages have storage.
//
// tmpfs answers SEEK_DATA and SEEK_HOLE page by page. hugetlbfs does not: it calls the whole file
// data (hugetlb_presence.h asks it in another way). Either way nothing is allocated by looking.
#include "engine/memory/guest_memory.h"

#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <numeric>

#include "engine/base/check.h"
#include "engine/memory/hugetlb_presence.h"

namespace godwit {
namespace {

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
  if (::fstatfs(block.fd, &filesystem) != 0)
    return fail_errno(errno, "fstatfs of RAM block '{}'", block.name);
  present.clear_all();
  if (filesystem.f_type == HUGETLBFS_MAGIC) return find_present_huge_pages(block, present);
  return find_present_in_file(block, present);
}

}  // namespace godwit
