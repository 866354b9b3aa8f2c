// SPDX-License-Identifier: Apache-2.0
//
// The order of a stream: header, configuration, commands and sections, the end. What is in a
// section "ram" is in stream_parser_ram.cc, in one "dirty-bitmap" in stream_parser_bitmaps.cc;
// commands are in stream_parser_commands.cc.
#include "vmm-adapters/qemu/stream/stream_parser.h"

namespace godwit::qemu::stream {
namespace {

constexpr uint32_t kMachineNameBytesMax = 1024;
constexpr uint32_t kCapabilitiesMax = 64;
constexpr uint64_t kGuestUuidBytes = 16;
// The flags of RAM records need ten bits; no architecture has pages of more than 64 KiB.
constexpr uint32_t kPageBitsMin = 10;
constexpr uint32_t kPageBitsMax = 16;

}  // namespace

StreamParser::StreamParser(Options options)
    : state_(options.channel == Channel::kMain      ? State::kFileHeader
             : options.channel == Channel::kPreempt ? State::kRecords
                                                    : State::kBetweenSections),
      options_(std::move(options)),
      page_bytes_(options_.target_page_bytes),
      blocks_(options_.blocks),
      ram_section_id_(options_.ram_section_id) {}

StreamParser StreamParser::for_channel(Channel channel, const StreamParser& main) {
  Options options = main.options_;
  options.channel = channel;
  options.blocks = main.blocks_;
  options.ram_section_id = main.ram_section_id_;
  StreamParser parser(std::move(options));
  parser.page_bytes_ = main.page_bytes_;
  parser.bitmap_section_id_ = main.bitmap_section_id_;
  return parser;
}

bool StreamParser::next(StreamEvent& event) {
  event.what = std::monostate{};
  const auto read_item = [&](ByteReader& reader) -> Status {
    Status status = step(reader, event);
    if (status || reader.is_short()) return status;
    const Error& error = status.error();
    status = fail(error.code, "migration stream, byte {}: {}", items_.offset_bytes(), error.text());
    if (!device_state_) not_understood_ = status.error();
    return status;
  };
  const ItemSource::Got got = items_.next(read_item, event.bytes);
  event.offset_bytes = items_.offset_bytes() - event.bytes.size();
  switch (got) {
    case ItemSource::Got::kNothing:
      return false;
    case ItemSource::Got::kItem:
      break;
    case ItemSource::Got::kPayload: {
      const uint64_t left_bytes = items_.payload_left_bytes();
      event.what = Payload{.kind = payload_kind_,
                           .at_bytes = payload_bytes_ - left_bytes - event.bytes.size(),
                           .left_bytes = left_bytes};
      break;
    }
    case ItemSource::Got::kOpaque:
      event.what = make_opaque();
      break;
  }
  return true;
}

bool StreamParser::finish(StreamEvent& event) {
  if (!items_.holds_bytes()) return false;
  if (!not_understood_) {
    const auto failed = fail(Errc::kCorrupt, "migration stream, byte {}: it ends within an item",
                             items_.offset_bytes());
    not_understood_ = failed.value();
    items_.give_up(failed.value());
  }
  event.offset_bytes = items_.offset_bytes();
  event.bytes = items_.take_rest();
  event.what = make_opaque();
  return true;
}

Opaque StreamParser::make_opaque() const {
  return {.cause = not_understood_ ? OpaqueCause::kNotUnderstood : OpaqueCause::kDeviceState,
          .ram_may_follow = !ram_ended_ || colo_};
}

void StreamParser::expect_payload(PayloadKind kind, uint64_t size_bytes) {
  payload_kind_ = kind;
  payload_bytes_ = size_bytes;
  items_.expect_payload(size_bytes);
}

// Reads one item. Changes nothing of this object when the reader comes up short.
Status StreamParser::step(ByteReader& reader, StreamEvent& event) {
  switch (state_) {
    case State::kFileHeader:
      return read_file_header(reader, event);
    case State::kConfigurationParts:
      return read_configuration_part(reader, event);
    case State::kBetweenSections:
      return read_between_sections(reader, event);
    case State::kBlockList:
      return read_block_list_entry(reader, event);
    case State::kRecords:
      return read_record(reader, event);
    case State::kFooter:
      return read_footer(reader, event);
    case State::kBitmapChunks:
      return read_bitmap_chunk(reader, event);
    case State::kPackage:
      return read_package(reader, event);
    case State::kAfterEnd:
      return read_after_end(reader, event);
    case State::kEnded:
      return fail(Errc::kCorrupt, "it goes on after its end");
  }
  return {};
}

Status StreamParser::read_file_header(ByteReader& reader, StreamEvent& event) {
  const uint32_t magic = reader.be32();
  const uint32_t version = reader.be32();
  if (reader.is_short()) return {};
  if (magic != kFileMagic || version != kFileVersion) {
    return fail(Errc::kCorrupt, "not QEMU's (magic {:#x}, version {})", magic, version);
  }
  state_ = State::kBetweenSections;
  event.what = FileHeader{.version = version};
  return {};
}

Status StreamParser::read_configuration(ByteReader& reader, StreamEvent& event) {
  reader.u8();
  const uint32_t size = reader.be32();
  if (!reader.is_short() && size > kMachineNameBytesMax) {
    return fail(Errc::kCorrupt, "a machine name of {} bytes", size);
  }
  const std::string_view machine = reader.text(size);
  if (reader.is_short()) return {};
  state_ = State::kConfigurationParts;
  event.what = Configuration{.machine = machine};
  return {};
}

Status StreamParser::read_configuration_part(ByteReader& reader, StreamEvent& event) {
  const uint8_t type = reader.peek();
  if (reader.is_short()) return {};
  if (type != static_cast<uint8_t>(ItemType::kSubsection)) {
    state_ = State::kBetweenSections;
    return {};
  }
  reader.u8();
  const std::string_view name = reader.counted_text();
  const uint32_t version = reader.be32();
  if (reader.is_short()) return {};

  ByteReader body = reader;
  if (name == "configuration/target-page-bits") {
    const uint32_t bits = reader.be32();
    if (reader.is_short()) return {};
    if (bits < kPageBitsMin || bits > kPageBitsMax) {
      return fail(Errc::kRefused, "pages of 2^{} bytes", bits);
    }
    page_bytes_ = uint64_t{1} << bits;
  } else if (name == "configuration/uuid") {
    reader.take(kGuestUuidBytes);
  } else if (name == "configuration/capabilities") {
    RETURN_IF_ERROR(read_capabilities(reader));
  } else {
    return fail(Errc::kRefused, "unknown part '{}' of the configuration", name);
  }
  if (reader.is_short()) return {};
  event.what = ConfigurationPart{
      .name = name, .version = version, .body = body.take(reader.consumed() - body.consumed())};
  return {};
}

Status StreamParser::read_capabilities(ByteReader& reader) {
  const uint32_t count = reader.be32();
  if (!reader.is_short() && count > kCapabilitiesMax) {
    return fail(Errc::kCorrupt, "{} capabilities", count);
  }
  bool ignores_shared = false;
  for (uint32_t i = 0; i < count && !reader.is_short(); ++i) {
    const std::string_view capability = reader.counted_text();
    if (reader.is_short()) break;
    if (capability == "x-ignore-shared") {
      ignores_shared = true;
    } else {
      // Capabilities are listed here because they change what follows.
      return fail(Errc::kRefused, "the capability {} is on", capability);
    }
  }
  if (!reader.is_short()) ignores_shared_ = ignores_shared;
  return {};
}

Status StreamParser::read_between_sections(ByteReader& reader, StreamEvent& event) {
  const uint8_t type = reader.peek();
  if (reader.is_short()) return {};
  switch (static_cast<ItemType>(type)) {
    case ItemType::kConfiguration:
      return read_configuration(reader, event);
    case ItemType::kCommand:
      return read_command(reader, event);
    case ItemType::kSectionStart:
    case ItemType::kSectionPart:
    case ItemType::kSectionEnd:
    case ItemType::kSectionFull:
      return read_section_header(reader, event);
    case ItemType::kEndOfStream:
      if (!ram_ended_) return fail(Errc::kCorrupt, "it ends before the RAM section");
      reader.u8();
      state_ = State::kAfterEnd;
      event.what = EndOfStream{};
      return {};
    case ItemType::kSubsection:
    case ItemType::kVmDescription:
    case ItemType::kFooter:
      break;
  }
  return fail(Errc::kCorrupt, "unknown section type {:#x}", type);
}

Status StreamParser::read_section_header(ByteReader& reader, StreamEvent& event) {
  SectionHeader header{};
  header.type = static_cast<ItemType>(reader.u8());
  header.id = reader.be32();
  if (header.type == ItemType::kSectionStart || header.type == ItemType::kSectionFull) {
    header.name = reader.counted_text();
    header.instance = reader.be32();
    header.version = reader.be32();
  }
  if (reader.is_short()) return {};
  ASSIGN_OR_RETURN(header, check_section(header));
  const bool is_ram = header.content == SectionContent::kRam;
  if (header.type == ItemType::kSectionStart) {
    (is_ram ? ram_section_id_ : bitmap_section_id_) = header.id;
  }
  section_id_ = header.id;
  last_ram_section_ = is_ram && header.type == ItemType::kSectionEnd;
  state_ = is_ram ? State::kRecords : State::kBitmapChunks;
  event.what = header;
  return {};
}

// Whether this is a section that has an end, and which one; an error if it is not.
Result<SectionHeader> StreamParser::check_section(SectionHeader header) {
  const bool starts = header.type == ItemType::kSectionStart;
  const bool is_ram = starts ? header.name == "ram" : header.id == ram_section_id_;
  const bool is_bitmap = starts ? header.name == "dirty-bitmap" : header.id == bitmap_section_id_;
  if (header.type == ItemType::kSectionFull || (!is_ram && !is_bitmap)) {
    device_state_ = ram_ended_;
    if (!header.name.empty()) {
      return fail(Errc::kRefused, "'{}' comes before RAM has ended, and cannot be followed",
                  header.name);
    }
    return fail(Errc::kRefused, "section {} is not RAM", header.id);
  }
  if (is_ram && ram_ended_) return fail(Errc::kCorrupt, "RAM goes on after its last section");
  header.content = is_ram ? SectionContent::kRam : SectionContent::kDirtyBitmap;
  if (!starts) return header;
  if (header.version != (is_ram ? kRamSectionVersion : kBitmapSectionVersion)) {
    return fail(Errc::kRefused, "version {} of section '{}'", header.version, header.name);
  }
  if (is_ram ? ram_section_id_ : bitmap_section_id_) {
    return fail(Errc::kCorrupt, "'{}' begins a second time", header.name);
  }
  return header;
}

Status StreamParser::read_footer(ByteReader& reader, StreamEvent& event) {
  const uint8_t type = reader.u8();
  const uint32_t id = reader.be32();
  if (reader.is_short()) return {};
  if (type != static_cast<uint8_t>(ItemType::kFooter) || id != section_id_) {
    return fail(Errc::kCorrupt, "section {} ends without its footer", section_id_);
  }
  if (last_ram_section_) ram_ended_ = true;
  last_ram_section_ = false;
  state_ = State::kBetweenSections;
  event.what = SectionFooter{.id = id};
  return {};
}

Status StreamParser::read_after_end(ByteReader& reader, StreamEvent& event) {
  const uint8_t type = reader.u8();
  if (!reader.is_short() && type != static_cast<uint8_t>(ItemType::kVmDescription)) {
    return fail(Errc::kCorrupt, "{:#x} after its end", type);
  }
  const uint32_t size_bytes = reader.be32();
  if (reader.is_short()) return {};
  state_ = State::kEnded;
  expect_payload(PayloadKind::kVmDescription, size_bytes);
  event.what = VmDescription{.size_bytes = size_bytes};
  return {};
}

}  // namespace godwit::qemu::stream
