// SPDX-License-Identifier: Apache-2.0
//
// What the main channel and the preempt channel of QEMU's migration consist of. Each event covers a
// range of the stream, and says which bytes they are: event after event, without gap or overlap.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "vmm-adapters/qemu/stream/wire.h"

namespace godwit::qemu::stream {

// A RAM block, as the list at the beginning of the section "ram" has it.
struct RamBlock {
  std::string name;
  uint64_t size_bytes = 0;
  // Only where the list says it: in post-copy, of memory with pages other than the host's.
  std::optional<uint64_t> page_size_bytes;
  // Only with x-ignore-shared: of the memory region in its container, usually 0.
  std::optional<uint64_t> address;

  friend bool operator==(const RamBlock&, const RamBlock&) = default;
};

struct FileHeader {
  uint32_t version;
};
struct Configuration {
  std::string_view machine;
};
struct ConfigurationPart {
  std::string_view name;
  uint32_t version;
  Bytes body;
};

enum class SectionContent : uint8_t { kRam = 1, kDirtyBitmap = 2 };

// Of the sections "ram" and "dirty-bitmap": any other is opaque. Name, instance and version are in
// a start only.
struct SectionHeader {
  SectionContent content;
  ItemType type;  // kSectionStart, kSectionPart or kSectionEnd
  uint32_t id;
  std::string_view name;
  uint32_t instance;
  uint32_t version;
};
struct SectionFooter {
  uint32_t id;
};

struct RamListHeader {
  uint64_t total_bytes;
};
struct RamListEntry {
  uint32_t block;  // index in StreamParser::blocks()
};

enum class RamRecordType : uint8_t {
  kPage = 1,          // payload: the page
  kZero = 2,          // a page of nothing but `fill`, which is 0 in all versions that we know
  kXbzrle = 3,        // payload: what changed since the page was sent before
  kCompressed = 4,    // payload: the page, compressed with zlib
  kHook = 5,          // no page: QEMU's own RDMA transport
  kMultifdFlush = 6,  // no page: multifd channels have a SYNC packet here
  kEndOfSection = 7,  // no page
};
constexpr bool is_page(RamRecordType type) {
  return type <= RamRecordType::kCompressed;
}

// A record up to its payload, which follows as Payload events.
struct RamRecord {
  RamRecordType type;
  bool names_block;  // otherwise its block is that of the page record before
  uint8_t fill;
  uint32_t payload_bytes;
  uint32_t block;  // index in StreamParser::blocks(), of page records
  uint64_t offset_bytes;
};

// A part of a block device's dirty bitmap. Fields that its flags do not announce are 0 or empty.
struct BitmapChunk {
  uint8_t flags;
  uint8_t start_flags;
  uint32_t granularity_bytes;
  std::string_view device;
  std::string_view bitmap;
  uint64_t first_sector;
  uint32_t sectors;
  uint32_t payload_bytes;
};

struct Command {
  CommandId id;
  bool in_package;
  Bytes body;
};
struct EndOfStream {};
struct VmDescription {
  uint32_t size_bytes;  // of JSON, which follows as a payload
};

enum class PayloadKind : uint8_t {
  kPage = 1,
  kXbzrle = 2,
  kCompressed = 3,
  // What a package has after its leading commands: device state, and the command that starts the
  // guest.
  kPackage = 4,
  kVmDescription = 5,
  kBitmap = 6,
};
// A part of a payload. Of a page, StreamParser::record() says which.
struct Payload {
  PayloadKind kind;
  uint64_t at_bytes;    // where in the payload this part begins
  uint64_t left_bytes;  // after this part
};

enum class OpaqueCause : uint8_t {
  kDeviceState = 1,    // as always: it has no lengths to follow, and lasts to the end of the stream
  kNotUnderstood = 2,  // StreamParser::reason() says what
};
struct Opaque {
  OpaqueCause cause;
  // Whether these bytes may hold RAM records. If so, the destination must be where the source
  // believes it to be: see StreamWriter::is_in_step().
  bool ram_may_follow;
};

struct StreamEvent {
  uint64_t offset_bytes = 0;  // in the stream, of the first of:
  // In the piece that was fed, or, of an item that lies across pieces, in the parser: valid until
  // its next call.
  Bytes bytes;
  std::variant<std::monostate, FileHeader, Configuration, ConfigurationPart, SectionHeader,
               SectionFooter, RamListHeader, RamListEntry, RamRecord, BitmapChunk, Command,
               EndOfStream, VmDescription, Payload, Opaque>
      what;
};

}  // namespace godwit::qemu::stream
