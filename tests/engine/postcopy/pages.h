// SPDX-License-Identifier: Apache-2.0
//
// Guest memory of which only the sizes matter, and the words of a ledger over it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "engine/base/units.h"
#include "engine/memory/guest_memory.h"
#include "engine/postcopy/page_ledger.h"

namespace godwit::postcopy::test {

// Nobody touches the memory. The words outlive the ledgers, as a mapped file does.
class Pages {
 public:
  Pages& add(uint64_t page_count, uint64_t page_size_bytes = kBasePageBytes) {
    GuestBlock block;
    block.page_size_bytes = page_size_bytes;
    block.numa_node = -1;
    block.memory = {reinterpret_cast<std::byte*>(kMiB), page_count * page_size_bytes};
    block.fd = -1;
    memory_.push_back(block);
    words_.emplace_back(received_words(page_count));
    return *this;
  }

  GuestMemory& memory() { return memory_; }
  std::vector<ReceivedWords> received() { return {words_.begin(), words_.end()}; }
  std::atomic<uint64_t>& word(size_t block, size_t index) { return words_[block][index]; }

 private:
  GuestMemory memory_;
  std::deque<std::vector<std::atomic<uint64_t>>> words_;
};

}  // namespace godwit::postcopy::test
