// SPDX-License-Identifier: Apache-2.0
//
// A stream for who has to be told of it before it is connected, and whose peer can be kept from
// seeing it end: there are moments in which QEMU does not bear that (qemu_channel_source.cc).
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>

#include "engine/base/time.h"
#include "engine/vmm_stream.h"
#include "vmm-adapters/linux/stream_drain.h"

namespace godwit {

// Requires: connect() comes before everything but shut_down().
class LastingStream final : public VmmStream {
 public:
  LastingStream() = default;
  ~LastingStream() override;
  LastingStream(const LastingStream&) = delete;
  LastingStream& operator=(const LastingStream&) = delete;

  // Once.
  void connect(std::unique_ptr<VmmStream> stream);

  // Thread: any. From now on the peer sees nothing of it when this is ended or shut down; what it
  // writes then is read and thrown away.
  void last();
  // The same until the peer ends it, or so long after it was to end. Its destruction waits for
  // that.
  void last_until_peer_ends(Clock::duration max);
  // What was put off takes place now, and what comes does so at once. Idempotent.
  void stop_lasting();

  Result<Progress> read(std::span<std::byte> bytes) override;
  Result<Progress> write(std::span<const std::byte> bytes) override;
  // Where the end is put off, they return no sooner than it takes place.
  Status wait_readable() override { return stream_->wait_readable(); }
  Status wait_writable() override { return stream_->wait_writable(); }
  void end_reading() override;
  void end_writing() override;
  void shut_down() override;
  int fd() const override { return stream_->fd(); }

 private:
  enum class End : uint8_t { kReading = 1, kWriting = 2, kBoth = 3 };
  void end(End end);
  void end_now(End end);

  std::mutex mutex_;
  bool lasting_ = false;
  std::optional<Clock::duration> max_;  // of last_until_peer_ends()
  std::atomic<bool> shut_down_{false};
  std::unique_ptr<VmmStream> stream_;
  std::optional<End> put_off_;
  std::optional<StreamDrain> drain_;
};

}  // namespace godwit
