// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/ram_record.h"

#include <bit>
#include <limits>

#include "engine/base/units.h"
#include "vmm-adapters/qemu/json_access.h"

namespace godwit::qemu {
namespace {

constexpr int64_t kVersion = 1;

// Reads the members of an object; what is wrong first is what it says in the end.
class Reader {
 public:
  explicit Reader(const Json& object) : object_(object) {
    if (!object.is_object()) reject("record");
  }

  uint64_t number(const char* key) {
    const Json& value = field(object_, key);
    if (!value.is_number_unsigned()) {
      reject(key);
      return 0;
    }
    return value.get<uint64_t>();
  }

  int integer(const char* key) {
    const Json& value = field(object_, key);
    const int64_t wide = value.is_number_integer() ? value.get<int64_t>() : -2;
    const bool fits = wide >= -1 && wide <= std::numeric_limits<int>::max();
    if (!fits) reject(key);
    return fits ? static_cast<int>(wide) : -1;
  }

  std::string text(const char* key) {
    const Json& value = field(object_, key);
    if (value.is_string()) return value.get<std::string>();
    reject(key);
    return "";
  }

  void reject(const char* key) {
    if (wrong_ == nullptr) wrong_ = key;
  }
  Status finish() const {
    if (wrong_ == nullptr) return {};
    return fail(Errc::kCorrupt, "record of guest RAM: '{}' is missing or wrong", wrong_);
  }

 private:
  const Json& object_;
  const char* wrong_ = nullptr;
};

Json encode_block(const RamRecord::Block& block) {
  return {{"name", block.name},
          {"size", block.size_bytes},
          {"page-size", block.page_size_bytes},
          {"numa-node", block.numa_node},
          {"address", block.owner_address},
          {"device", block.file.device},
          {"inode", block.file.inode},
          {"offset", block.file_offset_bytes},
          {"path", block.path}};
}

Result<RamRecord::Block> parse_block(const Json& json) {
  Reader reader(json);
  RamRecord::Block block;
  block.name = reader.text("name");
  block.size_bytes = reader.number("size");
  block.page_size_bytes = reader.number("page-size");
  block.numa_node = reader.integer("numa-node");
  block.owner_address = reader.number("address");
  block.file = {reader.number("device"), reader.number("inode")};
  block.file_offset_bytes = reader.number("offset");
  block.path = reader.text("path");
  RETURN_IF_ERROR(reader.finish());

  // What would later be taken for granted.
  const uint64_t page = block.page_size_bytes;
  if (page < kBasePageBytes || !std::has_single_bit(page)) reader.reject("page-size");
  const uint64_t size = block.size_bytes;
  if (size == 0 || (size & (page - 1)) != 0) reader.reject("size");
  const uint64_t address = block.owner_address;
  const bool wraps = address + size < address;
  if (address == 0 || (address & (page - 1)) != 0 || wraps) reader.reject("address");
  if (block.file_offset_bytes + size < size) reader.reject("offset");
  if (block.file.inode == 0) reader.reject("inode");
  RETURN_IF_ERROR(reader.finish());
  return block;
}

}  // namespace

std::string encode_ram_record(const RamRecord& record) {
  Json blocks = Json::array();
  for (const RamRecord::Block& block : record.blocks) blocks.push_back(encode_block(block));
  const Json json = {{"godwit-qemu-ram", kVersion},
                     {"pid", record.vmm.pid},
                     {"start-ticks", record.vmm.start_ticks},
                     {"qmp", record.qmp_path},
                     {"blocks", blocks}};
  // Paths are bytes; JSON is UTF-8.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<RamRecord> parse_ram_record(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (integer_or(json, "godwit-qemu-ram", 0) != kVersion) {
    return fail(Errc::kCorrupt, "not a record of a QEMU guest's RAM, of this version");
  }
  Reader reader(json);
  RamRecord record;
  record.vmm.pid = reader.integer("pid");
  record.vmm.start_ticks = reader.number("start-ticks");
  record.qmp_path = reader.text("qmp");
  if (record.vmm.pid <= 0) reader.reject("pid");
  const Json& blocks = field(json, "blocks");
  if (!blocks.is_array() || blocks.empty()) reader.reject("blocks");
  RETURN_IF_ERROR(reader.finish());
  for (const Json& block : blocks) {
    ASSIGN_OR_RETURN(RamRecord::Block parsed, parse_block(block));
    record.blocks.push_back(std::move(parsed));
  }
  return record;
}

}  // namespace godwit::qemu
