// SPDX-License-Identifier: Apache-2.0
//
// Streams made by hand, from the beginning up to where something is to be tried.
#pragma once

#include <string_view>
#include <vector>

#include "engine/base/units.h"
#include "vmm-adapters/qemu/stream/byte_reader.h"
#include "vmm-adapters/qemu/stream/stream_encoder.h"

namespace godwit::qemu::stream {

inline constexpr uint32_t kRamSectionId = 2;

class MadeStream {
 public:
  std::vector<std::byte> bytes;
  StreamEncoder encode{bytes};
  ByteWriter raw{bytes};

  MadeStream() = default;
  MadeStream(const MadeStream&) = delete;
  MadeStream& operator=(const MadeStream&) = delete;

  MadeStream& head() {
    encode.file_header({.version = kFileVersion});
    encode.configuration({.machine = "pc"});
    return *this;
  }
  MadeStream& section(ItemType type, std::string_view name = "ram") {
    encode.section_header({.content = SectionContent::kRam,
                           .type = type,
                           .id = kRamSectionId,
                           .name = name,
                           .instance = 0,
                           .version = kRamSectionVersion});
    return *this;
  }
  // Two blocks of a MiB each, and what comes before them; the section is left open.
  MadeStream& up_to_records() {
    head().section(ItemType::kSectionStart);
    encode.ram_list_header({.total_bytes = 2 * kMiB});
    encode.ram_list_entry(
        {.name = "ram0", .size_bytes = kMiB, .page_size_bytes = {}, .address = {}});
    encode.ram_list_entry(
        {.name = "rom", .size_bytes = kMiB, .page_size_bytes = {}, .address = {}});
    return *this;
  }
  // A page of `fill`; without a block's name, of the block of the page before.
  MadeStream& page(std::string_view block, uint64_t offset_bytes, uint8_t fill) {
    encode.record({.type = RamRecordType::kPage,
                   .names_block = !block.empty(),
                   .fill = 0,
                   .payload_bytes = static_cast<uint32_t>(kBasePageBytes),
                   .block = 0,
                   .offset_bytes = offset_bytes},
                  block);
    bytes.insert(bytes.end(), kBasePageBytes, std::byte{fill});
    return *this;
  }
  MadeStream& end_of_section() {
    encode.end_of_section();
    encode.section_footer({.id = kRamSectionId});
    return *this;
  }
};

}  // namespace godwit::qemu::stream
