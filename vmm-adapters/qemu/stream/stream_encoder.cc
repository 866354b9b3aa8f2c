// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/stream/stream_encoder.h"

#include "vmm-adapters/qemu/stream/byte_reader.h"

namespace godwit::qemu::stream {
namespace {

uint64_t flag_of(RamRecordType type) {
  switch (type) {
    case RamRecordType::kPage:
      return kFlagPage;
    case RamRecordType::kZero:
      return kFlagZero;
    case RamRecordType::kXbzrle:
      return kFlagXbzrle;
    case RamRecordType::kCompressed:
      return kFlagCompressed;
    case RamRecordType::kHook:
      return kFlagHook;
    case RamRecordType::kMultifdFlush:
      return kFlagMultifdFlush;
    case RamRecordType::kEndOfSection:
      return kFlagEndOfSection;
  }
  return 0;
}

void type(ByteWriter& writer, ItemType type) {
  writer.u8(static_cast<uint8_t>(type));
}

}  // namespace

void StreamEncoder::file_header(const FileHeader& header) {
  ByteWriter writer(output_);
  writer.be32(kFileMagic);
  writer.be32(header.version);
}

void StreamEncoder::configuration(const Configuration& configuration) {
  ByteWriter writer(output_);
  type(writer, ItemType::kConfiguration);
  writer.be32(static_cast<uint32_t>(configuration.machine.size()));
  writer.text(configuration.machine);
}

void StreamEncoder::configuration_part(const ConfigurationPart& part) {
  ByteWriter writer(output_);
  type(writer, ItemType::kSubsection);
  writer.counted_text(part.name);
  writer.be32(part.version);
  writer.bytes(part.body);
}

void StreamEncoder::section_header(const SectionHeader& header) {
  ByteWriter writer(output_);
  type(writer, header.type);
  writer.be32(header.id);
  if (header.type != ItemType::kSectionStart && header.type != ItemType::kSectionFull) return;
  writer.counted_text(header.name);
  writer.be32(header.instance);
  writer.be32(header.version);
}

void StreamEncoder::section_footer(const SectionFooter& footer) {
  ByteWriter writer(output_);
  type(writer, ItemType::kFooter);
  writer.be32(footer.id);
}

void StreamEncoder::ram_list_header(const RamListHeader& header) {
  ByteWriter(output_).be64(header.total_bytes | kFlagMemorySize);
}

void StreamEncoder::ram_list_entry(const RamBlock& block) {
  ByteWriter writer(output_);
  writer.counted_text(block.name);
  writer.be64(block.size_bytes);
  if (block.page_size_bytes) writer.be64(*block.page_size_bytes);
  if (block.address) writer.be64(*block.address);
}

void StreamEncoder::record(const RamRecord& record, std::string_view block) {
  ByteWriter writer(output_);
  const bool page = is_page(record.type);
  const bool continues = page && !record.names_block;
  writer.be64(record.offset_bytes | flag_of(record.type) | (continues ? kFlagContinue : 0));
  if (page && record.names_block) writer.counted_text(block);
  if (record.type == RamRecordType::kZero) writer.u8(record.fill);
  if (record.type == RamRecordType::kXbzrle) {
    writer.u8(kXbzrleEncoding);
    writer.be16(static_cast<uint16_t>(record.payload_bytes));
  }
  if (record.type == RamRecordType::kCompressed) writer.be32(record.payload_bytes);
}

void StreamEncoder::end_of_section() {
  ByteWriter(output_).be64(kFlagEndOfSection);
}

void StreamEncoder::bitmap_chunk(const BitmapChunk& chunk) {
  ByteWriter writer(output_);
  writer.u8(chunk.flags);
  if ((chunk.flags & kBitmapHasDevice) != 0) writer.counted_text(chunk.device);
  if ((chunk.flags & kBitmapHasName) != 0) writer.counted_text(chunk.bitmap);
  if ((chunk.flags & kBitmapStart) != 0) {
    writer.be32(chunk.granularity_bytes);
    writer.u8(chunk.start_flags);
  }
  if ((chunk.flags & kBitmapBits) == 0) return;
  writer.be64(chunk.first_sector);
  writer.be32(chunk.sectors);
  if ((chunk.flags & kBitmapZeroes) == 0) writer.be64(chunk.payload_bytes);
}

void StreamEncoder::command(CommandId id, Bytes body) {
  ByteWriter writer(output_);
  type(writer, ItemType::kCommand);
  writer.be16(static_cast<uint16_t>(id));
  writer.be16(static_cast<uint16_t>(body.size()));
  writer.bytes(body);
}

void StreamEncoder::ping(uint32_t cookie) {
  std::vector<std::byte> body;
  ByteWriter(body).be32(cookie);
  command(CommandId::kPing, body);
}

void StreamEncoder::end_of_stream() {
  ByteWriter writer(output_);
  type(writer, ItemType::kEndOfStream);
}

void StreamEncoder::vm_description(const VmDescription& description) {
  ByteWriter writer(output_);
  type(writer, ItemType::kVmDescription);
  writer.be32(description.size_bytes);
}

}  // namespace godwit::qemu::stream
