// SPDX-License-Identifier: Apache-2.0
//
// Watches QEMU's migration stream as it passes and makes sure that RAM which we move ourselves is
// not in it. QEMU decides by version and kind of memory backend what it leaves out; if it decided
// otherwise than we thought, the destination would be overwritten with old pages. Better to fail
// before the commit.
//
// It understands the stream up to the end of the section "ram": header, configuration, commands,
// the list of RAM blocks, page records. What follows is device state, which never holds RAM and has
// no lengths to follow. Everything up to there is checked; something unknown there is an error too,
// because what cannot be read cannot be guarded. Pure and incremental: pieces of any size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"

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
  bool ram_passed() const { return state_ == State::kPassing; }

 private:
  enum class State : uint8_t {
    kHeader = 1,
    kConfigurationParts = 2,  // subsections of the configuration may follow
    kBetweenSections = 3,
    kBlockList = 4,  // entries of the list of RAM blocks
    kRecords = 5,    // RAM records of a section
    kFooter = 6,     // of a "ram" section
    kPassing = 7,    // behind "ram": anything goes
  };
  class Reader;

  Status step(Reader& reader);
  Status read_header(Reader& reader);
  Status read_configuration_part(Reader& reader);
  Status read_section_start(Reader& reader);
  Status read_ram_section_header(Reader& reader, uint8_t type);
  Status read_command(Reader& reader);
  Status read_block_entry(Reader& reader);
  Status read_record(Reader& reader);
  Status read_footer(Reader& reader);
  Status check_record_block(const std::string& name) const;

  std::vector<MovedBlock> moved_;
  State state_ = State::kHeader;
  std::vector<std::byte> pending_;  // an item that is not complete yet
  uint64_t skip_bytes_ = 0;         // payload still to pass
  bool failed_ = false;

  bool ignores_shared_ = false;
  bool ram_started_ = false;
  bool last_ram_section_ = false;
  uint32_t ram_section_id_ = 0;
  uint64_t list_bytes_left_ = 0;
  size_t moved_blocks_listed_ = 0;
  std::string record_block_;  // of the last page record: later ones refer to it
};

}  // namespace godwit::qemu
