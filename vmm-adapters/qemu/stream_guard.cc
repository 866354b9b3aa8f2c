// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/stream_guard.h"

#include <algorithm>

#include "engine/base/units.h"

namespace godwit::qemu {
namespace {

// migration/savevm.h, migration/ram.c of QEMU
constexpr uint32_t kMagic = 0x5145564d;
constexpr uint32_t kVersion = 3;

constexpr uint8_t kSectionEof = 0x00;
constexpr uint8_t kSectionStart = 0x01;
constexpr uint8_t kSectionPart = 0x02;
constexpr uint8_t kSectionEnd = 0x03;
constexpr uint8_t kSectionFull = 0x04;
constexpr uint8_t kSubsection = 0x05;
constexpr uint8_t kConfiguration = 0x07;
constexpr uint8_t kCommand = 0x08;
constexpr uint8_t kFooter = 0x7e;

constexpr uint16_t kCommandPackaged = 7;

constexpr uint64_t kFlagMask = 0xfff;
constexpr uint64_t kFlagZero = 0x002;
constexpr uint64_t kFlagMemorySize = 0x004;
constexpr uint64_t kFlagPage = 0x008;
constexpr uint64_t kFlagEndOfSection = 0x010;
constexpr uint64_t kFlagContinue = 0x020;
constexpr uint64_t kFlagMultifdFlush = 0x200;

constexpr uint32_t kMachineNameBytesMax = 1024;
constexpr uint32_t kCapabilitiesMax = 64;
constexpr uint64_t kUuidBytes = 16;

}  // namespace

// Reads big-endian items off a buffer. A read past its end sets `short_of_bytes` and gives zeroes;
// the caller's step is then thrown away and tried again with more.
class StreamGuard::Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  bool short_of_bytes() const { return short_; }
  size_t consumed() const { return at_; }

  uint8_t u8() { return static_cast<uint8_t>(number(1)); }
  uint16_t be16() { return static_cast<uint16_t>(number(2)); }
  uint32_t be32() { return static_cast<uint32_t>(number(4)); }
  uint64_t be64() { return number(8); }

