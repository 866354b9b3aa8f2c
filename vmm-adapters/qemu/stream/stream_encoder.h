// SPDX-License-Identifier: Apache-2.0
//
// Writes what a main channel consists of, from its parts: the inverse of StreamParser. What a
// parser has read, encoded again, is the same bytes.
#pragma once

#include <vector>

#include "vmm-adapters/qemu/stream/stream_event.h"

namespace godwit::qemu::stream {

class StreamEncoder {
 public:
  // Appends to `output`, which outlives the encoder.
  explicit StreamEncoder(std::vector<std::byte>& output) : output_(output) {}

  void file_header(const FileHeader& header);
  void configuration(const Configuration& configuration);
  void configuration_part(const ConfigurationPart& part);
  void section_header(const SectionHeader& header);
  void section_footer(const SectionFooter& footer);
  void ram_list_header(const RamListHeader& header);
  void ram_list_entry(const RamBlock& block);
  // `block` is the name of the record's block, where it names one.
  void record(const RamRecord& record, std::string_view block);
  void end_of_section();
  void bitmap_chunk(const BitmapChunk& chunk);
  // The package's size only, where it is PACKAGED.
  void command(CommandId id, Bytes body);
  void ping(uint32_t cookie);
  void end_of_stream();
  void vm_description(const VmDescription& description);

 private:
  std::vector<std::byte>& output_;
};

}  // namespace godwit::qemu::stream
