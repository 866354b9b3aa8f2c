// SPDX-License-Identifier: Apache-2.0
#include "engine/precopy/hot_pages.h"

#include <algorithm>

namespace godwit::precopy {

HotPages::HotPages(const GuestMemory& memory) : memory_(memory) {
  scans_.fill(empty_page_set(memory));
}

void HotPages::observe(const GuestPageSet& written) {
  std::rotate(scans_.begin(), scans_.end() - 1, scans_.end());
  scans_.front() = written;
}

GuestPageSet HotPages::held_back(const GuestPageSet& pages) const {
  GuestPageSet hot = pages;
  for (const GuestPageSet& scan : scans_) intersect(hot, scan);
  if (2 * count_bytes(memory_, hot) >= count_bytes(memory_, pages)) clear(hot);
  return hot;
}

}  // namespace godwit::precopy
