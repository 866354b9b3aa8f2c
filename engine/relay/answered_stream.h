// SPDX-License-Identifier: Apache-2.0
//
// A stream to a VMM that is told pages in between which it has asked for. Who passes the stream on
// and who brings the pages take turns: a page never waits for more than what is passed on at a time
// and what the VMM's socket holds, and that is little from when pages can be asked for.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <span>
#include <vector>

#include "engine/base/result.h"
#include "engine/page_requests.h"
#include "engine/vmm_stream.h"

namespace godwit::relay {

// A page as it was read from the source.
struct ReadPage {
  RequestedPage page;
  std::span<const std::byte> content;
};

class AnsweredStream final : private PageRequests::Told {
 public:
  // Everything referred to outlives this. `counter`, of the bytes written, may be null.
  AnsweredStream(VmmStream& stream, PageRequests& requests, std::atomic<uint64_t>* counter)
      : stream_(stream), requests_(requests), counter_(counter) {}

  // The next bytes of the source's stream. kEnded: nobody reads them any more. Thread: one.
  Result<VmmStream::State> take(std::span<const std::byte> bytes);
  // It has ended.
  Status end();

  // Returns when the pages were told, or nobody wants them any more. Thread: one, another.
  Status answer(std::span<const ReadPage> pages);

  // answer() returns from now on, and does nothing. Thread: any.
  void cancel();

  // Thread: any.
  uint64_t answered_pages() const { return answered_pages_.load(std::memory_order_relaxed); }

 private:
  Status pass_on(std::span<const std::byte> bytes) override;
  Status at_border() override;
  Status tell_waiting();
  Status write_run();
  Status write(std::span<const std::byte> bytes);
  void keep_little_in_socket();

  VmmStream& stream_;
  PageRequests& requests_;
  std::atomic<uint64_t>* const counter_;
  std::atomic<uint64_t> answered_pages_{0};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> page_has_come_{false};  // and wants its turn
  std::span<const std::byte> piece_;        // that is passed on
  std::span<const std::byte> run_;          // in it, to be written
  std::span<const ReadPage> waiting_;       // for a border
  std::vector<std::byte> told_;             // for a page
  bool keeps_little_ = false;
  bool reader_gone_ = false;
  bool over_ = false;
};

}  // namespace godwit::relay
