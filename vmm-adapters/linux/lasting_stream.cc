// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/lasting_stream.h"

#include <utility>

namespace godwit {

LastingStream::~LastingStream() {
  if (drain_ && max_) drain_->wait();
}

void LastingStream::connect(std::unique_ptr<VmmStream> stream) {
  const std::lock_guard lock(mutex_);
  stream_ = std::move(stream);
  if (shut_down_) stream_->shut_down();
}

void LastingStream::last() {
  const std::lock_guard lock(mutex_);
  lasting_ = true;
}

void LastingStream::last_until_peer_ends(Clock::duration max) {
  const std::lock_guard lock(mutex_);
  lasting_ = true;
  max_ = max;
}

void LastingStream::stop_lasting() {
  const std::lock_guard lock(mutex_);
  lasting_ = false;
  drain_.reset();
  if (const auto end = std::exchange(put_off_, {})) end_now(*end);
}

Result<VmmStream::Progress> LastingStream::read(std::span<std::byte> bytes) {
  if (shut_down_) return fail(Errc::kCancelled, "the stream was shut down");
  return stream_->read(bytes);
}

Result<VmmStream::Progress> LastingStream::write(std::span<const std::byte> bytes) {
  if (shut_down_) return fail(Errc::kCancelled, "the stream was shut down");
  return stream_->write(bytes);
}

void LastingStream::end_reading() {
  end(End::kReading);
}

void LastingStream::end_writing() {
  end(End::kWriting);
}

void LastingStream::shut_down() {
  shut_down_ = true;
  end(End::kBoth);
}

void LastingStream::end(End end) {
  const std::lock_guard lock(mutex_);
  if (stream_ == nullptr) return;
  if (!lasting_) return end_now(end);
  put_off_ = put_off_ && *put_off_ != end ? End::kBoth : end;
  if (!drain_ && end != End::kWriting)
    drain_.emplace(stream_->fd(), max_ ? deadline_in(*max_) : Deadline::max());
}

void LastingStream::end_now(End end) {
  if (shut_down_ || end == End::kBoth) return stream_->shut_down();
  if (end == End::kReading) return stream_->end_reading();
  stream_->end_writing();
}

}  // namespace godwit
