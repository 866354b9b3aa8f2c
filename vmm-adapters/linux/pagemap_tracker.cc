// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/pagemap_tracker.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "engine/base/check.h"
#include "engine/base/units.h"
#include "vmm-adapters/linux/userfault_fd.h"
#include "vmm-adapters/linux/write_protected_ranges.h"

namespace godwit {
namespace {

constexpr uint64_t kWindowBytesMin = 2 * kMiB;
constexpr uint64_t kWindowBytesMax = kGiB;

// A window where at least one page in this many was dirty is dense: the next one may be larger.
constexpr uint64_t kDenseOnePageIn = 8;

// Less than this is scanned faster (0.7 ms/GiB when clean) than a thread is started.
constexpr uint64_t kSectionBytesMin = kGiB;
constexpr uint64_t kThreadsMax = 8;

// Sections end where words of the bitmaps do, so that no two threads write one word.
constexpr uint64_t kPagesPerWord = 64;

}  // namespace

PagemapTracker::PagemapTracker(const GuestMemory& memory, Options options)
    : memory_(memory), options_(std::move(options)) {
  CHECK(options_.addresses.size() == memory_.size());
  cut_into_sections();
}

void PagemapTracker::cut_into_sections() {
  for (size_t index = 0; index < memory_.size(); index++) {
    const uint64_t step =
        std::max(kSectionBytesMin, kPagesPerWord * memory_[index].page_size_bytes);
    const AddressRange block = range_of(index);
    for (uint64_t at = block.start; at < block.end; at += step) {
      sections_.push_back({index, {at, std::min(at + step, block.end)}});
    }
  }
  const uint64_t threads = std::min<uint64_t>(
      {sections_.size(), std::max(1U, std::thread::hardware_concurrency()), kThreadsMax});
  for (uint64_t i = 0; i < threads; i++) scans_.emplace_back(options_.pagemap.get());
}

// The calling thread works along.
Status PagemapTracker::for_each_section(
    const std::function<Status(PagemapScan&, const Section&)>& work) {
  std::atomic<size_t> next{0};
  std::vector<Status> results(scans_.size());
  auto run = [&](size_t thread) {
    for (size_t i = next++; i < sections_.size() && results[thread]; i = next++) {
      results[thread] = work(scans_[thread], sections_[i]);
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (size_t thread = 1; thread < scans_.size(); thread++) helpers.emplace_back(run, thread);
    run(0);
  }
  for (const Status& result : results) RETURN_IF_ERROR(result);
  return {};
}

PagemapTracker::~PagemapTracker() {
  static_cast<void>(stop());
}

AddressRange PagemapTracker::range_of(size_t block_index) const {
  uint64_t start = options_.addresses[block_index];
  return {start, start + memory_[block_index].size_bytes()};
}

Status PagemapTracker::start() {
  RETURN_IF_ERROR(stop());
  ASSIGN_OR_RETURN(userfaultfd_, options_.open_userfaultfd());
  Status status = enable_write_tracking(userfaultfd_.get());
  for (size_t i = 0; status && i < memory_.size(); i++) {
    status = register_write_protection(userfaultfd_.get(), range_of(i));
  }
  if (status) {
    status = for_each_section(
        [](PagemapScan& scan, const Section& section) { return scan.arm(section.range); });
  }
  if (status && options_.discards == Discards::kPossible) {
    // After the arming: what is discarded before this is also sent after this, as it is then.
    auto watch = DiscardWatch::open(memory_);
    if (watch) {
      discard_watch_ = std::move(*watch);
    } else {
      status = tl::unexpected<Error>(watch.error());
    }
  }
  if (!status) static_cast<void>(stop());
  return status;
}

Status PagemapTracker::collect(GuestPageSet& dirty) {
  CHECK(userfaultfd_.valid());
  CHECK(dirty.size() == memory_.size());
  RETURN_IF_ERROR(for_each_section([&](PagemapScan& scan, const Section& section) {
    return collect_section(scan, section, dirty[section.block_index]);
  }));
  if (discard_watch_) return discard_watch_->collect(dirty);
  return {};
}

Status PagemapTracker::collect_section(PagemapScan& scan, const Section& section,
                                       PageBitmap& dirty) const {
  const uint64_t page_bytes = memory_[section.block_index].page_size_bytes;
  const uint64_t block_start = range_of(section.block_index).start;
  const AddressRange range = section.range;
  const uint64_t window_bytes_min = std::max(kWindowBytesMin, page_bytes);
  uint64_t window_bytes = window_bytes_min;

  for (uint64_t at = range.start; at < range.end;) {
    ASSIGN_OR_RETURN(std::optional<uint64_t> found, scan.find_written({at, range.end}));
    if (!found) return {};
    // Windows begin at huge page boundaries, so that protecting one never splits a huge page.
    uint64_t window_start = std::max(at, *found / window_bytes_min * window_bytes_min);
    bool adjacent = window_start == at && at != range.start;
    if (!adjacent) window_bytes = window_bytes_min;
    uint64_t boundary = window_start / window_bytes_min * window_bytes_min;
    AddressRange window{window_start, std::min(boundary + window_bytes, range.end)};

    uint64_t dirty_bytes = 0;
    RETURN_IF_ERROR(scan.harvest(window, [&](AddressRange run) {
      uint64_t first = (run.start - block_start) / page_bytes;
      uint64_t end = (run.end - block_start + page_bytes - 1) / page_bytes;
      dirty.set_run({first, end - first});
      dirty_bytes += run.end - run.start;
    }));
    bool dense = dirty_bytes * kDenseOnePageIn >= window.end - window.start;
    window_bytes = dense ? std::min(window_bytes * 2, std::max(kWindowBytesMax, window_bytes_min))
                         : window_bytes_min;
    at = window.end;
  }
  return {};
}

Status PagemapTracker::stop() {
  discard_watch_.reset();
  if (!userfaultfd_.valid()) return {};
  // Closing the last descriptor unregisters as well, but only unregistering reports a failure, and
  // a process that is tracked may hold another reference. One that is gone has nothing to clean up.
  Status first_failure;
  for (size_t i = 0; i < memory_.size(); i++) {
    Status status = unregister_write_protection(userfaultfd_.get(), range_of(i));
    bool unknown =
        !status && (status.error().os_errno == EINVAL || status.error().os_errno == ESRCH ||
                    status.error().os_errno == ENOMEM);
    if (!status && !unknown && first_failure) first_failure = status;
  }
  userfaultfd_.reset();
  return first_failure;
}

Result<std::unique_ptr<PagemapTracker>> track_own_process(const GuestMemory& memory,
                                                          Discards discards) {
  ASSIGN_OR_RETURN(UniqueFd pagemap, open_pagemap(0));
  PagemapTracker::Options options;
  options.open_userfaultfd = open_userfaultfd;
  options.pagemap = std::move(pagemap);
  options.discards = discards;
  for (const GuestBlock& block : memory) {
    options.addresses.push_back(reinterpret_cast<uint64_t>(block.memory.data()));
  }
  return std::make_unique<PagemapTracker>(memory, std::move(options));
}

}  // namespace godwit
