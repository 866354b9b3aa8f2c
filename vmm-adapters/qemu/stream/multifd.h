// SPDX-License-Identifier: Apache-2.0
//
// A multifd channel of QEMU's migration (7.2 to 10.x): a hello, and then packets, each with a
// header of one size and the pages that it lists. Read as StreamParser reads the main channel, with
// the same invariant. Compressed packets are not followed: the rest of the channel is opaque.
//
// A sync of all channels is one packet with the flag SYNC on each. Of 7.2 to 8.2 such a packet may
// have pages, too, which then belong before the sync; zero_pages is from 9.0 on, and 0 before.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "vmm-adapters/qemu/stream/item_source.h"

namespace godwit::qemu::stream {

struct MultifdHello {
  uint32_t version;
  Bytes uuid;  // of the guest
  uint8_t channel;
};

struct MultifdPacket {
  uint32_t flags;
  uint32_t pages_max;  // that a packet can have
  uint32_t normal_pages;
  uint32_t zero_pages;
  uint32_t payload_bytes;  // of the normal pages, in their order; without any, it means nothing
  uint64_t number;
  std::string_view block;  // empty without pages
  Bytes offsets;           // big-endian, those of normal pages first

  bool is_sync() const { return (flags & kMultifdFlagSync) != 0; }
  // Multiples of the page size. That they lie in the block is for the caller to check: blocks are
  // listed on the main channel. Requires: an index below normal_pages + zero_pages.
  uint64_t offset_bytes(uint32_t index) const {
    return ByteReader(offsets.subspan(size_t{index} * 8, 8)).be64();
  }
};
// A part of a packet's pages. Page at_bytes / page size is the first that it touches.
struct MultifdPages {
  uint64_t at_bytes;
  uint64_t left_bytes;
};
// Of a device that sends its state by multifd (VFIO, from 10.0).
struct MultifdDeviceState {
  std::string_view device;
  uint32_t instance;
  uint32_t payload_bytes;
};
struct MultifdDeviceStateBytes {
  uint64_t at_bytes;
  uint64_t left_bytes;
};
struct MultifdRest {};  // not understood: MultifdParser::reason()

struct MultifdEvent {
  uint64_t offset_bytes = 0;
  Bytes bytes;  // valid until the parser's next call, as in StreamEvent
  std::variant<std::monostate, MultifdHello, MultifdPacket, MultifdPages, MultifdDeviceState,
               MultifdDeviceStateBytes, MultifdRest>
      what;
};

class MultifdParser {
 public:
  // `page_bytes` is the target's page size (StreamParser::page_bytes()).
  explicit MultifdParser(uint64_t page_bytes = kBasePageBytes) : page_bytes_(page_bytes) {}

  // As StreamParser's.
  void feed(Bytes piece) { items_.feed(piece); }
  bool next(MultifdEvent& event);
  bool finish(MultifdEvent& event);
  uint64_t payload_left_bytes() const { return items_.payload_left_bytes(); }
  void payload_bypassed(uint64_t size_bytes) { items_.bypass(size_bytes); }

  const std::optional<Error>& reason() const { return items_.reason(); }

 private:
  Status step(ByteReader& reader, MultifdEvent& event);
  Status read_hello(ByteReader& reader, MultifdEvent& event);
  Status read_device_state(ByteReader& reader, MultifdEvent& event);
  Status read_packet(ByteReader& reader, MultifdEvent& event, uint32_t flags);
  Status check_counts(const MultifdPacket& packet) const;
  void expect_payload(uint32_t size_bytes);

  const uint64_t page_bytes_;
  ItemSource items_;
  bool greeted_ = false;
  bool device_state_ = false;  // whose payload it is
  uint64_t payload_bytes_ = 0;
};

// Appends a hello or a packet's header. Requires: a uuid of 16 bytes; a block's name of at most 255
// letters; 8 bytes of offsets for each page of the packet, at most for `pages_max` of `page_bytes`.
void encode_multifd_hello(const MultifdHello& hello, std::vector<std::byte>& output);
void encode_multifd_packet(const MultifdPacket& packet, uint64_t page_bytes,
                           std::vector<std::byte>& output);

}  // namespace godwit::qemu::stream
