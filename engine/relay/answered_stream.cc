// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/answered_stream.h"

#include <sys/socket.h>

#include <algorithm>

#include "engine/relay/stream_traffic.h"

namespace godwit::relay {
namespace {

// What is passed on in one turn.
constexpr size_t kTurnBytes = 32 * kKiB;
// What the VMM's socket may hold; the kernel allows twice that, and counts its own part in it. With
// a sixteenth of it, a page that was asked for comes up to twice as soon, and all the others take
// twice as long.
constexpr int kSocketBytes = 256 * static_cast<int>(kKiB);

}  // namespace

Result<VmmStream::State> AnsweredStream::take(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !page_has_come_.load(); });
    if (reader_gone_) return VmmStream::State::kEnded;
    piece_ = bytes.first(std::min(bytes.size(), kTurnBytes));
    RETURN_IF_ERROR(requests_.take_apart(piece_, *this));
    RETURN_IF_ERROR(write_run());
    bytes = bytes.subspan(piece_.size());
    if (!keeps_little_ && requests_.may_insert()) keep_little_in_socket();
  }
  return VmmStream::State::kOpen;
}

Status AnsweredStream::end() {
  const std::lock_guard lock(mutex_);
  piece_ = {};
  RETURN_IF_ERROR(requests_.finish(*this));
  over_ = true;
  changed_.notify_all();
  stream_.end_writing();
  return {};
}

Status AnsweredStream::answer(std::span<const ReadPage> pages) {
  page_has_come_ = true;
  std::unique_lock lock(mutex_);
  page_has_come_ = false;
  changed_.notify_all();
  waiting_ = pages;
  if (!over_ && requests_.may_insert()) RETURN_IF_ERROR(tell_waiting());
  changed_.wait(lock, [this] { return waiting_.empty() || over_; });
  waiting_ = {};
  return {};
}

void AnsweredStream::cancel() {
  const std::lock_guard lock(mutex_);
  over_ = true;
  changed_.notify_all();
}

Status AnsweredStream::at_border() {
  return waiting_.empty() ? Status{} : tell_waiting();
}

Status AnsweredStream::tell_waiting() {
  RETURN_IF_ERROR(write_run());
  for (const ReadPage& read : waiting_) {
    told_.clear();
    requests_.insert(read.page, read.content, told_);
    if (told_.empty()) continue;
    RETURN_IF_ERROR(write(told_));
    answered_pages_.fetch_add(1, std::memory_order_relaxed);
  }
  waiting_ = {};
  changed_.notify_all();
  return {};
}

// What lies in the piece, one after the other, is written as one.
Status AnsweredStream::pass_on(std::span<const std::byte> bytes) {
  const bool in_piece =
      bytes.data() >= piece_.data() && bytes.data() + bytes.size() <= piece_.data() + piece_.size();
  if (in_piece && !run_.empty() && run_.data() + run_.size() == bytes.data()) {
    run_ = {run_.data(), run_.size() + bytes.size()};
    return {};
  }
  RETURN_IF_ERROR(write_run());
  if (!in_piece) return write(bytes);
  run_ = bytes;
  return {};
}

Status AnsweredStream::write_run() {
  const std::span<const std::byte> run = run_;
  run_ = {};
  return write(run);
}

Status AnsweredStream::write(std::span<const std::byte> bytes) {
  while (!bytes.empty() && !reader_gone_) {
    ASSIGN_OR_RETURN(const VmmStream::Progress progress, stream_.write(bytes));
    bytes = bytes.subspan(progress.bytes);
    count(counter_, progress.bytes);
    if (progress.state == VmmStream::State::kEnded) reader_gone_ = true;
    if (progress.state == VmmStream::State::kNotReady) RETURN_IF_ERROR(stream_.wait_writable());
  }
  return {};
}

// Pages that nobody has asked for yet would be in front of those that somebody waits for.
void AnsweredStream::keep_little_in_socket() {
  (void)::setsockopt(stream_.fd(), SOL_SOCKET, SO_SNDBUF, &kSocketBytes, sizeof(kSocketBytes));
  keeps_little_ = true;
}

}  // namespace godwit::relay
