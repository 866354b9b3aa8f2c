// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/stream/multifd.h"

#include <algorithm>

#include "engine/base/check.h"

namespace godwit::qemu::stream {
namespace {

constexpr size_t kHelloUuidBytes = 16;
constexpr size_t kHelloUnusedBytes = 7 + 32;
constexpr size_t kPacketUnusedBytes = 28;

uint64_t pages_max(uint64_t page_bytes) {
  return kMultifdPacketBytes / page_bytes;
}

// A name in a field of fixed size; none if it does not end in it.
std::optional<std::string_view> read_name(ByteReader& reader) {
  const std::string_view field = reader.text(kMultifdBlockNameBytes);
  const size_t size = field.find('\0');
  if (size == std::string_view::npos) return std::nullopt;
  return field.substr(0, size);
}

const char* compression(uint32_t flags) {
  switch (flags & kMultifdFlagsCompression) {
    case 1 << 1:
      return "zlib";
    case 2 << 1:
      return "zstd";
    case 4 << 1:
      return "QPL";
    case 8 << 1:
      return "UADK";
    case 16 << 1:
      return "QATzip";
    default:
      return "of an unknown kind";
  }
}

}  // namespace

bool MultifdParser::next(MultifdEvent& event) {
  event.what = std::monostate{};
  const auto read_item = [&](ByteReader& reader) -> Status {
    const Status status = step(reader, event);
    if (status || reader.is_short()) return status;
    return fail(status.error().code, "multifd channel, byte {}: {}", items_.offset_bytes(),
                status.error().text());
  };
  const ItemSource::Got got = items_.next(read_item, event.bytes);
  event.offset_bytes = items_.offset_bytes() - event.bytes.size();
  if (got == ItemSource::Got::kPayload) {
    const uint64_t left_bytes = items_.payload_left_bytes();
    const uint64_t at_bytes = payload_bytes_ - left_bytes - event.bytes.size();
    if (device_state_) {
      event.what = MultifdDeviceStateBytes{.at_bytes = at_bytes, .left_bytes = left_bytes};
    } else {
      event.what = MultifdPages{.at_bytes = at_bytes, .left_bytes = left_bytes};
    }
  }
  if (got == ItemSource::Got::kOpaque) event.what = MultifdRest{};
  return got != ItemSource::Got::kNothing;
}

bool MultifdParser::finish(MultifdEvent& event) {
  if (!items_.holds_bytes()) return false;
  items_.give_up(fail(Errc::kCorrupt, "multifd channel, byte {}: it ends within a header",
                      items_.offset_bytes())
                     .value());
  event.offset_bytes = items_.offset_bytes();
  event.bytes = items_.take_rest();
  event.what = MultifdRest{};
  return true;
}

Status MultifdParser::step(ByteReader& reader, MultifdEvent& event) {
  const uint32_t magic = reader.be32();
  const uint32_t version = reader.be32();
  if (reader.is_short()) return {};
  if (magic != kMultifdMagic || version != kMultifdVersion) {
    return fail(Errc::kCorrupt, "not QEMU's (magic {:#x}, version {})", magic, version);
  }
  if (!greeted_) return read_hello(reader, event);
  const uint32_t flags = reader.be32();
  if (reader.is_short()) return {};
  if ((flags & kMultifdFlagsCompression) != 0) {
    return fail(Errc::kRefused, "compression {}", compression(flags));
  }
  if (flags == kMultifdFlagDeviceState) return read_device_state(reader, event);
  if ((flags & ~kMultifdFlagSync) != 0) return fail(Errc::kRefused, "unknown flags {:#x}", flags);
  return read_packet(reader, event, flags);
}

Status MultifdParser::read_hello(ByteReader& reader, MultifdEvent& event) {
  const Bytes uuid = reader.take(kHelloUuidBytes);
  const uint8_t channel = reader.u8();
  reader.take(kHelloUnusedBytes);
  if (reader.is_short()) return {};
  greeted_ = true;
  event.what = MultifdHello{.version = kMultifdVersion, .uuid = uuid, .channel = channel};
  return {};
}

Status MultifdParser::read_device_state(ByteReader& reader, MultifdEvent& event) {
  const std::optional<std::string_view> device = read_name(reader);
  const uint32_t instance = reader.be32();
  const uint32_t payload_bytes = reader.be32();
  if (reader.is_short()) return {};
  if (!device) return fail(Errc::kCorrupt, "a device's name without an end");
  device_state_ = true;
  expect_payload(payload_bytes);
  event.what =
      MultifdDeviceState{.device = *device, .instance = instance, .payload_bytes = payload_bytes};
  return {};
}

Status MultifdParser::read_packet(ByteReader& reader, MultifdEvent& event, uint32_t flags) {
  MultifdPacket packet{.flags = flags,
                       .pages_max = reader.be32(),
                       .normal_pages = reader.be32(),
                       .zero_pages = 0,
                       .payload_bytes = reader.be32(),
                       .number = reader.be64(),
                       .block = {},
                       .offsets = {}};
  packet.zero_pages = reader.be32();
  reader.take(kPacketUnusedBytes);
  const std::optional<std::string_view> block = read_name(reader);
  const Bytes offsets = reader.take(pages_max(page_bytes_) * 8);
  if (reader.is_short()) return {};
  RETURN_IF_ERROR(check_counts(packet));

  // What is beyond the counts may be left over from an earlier packet.
  const uint32_t pages = packet.normal_pages + packet.zero_pages;
  packet.offsets = offsets.first(size_t{pages} * 8);
  if (pages != 0) {
    if (!block) return fail(Errc::kCorrupt, "a RAM block's name without an end");
    packet.block = *block;
  }
  for (uint32_t i = 0; i < pages; ++i) {
    if (packet.offset_bytes(i) % page_bytes_ != 0) {
      return fail(Errc::kCorrupt, "a page at {:#x}", packet.offset_bytes(i));
    }
  }
  device_state_ = false;
  expect_payload(packet.normal_pages != 0 ? packet.payload_bytes : 0);
  event.what = packet;
  return {};
}

Status MultifdParser::check_counts(const MultifdPacket& packet) const {
  const uint64_t max = pages_max(page_bytes_);
  if (packet.pages_max > max || packet.normal_pages > packet.pages_max ||
      packet.zero_pages > packet.pages_max - packet.normal_pages) {
    return fail(Errc::kCorrupt, "{} pages and {} zero pages in a packet of {}", packet.normal_pages,
                packet.zero_pages, packet.pages_max);
  }
  // Up to 8.2 a packet without pages has the size of the one before.
  if (packet.normal_pages != 0 && packet.payload_bytes != packet.normal_pages * page_bytes_) {
    return fail(Errc::kCorrupt, "{} pages in {} bytes", packet.normal_pages, packet.payload_bytes);
  }
  return {};
}

void MultifdParser::expect_payload(uint32_t size_bytes) {
  payload_bytes_ = size_bytes;
  items_.expect_payload(size_bytes);
}

void encode_multifd_hello(const MultifdHello& hello, std::vector<std::byte>& output) {
  CHECK(hello.uuid.size() == kHelloUuidBytes);
  ByteWriter writer(output);
  writer.be32(kMultifdMagic);
  writer.be32(hello.version);
  writer.bytes(hello.uuid);
  writer.u8(hello.channel);
  writer.zeroes(kHelloUnusedBytes);
}

void encode_multifd_packet(const MultifdPacket& packet, uint64_t page_bytes,
                           std::vector<std::byte>& output) {
  const size_t offsets_bytes = pages_max(page_bytes) * 8;
  CHECK(packet.block.size() < kMultifdBlockNameBytes && packet.offsets.size() <= offsets_bytes);
  ByteWriter writer(output);
  writer.be32(kMultifdMagic);
  writer.be32(kMultifdVersion);
  writer.be32(packet.flags);
  writer.be32(packet.pages_max);
  writer.be32(packet.normal_pages);
  writer.be32(packet.payload_bytes);
  writer.be64(packet.number);
  writer.be32(packet.zero_pages);
  writer.zeroes(kPacketUnusedBytes);
  writer.text(packet.block);
  writer.zeroes(kMultifdBlockNameBytes - packet.block.size());
  writer.bytes(packet.offsets);
  writer.zeroes(offsets_bytes - packet.offsets.size());
}

}  // namespace godwit::qemu::stream
