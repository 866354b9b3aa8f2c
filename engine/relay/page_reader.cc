// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/page_reader.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "engine/base/thread_priority.h"
#include "engine/relay/lane_word.h"

namespace godwit::relay {
namespace {

// An endpoint that cannot be woken for a new request is left after this time to look for one.
constexpr Clock::duration kAskAgainAfter = microseconds(200);
// The source's memory stands still: what arrives damaged again and again is no accident.
constexpr uint32_t kDamagedMax = 100;

// An operation's tag: its slot, and which part of the page it reads.
constexpr unsigned kPartBits = 32;

}  // namespace

Result<std::unique_ptr<PageReader>> PageReader::make(Parts parts) {
  ASSIGN_OR_RETURN(StreamRing memory, StreamRing::make(kSlots * parts.page_bytes_max));
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return fail_errno(errno, "make an eventfd");
  std::unique_ptr<PageReader> made(
      new PageReader(std::move(parts), std::move(memory), std::move(wake)));
  ASSIGN_OR_RETURN(made->region_, made->parts_.transport.register_memory(made->memory_.bytes(),
                                                                         RemoteAccess::kNone));
  return made;
}

PageReader::PageReader(Parts parts, StreamRing memory, UniqueFd wake)
    : parts_(std::move(parts)), memory_(std::move(memory)), wake_(std::move(wake)) {
  for (uint32_t slot = 0; slot < kSlots; ++slot) free_.push_back(slot);
  come_slots_.reserve(kSlots);
  come_.reserve(kSlots);
}

void PageReader::ask(const RequestedPage& page) {
  {
    const std::lock_guard lock(mutex_);
    asked_.push_back(page);
  }
  wake();
}

void PageReader::stop() {
  stopped_ = true;
  wake();
}

Status PageReader::run() {
  (void)make_this_thread_urgent();
  const bool sleeps = parts_.endpoint.sleep_with(wake_.get());
  while (!stopped_) {
    clear_wake();
    while (!free_.empty()) {
      const std::optional<RequestedPage> page = next_asked();
      if (!page) break;
      RETURN_IF_ERROR(begin_reading(*page));
    }
    if (!come_.empty()) {
      RETURN_IF_ERROR(answer_what_has_come());
    } else if (free_.size() == kSlots) {
      RETURN_IF_ERROR(wait_for_wake());
    } else {
      RETURN_IF_ERROR(take_completions(deadline_in(sleeps ? kLanePatience : kAskAgainAfter)));
    }
  }
  return {};
}

void PageReader::wake() const {
  (void)::eventfd_write(wake_.get(), 1);
}

void PageReader::clear_wake() const {
  eventfd_t count = 0;
  (void)::eventfd_read(wake_.get(), &count);
}

Status PageReader::wait_for_wake() const {
  pollfd descriptor{.fd = wake_.get(), .events = POLLIN, .revents = 0};
  while (::poll(&descriptor, 1, -1) < 0) {
    if (errno != EINTR) return fail_errno(errno, "wait for page requests");
  }
  return {};
}

std::optional<RequestedPage> PageReader::next_asked() {
  const std::lock_guard lock(mutex_);
  if (asked_.empty()) return std::nullopt;
  const RequestedPage page = asked_.front();
  asked_.pop_front();
  return page;
}

Status PageReader::begin_reading(const RequestedPage& page) {
  const uint32_t slot = free_.back();
  free_.pop_back();
  slots_[slot] = {.page = page, .left_bytes = page.size_bytes};
  for (uint64_t at = 0; at < page.size_bytes; at += kOperationBytesMax)
    RETURN_IF_ERROR(post(slot, at));
  return {};
}

Status PageReader::post(uint32_t slot, uint64_t at_bytes) {
  const RequestedPage& page = slots_[slot].page;
  const uint64_t size_bytes = std::min(kOperationBytesMax, page.size_bytes - at_bytes);
  const TransferOp operation{.local = region_.get(),
                             .local_offset_bytes = slot * parts_.page_bytes_max + at_bytes,
                             .remote = parts_.blocks[page.block],
                             .remote_offset_bytes = page.offset_bytes + at_bytes,
                             .size_bytes = static_cast<uint32_t>(size_bytes),
                             .tag = uint64_t{slot} << kPartBits | at_bytes / kOperationBytesMax};
  while (true) {
    ASSIGN_OR_RETURN(const size_t accepted, parts_.endpoint.post_reads({&operation, 1}));
    if (accepted == 1) return {};
    RETURN_IF_ERROR(take_completions(deadline_in(kLanePatience)));
  }
}

Status PageReader::take_completions(Deadline deadline) {
  ASSIGN_OR_RETURN(const size_t count, parts_.endpoint.poll(completions_, deadline));
  for (const Completion& completion : std::span(completions_).first(count))
    RETURN_IF_ERROR(take(completion));
  return {};
}

Status PageReader::take(const Completion& completion) {
  const auto index = static_cast<uint32_t>(completion.tag >> kPartBits);
  const uint64_t at_bytes =
      (completion.tag & ((uint64_t{1} << kPartBits) - 1)) * kOperationBytesMax;
  if (completion.status == OpStatus::kFlushed)
    return fail(Errc::kPeerLost, "the connection ended while pages were being read");
  if (completion.status == OpStatus::kTorn) {
    if (++damaged_ > kDamagedMax)
      return fail(Errc::kCorrupt, "pages of the source arrive damaged again and again");
    return post(index, at_bytes);
  }
  Slot& slot = slots_[index];
  slot.left_bytes -= std::min(kOperationBytesMax, slot.page.size_bytes - at_bytes);
  if (slot.left_bytes > 0) return {};
  come_slots_.push_back(index);
  come_.push_back(
      {slot.page, memory_.bytes().subspan(index * parts_.page_bytes_max, slot.page.size_bytes)});
  return {};
}

Status PageReader::answer_what_has_come() {
  RETURN_IF_ERROR(parts_.stream.answer(come_));
  free_.insert(free_.end(), come_slots_.begin(), come_slots_.end());
  come_slots_.clear();
  come_.clear();
  return {};
}

}  // namespace godwit::relay
