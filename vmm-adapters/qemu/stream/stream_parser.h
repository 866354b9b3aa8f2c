// SPDX-License-Identifier: Apache-2.0
//
// Takes apart the stream of a migration as the source QEMU (7.2 to 10.x) writes it: the main
// channel, also after a recovery, or the preempt channel. Incremental and without copies: it is fed
// pieces of any size, and says of all their bytes what they are (stream_event.h).
//
// What it does not understand makes everything from that very byte on an Opaque event: passed on as
// it is, it does no harm. Device state has no lengths at all, so it is opaque to the end of the
// stream, except in post-copy, where it comes in a package with a length. In both cases nothing of
// what is opaque concerns pages, unless the event says so.
//
//   parser.feed(piece);
//   while (parser.next(event)) …
//
// Invariant: the bytes of all events, one after the other, are the stream that was fed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "vmm-adapters/qemu/stream/item_source.h"
#include "vmm-adapters/qemu/stream/stream_event.h"

namespace godwit::qemu::stream {

class StreamParser {
 public:
  enum class Channel : uint8_t {
    kMain = 1,
    kMainAfterRecovery = 2,  // without header and list of RAM blocks
    kPreempt = 3,            // nothing but RAM records
  };
  struct BlockPageSize {
    std::string block;
    uint64_t page_size_bytes;
  };
  struct Options {
    Channel channel = Channel::kMain;
    // Of the source's host.
    uint64_t host_page_bytes = kBasePageBytes;
    // Of the guest's architecture, where the stream does not say otherwise.
    uint64_t target_page_bytes = kBasePageBytes;
    // The blocks whose memory has pages of another size than the host's. Needed in post-copy only:
    // the list of RAM blocks then has fields for them that nothing announces.
    std::vector<BlockPageSize> block_page_sizes;
    // Of the migration's main channel, for the other channels.
    std::vector<RamBlock> blocks;
    std::optional<uint32_t> ram_section_id;
  };
  explicit StreamParser(Options options);
  // A parser for another channel of the migration that `main` has read the beginning of.
  static StreamParser for_channel(Channel channel, const StreamParser& main);

  // Requires: next() has returned false since the last time.
  // Ownership: `piece` stays as it is until then.
  void feed(Bytes piece) { items_.feed(piece); }

  // The next event in the piece; false when the piece is used up. What does not make a whole item
  // yet is kept for the next piece.
  bool next(StreamEvent& event);

  // The connection has ended. An item that is not whole becomes one more, opaque event, for which
  // this is true.
  bool finish(StreamEvent& event);

  // How many bytes of a payload come next. The caller may read that many of them past the parser,
  // from where it has the pieces, and say so.
  // Requires: next() has returned false.
  uint64_t payload_left_bytes() const { return items_.payload_left_bytes(); }
  void payload_bypassed(uint64_t size_bytes) { items_.bypass(size_bytes); }

  // As far as the list has been read. Indices stay.
  const std::vector<RamBlock>& blocks() const { return blocks_; }
  // The record that a payload of it belongs to.
  const RamRecord& record() const { return record_; }
  // Why the rest is opaque: none as long as it is not, and with device state after RAM.
  const std::optional<Error>& reason() const { return not_understood_; }
  bool is_opaque() const { return items_.is_opaque(); }

  uint64_t page_bytes() const { return page_bytes_; }
  std::optional<uint32_t> ram_section_id() const { return ram_section_id_; }
  bool ignores_shared() const { return ignores_shared_; }
  // The last section of RAM has passed.
  bool ram_ended() const { return ram_ended_; }

 private:
  enum class State : uint8_t {
    kFileHeader = 1,
    kConfigurationParts = 2,  // subsections of the configuration may follow
    kBetweenSections = 3,
    kBlockList = 4,  // entries of the list of RAM blocks
    kRecords = 5,    // RAM records of a section
    kFooter = 6,
    kPackage = 7,   // commands at its beginning
    kAfterEnd = 8,  // the description may follow
    kEnded = 9,
    kBitmapChunks = 10,
  };

  Status step(ByteReader& reader, StreamEvent& event);
  Status read_file_header(ByteReader& reader, StreamEvent& event);
  Status read_configuration(ByteReader& reader, StreamEvent& event);
  Status read_configuration_part(ByteReader& reader, StreamEvent& event);
  Status read_capabilities(ByteReader& reader);
  Status read_between_sections(ByteReader& reader, StreamEvent& event);
  Status read_section_header(ByteReader& reader, StreamEvent& event);
  Result<SectionHeader> check_section(SectionHeader header);
  Status read_bitmap_chunk(ByteReader& reader, StreamEvent& event);
  Status read_footer(ByteReader& reader, StreamEvent& event);
  Status read_block_list_entry(ByteReader& reader, StreamEvent& event);
  Status read_record(ByteReader& reader, StreamEvent& event);
  Status read_page_record(ByteReader& reader, StreamEvent& event, uint64_t head);
  Status read_command(ByteReader& reader, StreamEvent& event);
  Status apply_command(const Command& command);
  Status apply_advice(const Command& command);
  Status read_package(ByteReader& reader, StreamEvent& event);
  Status read_after_end(ByteReader& reader, StreamEvent& event);
  std::optional<uint32_t> find_block(std::string_view name) const;
  // Whether the list of RAM blocks has a page size for this one; an error if that is unknown.
  Result<std::optional<uint64_t>> listed_page_size(std::string_view block) const;
  void expect_payload(PayloadKind kind, uint64_t size_bytes);
  Opaque make_opaque() const;

  ItemSource items_;
  State state_;
  Options options_;
  uint64_t page_bytes_;
  std::optional<Error> not_understood_;
  bool device_state_ = false;  // has begun, and is all that is left

  bool ignores_shared_ = false;
  uint64_t page_sizes_summary_ = 0;  // of post-copy's advice: all page sizes in use, or-ed
  bool colo_ = false;

  std::vector<RamBlock> blocks_;
  uint64_t list_left_bytes_ = 0;
  std::optional<uint32_t> ram_section_id_;
  std::optional<uint32_t> bitmap_section_id_;
  uint32_t section_id_ = 0;        // of the section that is open
  bool last_ram_section_ = false;  // is open
  bool ram_ended_ = false;

  std::optional<uint32_t> record_block_;  // of the last page record: later ones refer to it
  RamRecord record_{};
  PayloadKind payload_kind_{};
  uint64_t payload_bytes_ = 0;
  uint64_t package_left_bytes_ = 0;
};

}  // namespace godwit::qemu::stream
