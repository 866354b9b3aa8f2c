// SPDX-License-Identifier: Apache-2.0
//
// A stream for who has to be told of it before it is connected.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

#include "engine/vmm_stream.h"

namespace godwit {

// Requires: connect() comes before everything but shut_down().
class AwaitedStream final : public VmmStream {
 public:
  // Once.
  void connect(std::unique_ptr<VmmStream> stream) {
    const std::lock_guard lock(mutex_);
    stream_ = std::move(stream);
    if (shut_down_) stream_->shut_down();
  }

  Result<Progress> read(std::span<std::byte> bytes) override { return stream_->read(bytes); }
  Result<Progress> write(std::span<const std::byte> bytes) override {
    return stream_->write(bytes);
  }
  Status wait_readable() override { return stream_->wait_readable(); }
  Status wait_writable() override { return stream_->wait_writable(); }
  void end_reading() override { stream_->end_reading(); }
  void end_writing() override { stream_->end_writing(); }
  void shut_down() override {
    const std::lock_guard lock(mutex_);
    shut_down_ = true;
    if (stream_ != nullptr) stream_->shut_down();
  }
  int fd() const override { return stream_->fd(); }

 private:
  std::mutex mutex_;
  bool shut_down_ = false;
  std::unique_ptr<VmmStream> stream_;
};

}  // namespace godwit
