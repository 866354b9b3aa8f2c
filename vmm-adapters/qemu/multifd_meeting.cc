// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/multifd_meeting.h"

#include <algorithm>
#include <utility>

namespace godwit::qemu {
namespace {

// Video memory and firmware, each page once between two syncs.
constexpr size_t kPagesMax = 512 * kMiB / kBasePageBytes;

}  // namespace

bool MultifdMeeting::wait() {
  std::unique_lock lock(mutex_);
  if (ended_) return false;
  if (++arrived_ == parties_) {
    arrived_ = 0;
    ++meetings_;
    changed_.notify_all();
    return true;
  }
  const uint64_t before = meetings_;
  changed_.wait(lock, [&] { return ended_ || meetings_ != before; });
  return meetings_ != before;
}

void MultifdMeeting::end() {
  const std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

Status MultifdMeeting::keep(const std::string& block, uint64_t offset_bytes,
                            std::span<const std::byte> content) {
  const std::lock_guard lock(mutex_);
  if (pages_.size() == kPagesMax)
    return fail(Errc::kGuest, "QEMU sends more than {} MiB that cannot be put into guest memory",
                kPagesMax * kBasePageBytes / kMiB);
  Page& page = pages_.emplace_back();
  page.block = block;
  page.offset_bytes = offset_bytes;
  std::ranges::copy(content.first(kBasePageBytes), page.content.begin());
  return {};
}

std::vector<MultifdMeeting::Page> MultifdMeeting::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(pages_, {});
}

}  // namespace godwit::qemu
