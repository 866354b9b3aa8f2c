// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/stream_guard.h"

namespace godwit::qemu {

StreamGuard::StreamGuard(std::vector<MovedBlock> moved) : moved_(std::move(moved)) {}

Status StreamGuard::feed(std::span<const std::byte> bytes) {
  if (failed_) return fail(Errc::kCorrupt, "migration stream: failed before");
  if (ram_passed_) return {};
  parser_.feed(bytes);
  stream::StreamEvent event;
  while (!ram_passed_ && parser_.next(event)) {
    const Status status = check(event);
    failed_ = !status;
    RETURN_IF_ERROR(status);
  }
  return {};
}

Status StreamGuard::check(const stream::StreamEvent& event) {
  if (const auto* entry = std::get_if<stream::RamListEntry>(&event.what)) {
    return check_listed(parser_.blocks()[entry->block]);
  }
  if (const auto* record = std::get_if<stream::RamRecord>(&event.what)) {
    return check_record(*record);
  }
  if (const auto* command = std::get_if<stream::Command>(&event.what)) {
    if (command->id == stream::CommandId::kPackaged) {
      return fail(Errc::kRefused, "migration stream: QEMU has switched to its own post-copy");
    }
  }
  if (std::holds_alternative<stream::Opaque>(event.what)) {
    return tl::unexpected<Error>(*parser_.reason());
  }
  return parser_.ram_ended() ? check_all_listed() : Status{};
}

Status StreamGuard::check_listed(const stream::RamBlock& block) {
  const MovedBlock* moved = find_moved(block.name);
  if (moved == nullptr) return {};
  if (moved->size_bytes != block.size_bytes) {
    return fail(Errc::kCorrupt, "migration stream: RAM block '{}' has {} bytes and not {}",
                block.name, block.size_bytes, moved->size_bytes);
  }
  moved_blocks_listed_++;
  return {};
}

Status StreamGuard::check_record(const stream::RamRecord& record) const {
  if (!stream::is_page(record.type)) return {};
  const std::string& block = parser_.blocks()[record.block].name;
  if (find_moved(block) == nullptr) return {};
  return fail(Errc::kRefused,
              "QEMU sends RAM block '{}' itself, although it is shared: back it with "
              "memory-backend-file,share=on on tmpfs or hugetlbfs",
              block);
}

Status StreamGuard::check_all_listed() {
  if (moved_blocks_listed_ != moved_.size()) {
    return fail(Errc::kCorrupt, "migration stream: it lists {} of the {} RAM blocks that are moved",
                moved_blocks_listed_, moved_.size());
  }
  ram_passed_ = true;
  return {};
}

const StreamGuard::MovedBlock* StreamGuard::find_moved(const std::string& name) const {
  for (const MovedBlock& block : moved_) {
    if (block.name == name) return &block;
  }
  return nullptr;
}

}  // namespace godwit::qemu
