// SPDX-License-Identifier: Apache-2.0
//
// Post-copy without a network: answers every page fault with the page as a paused source has it.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "engine/base/check.h"
#include "engine/page_faults.h"

namespace godwit::test {

// Which pages have arrived. Child processes that are forked share it, so that it outlives them.
class ReceivedPages {
 public:
  explicit ReceivedPages(uint64_t page_count)
      : bytes_(page_count),
        flags_(static_cast<std::byte*>(
            mmap(nullptr, page_count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
    CHECK(flags_ != MAP_FAILED);
  }
  ~ReceivedPages() { munmap(flags_, bytes_); }
  ReceivedPages(const ReceivedPages&) = delete;
  ReceivedPages& operator=(const ReceivedPages&) = delete;

  std::atomic_ref<std::byte> operator[](uint64_t page) { return std::atomic_ref(flags_[page]); }
  uint64_t count() {
    uint64_t pages = 0;
    for (uint64_t page = 0; page < bytes_; ++page) pages += (*this)[page].load() != std::byte{0};
    return pages;
  }

 private:
  uint64_t bytes_;
  std::byte* flags_;
};

class PageServer {
 public:
  // Requires: the source's memory does not change from here on.
  // Ownership: both memories outlive this.
  PageServer(const GuestMemory& source, const GuestMemory& destination,
             std::shared_ptr<ReceivedPages> received = nullptr)
      : source_(source), destination_(destination), received_(std::move(received)) {
    if (!received_) received_ = std::make_shared<ReceivedPages>(total_bytes(source) / 4096);
    uint64_t pages = 0;
    for (const GuestBlock& block : source) {
      first_pages_.push_back(pages);
      pages += block.page_count();
      PageBitmap present(block.page_count());
      EXPECT_TRUE(find_present_pages(block, present));
      present_.push_back(present);
    }
  }

  // Of more faults than `faults_max` it takes notice and does not answer.
  void start(PageFaults& faults, uint64_t faults_max = ~uint64_t{0}) {
    faults_max_ = faults_max;
    thread_ = std::jthread([this, &faults](const std::stop_token& stop) { serve(faults, stop); });
  }
  void stop() {
    thread_.request_stop();
    thread_.join();
  }

  void answer(PageFaults& faults, const PageFault& fault) {
    if (presents_ + holes_ >= faults_max_) return;
    ++(fault.kind == FaultKind::kHole ? holes_ : presents_);
    receive(fault.block, fault.page);
    const Status status = fault.kind == FaultKind::kHole
                              ? faults.install_zeroes(fault.block, {fault.page, 1})
                              : faults.install(fault.block, {fault.page, 1});
    EXPECT_TRUE(status) << to_string(status.error());
  }

  // Requires: not started, or stopped.
  void receive_the_rest() {
    for (size_t block = 0; block < source_.size(); ++block)
      for (uint64_t page = 0; page < source_[block].page_count(); ++page)
        receive(static_cast<uint32_t>(block), page);
  }

  uint64_t present_faults() const { return presents_; }
  uint64_t hole_faults() const { return holes_; }

 private:
  void serve(PageFaults& faults, const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd readable{faults.fd(), POLLIN, 0};
      poll(&readable, 1, 5);  // and look whether to stop
      std::array<PageFault, 16> batch;
      const Result<size_t> count = faults.read(batch);
      CHECK(count.has_value());
      for (size_t i = 0; i < *count; ++i) answer(faults, batch[i]);
    }
  }

  // Once per page: what comes later would undo what the guest wrote meanwhile.
  void receive(uint32_t block, uint64_t page) {
    std::atomic_ref<std::byte> flag = (*received_)[first_pages_[block] + page];
    if (flag.load() != std::byte{0}) return;
    const std::span<std::byte> there = page_of(destination_[block], page);
    if (present_[block].test(page)) {
      std::memcpy(there.data(), page_of(source_[block], page).data(), there.size());
    } else {
      std::memset(there.data(), 0, there.size());
    }
    flag.store(std::byte{1});
  }

  static std::span<std::byte> page_of(const GuestBlock& block, uint64_t page) {
    return block.memory.subspan(page * block.page_size_bytes, block.page_size_bytes);
  }

  const GuestMemory& source_;
  const GuestMemory& destination_;
  std::vector<PageBitmap> present_;    // at the source
  std::vector<uint64_t> first_pages_;  // of each block, counted through all
  std::shared_ptr<ReceivedPages> received_;
  uint64_t faults_max_ = 0;
  uint64_t presents_ = 0;
  uint64_t holes_ = 0;
  std::jthread thread_;  // last: it uses all the others
};

}  // namespace godwit::test
