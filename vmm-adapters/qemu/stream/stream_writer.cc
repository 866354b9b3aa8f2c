// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/stream/stream_writer.h"

#include "engine/base/check.h"
#include "vmm-adapters/qemu/stream/stream_encoder.h"

namespace godwit::qemu::stream {

Bytes StreamWriter::pass(const StreamEvent& event) {
  if (const auto* record = std::get_if<RamRecord>(&event.what)) {
    dropping_ = false;
    if (record->type == RamRecordType::kEndOfSection) section_ = Section::kNoRecords;
    if (!is_page(record->type)) return event.bytes;
    const bool must_name = !record->names_block && destination_block_ != record->block;
    source_block_ = destination_block_ = record->block;
    if (!must_name) return event.bytes;
    RamRecord named = *record;
    named.names_block = true;
    head_.clear();
    StreamEncoder(head_).record(named, blocks_[record->block].name);
    return head_;
  }
  if (const auto* header = std::get_if<SectionHeader>(&event.what)) {
    const bool is_ram = header->content == SectionContent::kRam;
    section_ = is_ram ? Section::kRam : Section::kNoRecords;
    if (is_ram) ram_section_id_ = header->id;
  }
  if (std::holds_alternative<SectionFooter>(event.what)) section_ = Section::kNone;
  if (std::holds_alternative<Payload>(event.what)) CHECK(!dropping_);
  const auto* opaque = std::get_if<Opaque>(&event.what);
  CHECK(opaque == nullptr || !opaque->ram_may_follow || is_in_step());
  return event.bytes;
}

void StreamWriter::drop(const StreamEvent& event) {
  if (std::holds_alternative<Payload>(event.what)) {
    CHECK(dropping_);
    return;
  }
  if (const auto* command = std::get_if<Command>(&event.what)) {
    CHECK(command->id != CommandId::kPackaged && !command->in_package);
    return;
  }
  const auto* record = std::get_if<RamRecord>(&event.what);
  CHECK(record != nullptr && record->type != RamRecordType::kEndOfSection);
  if (!is_page(record->type)) return;
  source_block_ = record->block;
  dropping_ = true;
}

void StreamWriter::append_page(uint32_t block, uint64_t offset_bytes, Bytes content,
                               std::vector<std::byte>& output) {
  append_pages(block, offset_bytes, content, content.size(), output);
}

void StreamWriter::append_pages(uint32_t block, uint64_t offset_bytes, Bytes content,
                                uint64_t page_bytes, std::vector<std::byte>& output) {
  CHECK(may_append_page() && content.size() % page_bytes == 0);
  const bool own_section = channel_ == Channel::kMain && section_ == Section::kNone;
  StreamEncoder encoder(output);
  if (own_section) {
    encoder.section_header({.content = SectionContent::kRam,
                            .type = ItemType::kSectionPart,
                            .id = *ram_section_id_,
                            .name = {},
                            .instance = 0,
                            .version = 0});
  }
  for (uint64_t at = 0; at < content.size(); at += page_bytes) {
    encoder.record({.type = RamRecordType::kPage,
                    .names_block = at == 0,
                    .fill = 0,
                    .payload_bytes = static_cast<uint32_t>(page_bytes),
                    .block = block,
                    .offset_bytes = offset_bytes + at},
                   blocks_[block].name);
    const Bytes page = content.subspan(at, page_bytes);
    output.insert(output.end(), page.begin(), page.end());
  }
  destination_block_ = block;
  if (own_section) {
    encoder.end_of_section();
    encoder.section_footer({.id = *ram_section_id_});
  }
}

}  // namespace godwit::qemu::stream
