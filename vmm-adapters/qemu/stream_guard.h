// SPDX-License-Identifier: Apache-2.0
//
// Watches QEMU's migration stream as it passes and makes sure that RAM which we move ourselves is
// not in it. QEMU decides by version and kind of memory backend what it leaves out; if it decided
// otherwise than we thought, the destination would be overwritten with old pages. Better to fail
// before the commit.
//
// It reads the stream up to the end of the section "ram". What follows is device state, which never
// holds RAM. Everything up to there is checked; something that the parser does not understand there
// is an error too, because what cannot be read cannot be guarded. Pieces of any size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "vmm-adapters/qemu/stream/stream_parser.h"

namespace godwit::qemu {

class StreamGuard {
 public:
  struct MovedBlock {
    std::string name;
    uint64_t size_bytes;
  };
  // The blocks that are moved outside the stream.
  explicit StreamGuard(std::vector<MovedBlock> moved);

  // Errors: kRefused when RAM of a moved block is in the stream, or something is that cannot be
  // followed; kCorrupt when the stream contradicts itself. An error is final.
  Status feed(std::span<const std::byte> bytes);

  // True when the whole "ram" section has passed without an objection, all moved blocks among those
  // listed.
  bool ram_passed() const { return ram_passed_; }

 private:
  Status check(const stream::StreamEvent& event);
  Status check_listed(const stream::RamBlock& block);
  Status check_record(const stream::RamRecord& record) const;
  Status check_all_listed();
  const MovedBlock* find_moved(const std::string& name) const;

  std::vector<MovedBlock> moved_;
  stream::StreamParser parser_{stream::StreamParser::Options{}};
  size_t moved_blocks_listed_ = 0;
  bool ram_passed_ = false;
  bool failed_ = false;
};

}  // namespace godwit::qemu
