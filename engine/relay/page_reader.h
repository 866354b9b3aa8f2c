// SPDX-License-Identifier: Apache-2.0
//
// Reads pages that a VMM asks for from the source's guest memory, by a lane of their own, and has
// them told to it. They go through memory here: the guest's own must not have them before the VMM
// puts them there.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"
#include "engine/page_requests.h"
#include "engine/relay/answered_stream.h"
#include "engine/relay/stream_ring.h"
#include "engine/transport.h"

namespace godwit::relay {

class PageReader {
 public:
  // Everything referred to outlives this.
  struct Parts {
    Transport& transport;
    Endpoint& endpoint;
    AnsweredStream& stream;
    std::vector<RemoteRegion> blocks;  // of the source
    uint64_t page_bytes_max;           // of these
  };
  static Result<std::unique_ptr<PageReader>> make(Parts parts);

  // Thread: any.
  void ask(const RequestedPage& page);
  // run() returns soon, if nobody is to be answered. Thread: any.
  void stop();

  // Returns after stop(). Errors: the lane's and the stream's. Thread: one.
  Status run();

 private:
  static constexpr uint32_t kSlots = 16;
  struct Slot {
    RequestedPage page;
    uint64_t left_bytes;
  };
  PageReader(Parts parts, StreamRing memory, UniqueFd wake);

  void wake() const;
  // Forgets that it was woken.
  void clear_wake() const;
  Status wait_for_wake() const;
  std::optional<RequestedPage> next_asked();
  Status begin_reading(const RequestedPage& page);
  Status post(uint32_t slot, uint64_t at_bytes);
  Status take_completions(Deadline deadline);
  Status take(const Completion& completion);
  Status answer_what_has_come();

  const Parts parts_;
  const StreamRing memory_;
  std::unique_ptr<MemoryRegion> region_;
  const UniqueFd wake_;
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;
  std::deque<RequestedPage> asked_;

  std::array<Slot, kSlots> slots_{};
  std::vector<uint32_t> free_;
  std::vector<uint32_t> come_slots_;
  std::vector<ReadPage> come_;
  uint32_t damaged_ = 0;
  std::array<Completion, 64> completions_;
};

}  // namespace godwit::relay
