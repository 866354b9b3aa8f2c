// SPDX-License-Identifier: Apache-2.0
//
// What the destination QEMU is given in place of what the source QEMU wrote: each event of a
// StreamParser is passed on or left out. With nothing left out, it is the same bytes.
//
// A page record need not say which RAM block its page is of: then it is that of the record before
// (the flag CONTINUE), also across the ends of sections. Source and destination agree on that block
// only as long as the destination sees every record. So a record that follows one that was left out
// is passed on with its block's name, and before an opaque rest that may hold records, the
// destination must be brought into step.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "vmm-adapters/qemu/stream/stream_event.h"

namespace godwit::qemu::stream {

class StreamWriter {
 public:
  enum class Channel : uint8_t { kMain = 1, kPreempt = 2 };
  // Ownership: `blocks` (StreamParser::blocks()) outlives the writer.
  StreamWriter(Channel channel, const std::vector<RamBlock>& blocks)
      : channel_(channel), blocks_(blocks) {}

  // Returns what to write for this event.
  // Requires: a payload's record was not dropped; is_in_step() before an opaque event that may hold
  // RAM records.
  // Ownership: the result is valid until the parser's or the writer's next call.
  Bytes pass(const StreamEvent& event);

  // Nothing is written for this event, which is a RAM record that is not the end of its section, a
  // part of its payload (a record is dropped with all of it), or a command, but not PACKAGED.
  void drop(const StreamEvent& event);

  // Whether the destination takes a record that names no block for the block that the source means.
  bool is_in_step() const { return !source_block_ || source_block_ == destination_block_; }
  // The block that the source means, while the destination does not.
  std::optional<uint32_t> block_out_of_step() const {
    return is_in_step() ? std::nullopt : source_block_;
  }

  // Not before the list of RAM blocks has passed, nor where no record can be. If the destination is
  // out of step there, and an opaque rest that may hold records begins, that rest would be read for
  // something else: the migration cannot go on.
  bool may_append_page() const {
    return channel_ == Channel::kPreempt || section_ == Section::kRam ||
           (section_ == Section::kNone && ram_section_id_.has_value());
  }
  // Appends a page of our own, in a section of its own unless one is open; afterwards the
  // destination is in step if `block` is block_out_of_step(). Where to: between two events, not
  // within a payload. In post-copy a page must not come twice: there, only one that the destination
  // still misses. Requires: may_append_page().
  void append_page(uint32_t block, uint64_t offset_bytes, Bytes content,
                   std::vector<std::byte>& output);
  // The same for neighbours, such as a page of the host that has several of the target.
  // Requires: a multiple of `page_bytes`.
  void append_pages(uint32_t block, uint64_t offset_bytes, Bytes content, uint64_t page_bytes,
                    std::vector<std::byte>& output);

 private:
  enum class Section : uint8_t { kNone = 1, kRam = 2, kNoRecords = 3 };

  const Channel channel_;
  const std::vector<RamBlock>& blocks_;
  std::vector<std::byte> head_;  // of a record that was written anew
  std::optional<uint32_t> source_block_;
  std::optional<uint32_t> destination_block_;
  bool dropping_ = false;  // the last record, and with it its payload
  std::optional<uint32_t> ram_section_id_;
  Section section_ = Section::kNone;  // that is open
};

}  // namespace godwit::qemu::stream
