// SPDX-License-Identifier: Apache-2.0
#include "transports/tcp/transfer_window.h"

#include "engine/base/check.h"

namespace godwit {

void Transfer::clear(SourceMemory new_memory) {
  memory = new_memory;
  sequence = 0;
  payload_bytes = 0;
  block_count = 0;
  segment_count = 0;
  operation_count = 0;
}

bool Transfer::append(const TransferOp& op, uint64_t local_key) {
  if (payload_bytes + op.size_bytes > kFramePayloadBytesMax ||
      operation_count == kFrameSegmentsMax) {
    return false;
  }
  std::byte* start = op.local->bytes().data() + op.local_offset_bytes;
  if (continues_last_segment(op, start)) {
    segments[segment_count - 1U].length_bytes += op.size_bytes;
    local[segment_count - 1U].iov_len += op.size_bytes;
  } else {
    if (segment_count == kFrameSegmentsMax) return false;
    segments[segment_count] = {op.remote.key, op.remote_offset_bytes, op.size_bytes};
    local[segment_count] = {start, op.size_bytes};
    local_keys[segment_count] = local_key;
    ++segment_count;
  }
  const uint32_t blocks = godwit::block_count(op.size_bytes);
  operations[operation_count++] = {op.tag, static_cast<uint16_t>(block_count),
                                   static_cast<uint16_t>(blocks)};
  block_count += blocks;
  payload_bytes += op.size_bytes;
  return true;
}

bool Transfer::continues_last_segment(const TransferOp& op, const std::byte* start) const {
  if (segment_count == 0) return false;
  const Segment& last = segments[segment_count - 1U];
  const iovec& memory_of_last = local[segment_count - 1U];
  // Only after whole blocks: an operation must start a block of its own, or nobody could tell whose
  // page was torn.
  return last.key == op.remote.key && last.length_bytes % kBasePageBytes == 0 &&
         last.offset_bytes + last.length_bytes == op.remote_offset_bytes &&
         static_cast<const std::byte*>(memory_of_last.iov_base) + memory_of_last.iov_len == start;
}

uint64_t torn_pages_of(const Transfer::Operation& operation, const TornFrame& torn) {
  const size_t word = operation.first_block / 64;
  const unsigned shift = operation.first_block % 64;
  uint64_t pages = torn.blocks[word] >> shift;
  if (shift != 0 && word + 1 < torn.blocks.size()) pages |= torn.blocks[word + 1] << (64 - shift);
  if (operation.block_count < 64) pages &= (uint64_t{1} << operation.block_count) - 1;
  return pages;
}

Transfer& TransferWindow::open_next(SourceMemory memory) {
  CHECK(!full());
  Transfer& transfer = transfers_[opened_++ % frames_max_];
  transfer.clear(memory);
  return transfer;
}

size_t CompletionQueue::pop(std::span<Completion> output) {
  size_t count = 0;
  while (count < output.size() && popped_ != pushed_)
    output[count++] = ring_[popped_++ % capacity_];
  return count;
}

}  // namespace godwit