  std::string text(uint64_t size) {
    std::span<const std::byte> bytes = take(size);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::string counted_text() { return text(u8()); }
  void skip(uint64_t size) { take(size); }
  uint8_t peek_u8() {
    size_t before = at_;
    uint8_t value = u8();
    at_ = before;
    return value;
  }

 private:
  std::span<const std::byte> take(uint64_t size) {
    if (short_ || size > bytes_.size() - at_) {
      short_ = true;
      return {};
    }
    std::span<const std::byte> taken = bytes_.subspan(at_, size);
    at_ += size;
    return taken;
  }
  uint64_t number(uint64_t size) {
    uint64_t value = 0;
    for (std::byte byte : take(size)) value = value << 8 | static_cast<uint64_t>(byte);
    return value;
  }

  std::span<const std::byte> bytes_;
  size_t at_ = 0;
  bool short_ = false;
};

StreamGuard::StreamGuard(std::vector<MovedBlock> moved) : moved_(std::move(moved)) {}

Status StreamGuard::feed(std::span<const std::byte> bytes) {
  if (failed_) return fail(Errc::kCorrupt, "migration stream: failed before");
  while (!bytes.empty() && state_ != State::kPassing) {
    uint64_t skipped = std::min<uint64_t>(skip_bytes_, bytes.size());
    skip_bytes_ -= skipped;
    bytes = bytes.subspan(skipped);
    if (bytes.empty()) break;

    // An item that lies across pieces is put together in pending_, a little at a time: items are
    // small but the pieces need not be.
    constexpr size_t kItemGrowthBytes = 512;
    size_t from_pending = pending_.size();
    std::span<const std::byte> input = bytes;
    if (from_pending != 0) {
      std::span<const std::byte> more = bytes.first(std::min(bytes.size(), kItemGrowthBytes));
      pending_.insert(pending_.end(), more.begin(), more.end());
      input = pending_;
    }
    Reader reader(input);
    Status status = step(reader);
    if (reader.short_of_bytes()) {
      size_t taken = from_pending != 0 ? pending_.size() - from_pending : bytes.size();
      if (from_pending == 0) pending_.assign(bytes.begin(), bytes.end());
      bytes = bytes.subspan(taken);
      continue;
    }
    if (!status) {
      failed_ = true;
      return status;
    }
    bytes = bytes.subspan(reader.consumed() - from_pending);
    pending_.clear();
  }
  return {};
}

// Reads one item. Changes nothing of this object when the reader comes up short.
Status StreamGuard::step(Reader& reader) {
  switch (state_) {
    case State::kHeader:
      return read_header(reader);
    case State::kConfigurationParts:
      return read_configuration_part(reader);
    case State::kBetweenSections:
      return read_section_start(reader);
    case State::kBlockList:
      return read_block_entry(reader);
    case State::kRecords:
      return read_record(reader);
    case State::kFooter:
      return read_footer(reader);
    case State::kPassing:
      break;
  }
  return {};
}

Status StreamGuard::read_header(Reader& reader) {
  uint32_t magic = reader.be32();
  uint32_t version = reader.be32();
  if (reader.short_of_bytes()) return {};
  if (magic != kMagic || version != kVersion) {
    return fail(Errc::kCorrupt, "migration stream: not QEMU's (magic {:#x}, version {})", magic,
                version);
  }
  state_ = State::kBetweenSections;
  return {};
}

Status StreamGuard::read_configuration_part(Reader& reader) {
  if (reader.peek_u8() != kSubsection) {
    if (!reader.short_of_bytes()) state_ = State::kBetweenSections;
    return {};
  }
  reader.skip(1);
  std::string name = reader.counted_text();
  reader.be32();  // version
  if (reader.short_of_bytes()) return {};
  if (name == "configuration/target-page-bits") {
    reader.skip(4);
    return {};
  }
  if (name == "configuration/uuid") {
    reader.skip(kUuidBytes);
    return {};
  }
  if (name != "configuration/capabilities") {
    return fail(Errc::kRefused, "migration stream: unknown part '{}' of the configuration", name);
  }
  uint32_t count = reader.be32();
  if (!reader.short_of_bytes() && count > kCapabilitiesMax) {
    return fail(Errc::kCorrupt, "migration stream: {} capabilities", count);
  }
  bool ignores_shared = false;
  for (uint32_t i = 0; i < count && !reader.short_of_bytes(); i++) {
    std::string capability = reader.counted_text();
    if (capability == "x-ignore-shared") ignores_shared = true;
    if (capability == "mapped-ram") {
      return fail(Errc::kRefused, "migration stream: the capability mapped-ram is on");
    }
  }
  if (!reader.short_of_bytes()) ignores_shared_ = ignores_shared;
  return {};
}

Status StreamGuard::read_section_start(Reader& reader) {
  uint8_t type = reader.u8();
  if (reader.short_of_bytes()) return {};
  switch (type) {
    case kConfiguration: {
      uint32_t size = reader.be32();
      if (!reader.short_of_bytes() && size > kMachineNameBytesMax) {
        return fail(Errc::kCorrupt, "migration stream: a machine name of {} bytes", size);
      }
      reader.skip(size);
      if (!reader.short_of_bytes()) state_ = State::kConfigurationParts;
      return {};
    }
    case kCommand:
      return read_command(reader);
    case kSectionStart:
    case kSectionPart:
    case kSectionEnd:
    case kSectionFull:
      return read_ram_section_header(reader, type);
    case kSectionEof:
      return fail(Errc::kCorrupt, "migration stream: it ends before the RAM section");
    default:
      return fail(Errc::kRefused, "migration stream: unknown section type {:#x}", type);
  }
}

Status StreamGuard::read_command(Reader& reader) {
  uint16_t command = reader.be16();
  uint16_t size = reader.be16();
  if (reader.short_of_bytes()) return {};
  if (command == kCommandPackaged) {
    return fail(Errc::kRefused, "migration stream: QEMU has switched to its own post-copy");
  }
  reader.skip(size);
  return {};
}

Status StreamGuard::read_ram_section_header(Reader& reader, uint8_t type) {
  uint32_t id = reader.be32();
  if (type == kSectionStart || type == kSectionFull) {
    std::string name = reader.counted_text();
    reader.skip(8);  // instance and version
    if (reader.short_of_bytes()) return {};
    if (name != "ram" || type == kSectionFull) {
      return fail(Errc::kRefused,
                  "migration stream: '{}' comes before RAM has ended, and cannot be followed",
                  name);
    }
    ram_started_ = true;
    ram_section_id_ = id;
  }
  if (reader.short_of_bytes()) return {};
  if (!ram_started_ || id != ram_section_id_) {
    return fail(Errc::kRefused, "migration stream: section {} is not RAM", id);
  }
  last_ram_section_ = type == kSectionEnd;
  state_ = State::kRecords;
  return {};
}

Status StreamGuard::read_block_entry(Reader& reader) {
  std::string name = reader.counted_text();
  uint64_t size = reader.be64();
  if (ignores_shared_) reader.skip(8);  // its address in the guest's memory
  if (reader.short_of_bytes()) return {};
  if (size > list_bytes_left_ || size == 0) {
    return fail(Errc::kCorrupt, "migration stream: RAM block '{}' of {} bytes exceeds the list",
                name, size);
  }
  auto is_this = [&](const MovedBlock& block) { return block.name == name; };
  auto moved = std::find_if(moved_.begin(), moved_.end(), is_this);
  if (moved != moved_.end()) {
    if (moved->size_bytes != size) {
      return fail(Errc::kCorrupt, "migration stream: RAM block '{}' has {} bytes and not {}", name,
                  size, moved->size_bytes);
    }
    moved_blocks_listed_++;
  }
  list_bytes_left_ -= size;
  if (list_bytes_left_ == 0) state_ = State::kRecords;
  return {};
}

Status StreamGuard::check_record_block(const std::string& name) const {
  if (name.empty()) return fail(Errc::kCorrupt, "migration stream: a page of no RAM block");
  for (const MovedBlock& block : moved_) {
    if (block.name == name) {
      return fail(Errc::kRefused,
                  "QEMU sends RAM block '{}' itself, although it is shared: back it with "
                  "memory-backend-file,share=on on tmpfs or hugetlbfs",
                  name);
    }
  }
  return {};
}

Status StreamGuard::read_record(Reader& reader) {
  uint64_t head = reader.be64();
  if (reader.short_of_bytes()) return {};
  uint64_t flags = head & kFlagMask & ~kFlagContinue;
  if (flags == kFlagEndOfSection) {
    state_ = State::kFooter;
    return {};
  }
  if (flags == kFlagMultifdFlush) return {};
  if (flags == kFlagMemorySize) {
    list_bytes_left_ = head & ~kFlagMask;
    state_ = list_bytes_left_ == 0 ? State::kRecords : State::kBlockList;
    return {};
  }
  if (flags != kFlagZero && flags != kFlagPage) {
    return fail(Errc::kRefused, "migration stream: unknown RAM record {:#x}", flags);
  }
  std::string block = (head & kFlagContinue) != 0 ? record_block_ : reader.counted_text();
  if (reader.short_of_bytes()) return {};
  RETURN_IF_ERROR(check_record_block(block));
  record_block_ = std::move(block);
  skip_bytes_ = flags == kFlagPage ? kBasePageBytes : 1;
  return {};
}

Status StreamGuard::read_footer(Reader& reader) {
  uint8_t type = reader.u8();
  uint32_t id = reader.be32();
  if (reader.short_of_bytes()) return {};
  if (type != kFooter || id != ram_section_id_) {
    return fail(Errc::kCorrupt, "migration stream: the RAM section ends without its footer");
  }
  if (last_ram_section_ && moved_blocks_listed_ != moved_.size()) {
    return fail(Errc::kCorrupt, "migration stream: it lists {} of the {} RAM blocks that are moved",
                moved_blocks_listed_, moved_.size());
  }
  state_ = last_ram_section_ ? State::kPassing : State::kBetweenSections;
  return {};
}

}  // namespace godwit::qemu
