// SPDX-License-Identifier: Apache-2.0
//
// The commands of QEMU's migration stream that a relay reads: what post-copy is told about pages.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/base/result.h"
#include "vmm-adapters/qemu/stream/stream_event.h"

namespace godwit::qemu::stream {

// Errors: kRefused for a command that we do not know, and hence cannot say where it ends: PACKAGED
// is followed by bytes that its length does not count, and so may others be. kCorrupt when this
// command never has that length.
Status check_command_length(CommandId id, uint16_t body_bytes);

// Errors: as above, and kCorrupt for a body that is not one of this command.
Status check_command(const Command& command);

struct PostCopyAdvice {
  uint64_t page_sizes_summary;  // all page sizes of all RAM blocks, or-ed
  uint64_t target_page_bytes;
};
// None for the advice of dirty bitmaps, which has nothing to do with RAM.
std::optional<PostCopyAdvice> decode_advice(Bytes body);

// Pages of one RAM block that the destination has, and that have been written since: it is to throw
// them away. Before a package, all these commands together are the pages that post-copy will bring.
class PostCopyDiscard {
 public:
  struct Range {
    uint64_t offset_bytes;
    uint64_t size_bytes;
  };
  // None when it is not one. Ownership: `body` outlives the result.
  static std::optional<PostCopyDiscard> decode(Bytes body);

  std::string_view block() const { return block_; }
  size_t range_count() const { return ranges_.size() / kRangeBytes; }
  Range range(size_t index) const;

 private:
  static constexpr size_t kRangeBytes = 16;
  PostCopyDiscard(std::string_view block, Bytes ranges) : block_(block), ranges_(ranges) {}

  std::string_view block_;
  Bytes ranges_;
};

// The value of PING, or the size of what PACKAGED is followed by. Requires: a checked command.
uint32_t command_value(const Command& command);

// The name of the RAM block whose bitmap RECV_BITMAP asks for. Requires: a checked command.
std::string_view asked_block(const Command& command);

}  // namespace godwit::qemu::stream
