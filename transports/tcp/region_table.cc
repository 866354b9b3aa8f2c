// SPDX-License-Identifier: Apache-2.0
#include "transports/tcp/region_table.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>

#include "engine/base/check.h"

namespace godwit {

Result<uint64_t> RegionTable::add(std::span<std::byte> bytes, RemoteAccess access) {
  uint64_t key = 0;
  while (key == 0) {
    if (::getrandom(&key, sizeof(key), 0) != sizeof(key)) return fail_errno(errno, "getrandom");
  }
  std::lock_guard lock(mutex_);
  if (entry_count_ == entries_.size()) {
    return fail(Errc::kRefused, "register {} bytes: {} regions are registered already",
                bytes.size(), entry_count_);
  }
  entries_[entry_count_++] = {key, bytes.data(), bytes.size(), access};
  generation_.fetch_add(1);
  return key;
}

void RegionTable::remove(uint64_t key) {
  std::lock_guard lock(mutex_);
  auto end = entries_.begin() + static_cast<std::ptrdiff_t>(entry_count_);
  auto found = std::find_if(entries_.begin(), end, [key](auto& entry) { return entry.key == key; });
  CHECK(found != end);
  *found = entries_[--entry_count_];
  generation_.fetch_add(1);
}

void RegionTable::refresh(Snapshot& snapshot) {
  if (generation_.load() == snapshot.generation) return;
  std::lock_guard lock(mutex_);
  snapshot.generation = generation_.load();
  snapshot.entry_count = entry_count_;
  std::copy_n(entries_.begin(), entry_count_, snapshot.entries.begin());
}

const RegionEntry* RegionView::find(uint64_t key) const {
  const auto& entries = snapshot_.entries;
  if (last_found_ < snapshot_.entry_count && entries[last_found_].key == key) {
    return &entries[last_found_];
  }
  for (size_t i = 0; i < snapshot_.entry_count; ++i) {
    if (entries[i].key != key) continue;
    last_found_ = i;
    return &entries[i];
  }
  return nullptr;
}

Result<std::unique_ptr<TcpRegion>> TcpRegion::open(std::shared_ptr<RegionTable> table,
                                                   std::span<std::byte> bytes,
                                                   RemoteAccess access) {
  ASSIGN_OR_RETURN(uint64_t key, table->add(bytes, access));
  return std::unique_ptr<TcpRegion>(new TcpRegion(std::move(table), bytes, key));
}

TcpRegion::TcpRegion(std::shared_ptr<RegionTable> table, std::span<std::byte> bytes, uint64_t key)
    : table_(std::move(table)), bytes_(bytes), key_(key) {}

TcpRegion::~TcpRegion() {
  table_->remove(key_);
}

}  // namespace godwit
