// SPDX-License-Identifier: Apache-2.0
//
// Memory with two mappings in this process, one that page faults are taken on (the owner's) and one
// that they are served through (the agent's); threads that touch it; and waiting for their faults.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <future>
#include <optional>
#include <ostream>
#include <string>
#include <thread>

#include "engine/base/time.h"
#include "engine/base/units.h"
#include "engine/page_faults.h"
#include "tests/vmm-adapters/linux/test_memory.h"
#include "vmm-adapters/linux/userfault_fd.h"

namespace godwit::test {

constexpr auto kFaultPatience = seconds(20);

class FaultingMemory {
 public:
  FaultingMemory(uint64_t size_bytes, uint64_t page_size_bytes, unsigned memfd_flags)
      : agent_(size_bytes, page_size_bytes, memfd_flags), memory_(agent_.memory()) {
    Result<SharedMapping> owner = SharedMapping::map(agent_.fd(), {0, size_bytes});
    EXPECT_TRUE(owner) << to_string(owner.error());
    owner_.emplace(std::move(*owner));
    memory_[0].owner = getpid();
    memory_[0].owner_address = reinterpret_cast<uint64_t>(owner_->bytes().data());
  }

  const GuestMemory& memory() const { return memory_; }
  const TestMemory& agent() const { return agent_; }
  std::atomic_ref<std::byte> owner_byte(uint64_t page) const {
    return std::atomic_ref(owner_->bytes()[page * memory_[0].page_size_bytes]);
  }

  void fill(uint64_t page) const { agent_.write(page, static_cast<int>(page) + 1); }
  void punch(uint64_t page) const {
    const auto bytes = static_cast<off_t>(memory_[0].page_size_bytes);
    EXPECT_EQ(fallocate(agent_.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                        static_cast<off_t>(page) * bytes, bytes),
              0);
  }
  void drop_owner_pages() const {
    EXPECT_EQ(madvise(owner_->bytes().data(), owner_->bytes().size(), MADV_DONTNEED), 0);
  }

 private:
  TestMemory agent_;
  std::optional<SharedMapping> owner_;
  GuestMemory memory_;
};

// A thread that reads a byte, which may take until its page is there.
class Touch {
 public:
  explicit Touch(std::atomic_ref<std::byte> byte)
      : result_(std::async(std::launch::async, [byte] {
          return static_cast<int>(byte.load(std::memory_order_relaxed));
        })) {}

  bool done() const { return result_.wait_for(seconds(0)) == std::future_status::ready; }
  // Nothing when it does not come.
  std::optional<int> value() {
    if (result_.wait_for(kFaultPatience) != std::future_status::ready) return std::nullopt;
    return result_.get();
  }

 private:
  std::future<int> result_;
};

struct SeenFault {
  uint64_t page;
  FaultKind kind;

  friend bool operator==(const SeenFault&, const SeenFault&) = default;
  friend void PrintTo(const SeenFault& fault, std::ostream* stream) {
    *stream << (fault.kind == FaultKind::kHole ? "hole " : "page ") << fault.page;
  }
};

// For FaultDescriptor and PageFaults.
template <typename Faults>
bool wait_readable(const Faults& faults) {
  pollfd readable{faults.fd(), POLLIN, 0};
  return poll(&readable, 1, milliseconds_until(deadline_in(kFaultPatience))) == 1 &&
         readable.revents == POLLIN;
}

template <typename Faults>
std::optional<SeenFault> next_fault_now(Faults& faults) {
  PageFault fault{};
  Result<size_t> count = faults.read({&fault, 1});
  EXPECT_TRUE(count) << to_string(count.error());
  if (!count || *count == 0) return std::nullopt;
  EXPECT_EQ(fault.block, 0U);
  return SeenFault{fault.page, fault.kind};
}

template <typename Faults>
std::optional<SeenFault> next_fault(Faults& faults) {
  if (!wait_readable(faults)) return std::nullopt;
  return next_fault_now(faults);
}

inline bool huge_pages_available(uint64_t pages) {
  std::ifstream file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
  uint64_t free_pages = 0;
  return file >> free_pages && free_pages >= pages;
}

}  // namespace godwit::test
