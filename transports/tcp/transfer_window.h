// SPDX-License-Identifier: Apache-2.0
//
// Our own operations between post and answer: a Transfer is what one frame carries, a
// TransferWindow the frames of one kind that are queued or unanswered, oldest first. All memory is
// made at the start.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "engine/transport.h"
#include "transports/tcp/frames.h"

namespace godwit {

struct Transfer {
  struct Operation {
    uint64_t tag;
    uint16_t first_block;
    uint16_t block_count;
  };

  SourceMemory memory;
  uint64_t sequence;  // 0 until it is being sent
  uint32_t payload_bytes;
  uint32_t block_count;
  uint16_t segment_count;
  uint16_t operation_count;
  std::array<Segment, kFrameSegmentsMax> segments;      // in the peer's memory
  std::array<iovec, kFrameSegmentsMax> local;           // in ours, one per segment
  std::array<uint64_t, kFrameSegmentsMax> local_keys;   // the region that each is in
  std::array<Operation, kFrameSegmentsMax> operations;  // each starts a block

  void clear(SourceMemory new_memory);

  // Adds an operation; as a part of the last segment where it goes on from there on both sides.
  // Returns false when it does not fit.
  bool append(const TransferOp& op, uint64_t local_key);

  std::span<const Segment> used_segments() const {
    return std::span(segments).first(segment_count);
  }
  std::span<const iovec> used_local() const { return std::span(local).first(segment_count); }
  std::span<const Operation> used_operations() const {
    return std::span(operations).first(operation_count);
  }

 private:
  bool continues_last_segment(const TransferOp& op, const std::byte* start) const;
};

// Returns the blocks of an operation out of a frame's, as Completion::torn_pages.
uint64_t torn_pages_of(const Transfer::Operation& operation, const TornFrame& torn);

// Thread: one.
class TransferWindow {
 public:
  explicit TransferWindow(uint32_t frames_max)
      : frames_max_(frames_max), transfers_(std::make_unique<Transfer[]>(frames_max)) {}

  bool empty() const { return opened_ == closed_; }
  bool full() const { return opened_ - closed_ == frames_max_; }

  // Requires: !full().
  Transfer& open_next(SourceMemory memory);
  // Requires: !empty().
  Transfer& oldest() { return transfers_[closed_ % frames_max_]; }
  void close_oldest() { ++closed_; }

  // How many were ever opened and closed.
  uint64_t opened() const { return opened_; }
  uint64_t closed() const { return closed_; }

 private:
  uint32_t frames_max_;
  uint64_t opened_ = 0;
  uint64_t closed_ = 0;
  std::unique_ptr<Transfer[]> transfers_;
};

// Completions that wait for poll(). Fixed capacity: an endpoint accepts no more operations than
// fit. Thread: one.
class CompletionQueue {
 public:
  explicit CompletionQueue(uint32_t capacity)
      : capacity_(capacity), ring_(std::make_unique<Completion[]>(capacity)) {}

  bool empty() const { return pushed_ == popped_; }
  void push(const Completion& completion) { ring_[pushed_++ % capacity_] = completion; }
  size_t pop(std::span<Completion> output);

 private:
  uint32_t capacity_;
  uint64_t pushed_ = 0;
  uint64_t popped_ = 0;
  std::unique_ptr<Completion[]> ring_;
};

}  // namespace godwit
