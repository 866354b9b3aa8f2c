// SPDX-License-Identifier: Apache-2.0
//
// What is in a section "ram": once, the list of RAM blocks; records of pages; the end.
#include <algorithm>

#include "vmm-adapters/qemu/stream/stream_parser.h"

namespace godwit::qemu::stream {
namespace {

// QEMU has a few dozen at most.
constexpr size_t kBlocksMax = 65536;

// What of a record's flags says its type; none for a combination that no version writes.
std::optional<RamRecordType> record_type(uint64_t flags) {
  switch (flags) {
    case kFlagZero:
      return RamRecordType::kZero;
    case kFlagPage:
      return RamRecordType::kPage;
    case kFlagXbzrle:
      return RamRecordType::kXbzrle;
    case kFlagCompressed:
      return RamRecordType::kCompressed;
    case kFlagHook:
      return RamRecordType::kHook;
    case kFlagMultifdFlush:
      return RamRecordType::kMultifdFlush;
    case kFlagEndOfSection:
      return RamRecordType::kEndOfSection;
    default:
      return std::nullopt;
  }
}

PayloadKind payload_kind(RamRecordType type) {
  if (type == RamRecordType::kPage) return PayloadKind::kPage;
  return type == RamRecordType::kXbzrle ? PayloadKind::kXbzrle : PayloadKind::kCompressed;
}

}  // namespace

Status StreamParser::read_record(ByteReader& reader, StreamEvent& event) {
  const uint64_t head = reader.be64();
  if (reader.is_short()) return {};
  const uint64_t flags = head & (page_bytes_ - 1);
  const uint64_t offset_bytes = head - flags;
  const std::optional<RamRecordType> type = record_type(flags & ~kFlagContinue);
  if (type && is_page(*type)) return read_page_record(reader, event, head);

  // None of the others has an offset, or a block that it could continue.
  if (flags == kFlagMemorySize) {
    if (options_.channel != Channel::kMain || !blocks_.empty()) {
      return fail(Errc::kCorrupt, "a second list of RAM blocks");
    }
    list_left_bytes_ = offset_bytes;
    if (list_left_bytes_ != 0) state_ = State::kBlockList;
    event.what = RamListHeader{.total_bytes = offset_bytes};
    return {};
  }
  if (!type || head != flags || (flags & kFlagContinue) != 0) {
    return fail(Errc::kRefused, "unknown RAM record {:#x}", head);
  }
  if (*type == RamRecordType::kEndOfSection) {
    state_ = options_.channel == Channel::kPreempt ? State::kEnded : State::kFooter;
  }
  event.what = RamRecord{.type = *type,
                         .names_block = false,
                         .fill = 0,
                         .payload_bytes = 0,
                         .block = 0,
                         .offset_bytes = 0};
  return {};
}

Status StreamParser::read_page_record(ByteReader& reader, StreamEvent& event, uint64_t head) {
  const uint64_t flags = head & (page_bytes_ - 1);
  RamRecord record{.type = *record_type(flags & ~kFlagContinue),
                   .names_block = (flags & kFlagContinue) == 0,
                   .fill = 0,
                   .payload_bytes = 0,
                   .block = 0,
                   .offset_bytes = head - flags};
  std::optional<uint32_t> block = record_block_;
  if (record.names_block) {
    const std::string_view name = reader.counted_text();
    if (reader.is_short()) return {};
    block = find_block(name);
    if (!block) return fail(Errc::kCorrupt, "a page of RAM block '{}', which is not listed", name);
  }
  if (!block) return fail(Errc::kCorrupt, "a page of no RAM block");
  const uint64_t block_bytes = blocks_[*block].size_bytes;
  if (record.offset_bytes >= block_bytes || block_bytes - record.offset_bytes < page_bytes_) {
    return fail(Errc::kCorrupt, "a page at {:#x} of RAM block '{}', which has {:#x} bytes",
                record.offset_bytes, blocks_[*block].name, block_bytes);
  }
  record.block = *block;

  uint64_t payload_bytes = 0;
  if (record.type == RamRecordType::kPage) payload_bytes = page_bytes_;
  if (record.type == RamRecordType::kZero) record.fill = reader.u8();
  if (record.type == RamRecordType::kXbzrle) {
    const uint8_t encoding = reader.u8();
    payload_bytes = reader.be16();
    if (!reader.is_short() && (encoding != kXbzrleEncoding || payload_bytes > page_bytes_)) {
      return fail(Errc::kCorrupt, "an XBZRLE record of {} bytes, encoding {}", payload_bytes,
                  encoding);
    }
  }
  if (record.type == RamRecordType::kCompressed) {
    payload_bytes = reader.be32();
    // zlib adds less than that to what it cannot make smaller.
    if (!reader.is_short() && (payload_bytes == 0 || payload_bytes > 2 * page_bytes_)) {
      return fail(Errc::kCorrupt, "a compressed page of {} bytes", payload_bytes);
    }
  }
  if (reader.is_short()) return {};
  record.payload_bytes = static_cast<uint32_t>(payload_bytes);
  record_block_ = block;
  record_ = record;
  if (payload_bytes != 0) expect_payload(payload_kind(record.type), payload_bytes);
  event.what = record;
  return {};
}

Status StreamParser::read_block_list_entry(ByteReader& reader, StreamEvent& event) {
  const std::string_view name = reader.counted_text();
  RamBlock block;
  block.size_bytes = reader.be64();
  if (reader.is_short()) return {};
  if (block.size_bytes > list_left_bytes_) {
    return fail(Errc::kCorrupt, "RAM block '{}' of {} bytes exceeds the list", name,
                block.size_bytes);
  }
  if (blocks_.size() == kBlocksMax || find_block(name)) {
    return fail(Errc::kCorrupt, "RAM block '{}' is one too many", name);
  }
  ASSIGN_OR_RETURN(const std::optional<uint64_t> expected, listed_page_size(name));
  if (expected) {
    block.page_size_bytes = reader.be64();
    if (!reader.is_short() && block.page_size_bytes != expected) {
      return fail(Errc::kCorrupt, "RAM block '{}' has pages of {} bytes and not of {}", name,
                  *block.page_size_bytes, *expected);
    }
  }
  if (ignores_shared_) block.address = reader.be64();
  if (reader.is_short()) return {};
  block.name = name;
  list_left_bytes_ -= block.size_bytes;
  if (list_left_bytes_ == 0) state_ = State::kRecords;
  blocks_.push_back(std::move(block));
  event.what = RamListEntry{.block = static_cast<uint32_t>(blocks_.size() - 1)};
  return {};
}

// With post-copy, the list has the page size of each block whose pages are not those of the host.
// Only the advice tells: it has the page sizes of all blocks together.
Result<std::optional<uint64_t>> StreamParser::listed_page_size(std::string_view block) const {
  const uint64_t common = std::max(options_.host_page_bytes, page_bytes_);
  if ((page_sizes_summary_ & ~common) == 0) return std::nullopt;
  uint64_t known = common;
  std::optional<uint64_t> listed;
  for (const BlockPageSize& sized : options_.block_page_sizes) {
    known |= sized.page_size_bytes;
    if (sized.block == block && sized.page_size_bytes != common) listed = sized.page_size_bytes;
  }
  // All that we were told, and nothing else, must be what there is: a wrong guess would read every
  // entry after this one at the wrong place.
  if ((page_sizes_summary_ & ~known) != 0 || (known & ~common & ~page_sizes_summary_) != 0) {
    return fail(Errc::kRefused, "RAM has pages of {:#x} bytes in all, and not of {:#x}",
                page_sizes_summary_, known);
  }
  return listed;
}

std::optional<uint32_t> StreamParser::find_block(std::string_view name) const {
  if (record_block_ && blocks_[*record_block_].name == name) return record_block_;
  for (uint32_t i = 0; i < blocks_.size(); ++i) {
    if (blocks_[i].name == name) return i;
  }
  return std::nullopt;
}

}  // namespace godwit::qemu::stream
