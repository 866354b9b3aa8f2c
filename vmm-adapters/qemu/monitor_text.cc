// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/monitor_text.h"

#include <charconv>

#include "engine/base/units.h"

namespace godwit::qemu {
namespace {

// Takes the next line off `text`; false at its end.
bool take_line(std::string_view& text, std::string_view& line) {
  if (text.empty()) return false;
  size_t end = text.find('\n');
  line = text.substr(0, end);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return true;
}

std::string_view trim(std::string_view text) {
  size_t start = text.find_first_not_of(' ');
  if (start == std::string_view::npos) return {};
  return text.substr(start, text.find_last_not_of(' ') - start + 1);
}

bool parse_hex(std::string_view text, uint64_t& value) {
  if (text.starts_with("0x")) text.remove_prefix(2);
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return error == std::errc() && end == text.data() + text.size();
}

// "4 KiB"
bool parse_size(std::string_view number, std::string_view unit, uint64_t& bytes) {
  auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), bytes);
  if (error != std::errc() || end != number.data() + number.size()) return false;
  if (unit == "KiB")
    bytes *= kKiB;
  else if (unit == "MiB")
    bytes *= kMiB;
  else if (unit == "GiB")
    bytes *= kGiB;
  else
    return false;
  return bytes != 0;
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (!(line = trim(line)).empty()) {
    size_t end = line.find(' ');
    words.push_back(line.substr(0, end));
    line.remove_prefix(end == std::string_view::npos ? line.size() : end);
  }
  return words;
}

// "  0000000000100000-0000000007ffffff (prio 0, ram): m0 @0000000000100000", false when it is
// another.
bool parse_ram_line(std::string_view line, MappedRam& ram) {
  line = trim(line);
  size_t dash = line.find('-');
  size_t kind = line.find(", ram): ");
  if (dash == std::string_view::npos || kind == std::string_view::npos) return false;
  if (!parse_hex(line.substr(0, dash), ram.guest_address)) return false;
  std::string_view name = line.substr(kind + 8);
  for (std::string_view remark : {" KVM", " (read only)"}) {
    if (name.ends_with(remark)) name.remove_suffix(remark.size());
  }
  ram.block_offset = 0;
  if (size_t at = name.rfind(" @"); at != std::string_view::npos) {
    if (!parse_hex(name.substr(at + 2), ram.block_offset)) return false;
    name = name.substr(0, at);
  }
  ram.block = name;
  return true;
}

}  // namespace

Result<std::vector<RamBlock>> parse_ram_blocks(std::string_view text) {
  // Block Name    PSize  Offset  Used  Total [HVA RO]; the name may hold anything but blanks.
  std::vector<RamBlock> blocks;
  std::string_view line;
  bool heading = true;
  while (take_line(text, line)) {
    if (heading || trim(line).empty()) {
      heading = false;
      continue;
    }
    std::vector<std::string_view> words = words_of(line);
    RamBlock block;
    if (words.size() < 6 || !parse_size(words[1], words[2], block.page_size_bytes) ||
        !parse_hex(words[4], block.used_bytes)) {
      return fail(Errc::kCorrupt, "unexpected line in QEMU's list of RAM blocks: '{}'", line);
    }
    block.name = words[0];
    blocks.push_back(std::move(block));
  }
  return blocks;
}

Result<std::vector<MappedRam>> parse_memory_tree(std::string_view text) {
  std::vector<MappedRam> ram;
  bool in_memory = false;
  std::string_view line;
  while (take_line(text, line)) {
    if (line.starts_with("FlatView")) in_memory = false;
    if (trim(line).starts_with("AS \"memory\"")) in_memory = true;
    MappedRam mapped;
    if (in_memory && parse_ram_line(line, mapped)) ram.push_back(std::move(mapped));
  }
  if (ram.empty()) return fail(Errc::kCorrupt, "QEMU's memory tree shows no RAM");
  return ram;
}

Result<uint64_t> parse_host_address(std::string_view text, std::string_view block) {
  // Host virtual address for 0x9000000 (m1) is 0x7fcda8ffe000
  std::string_view line = trim(text.substr(0, text.find_first_of("\r\n")));
  std::string wanted = fmt::format(" ({}) is ", block);
  size_t at = line.find(wanted);
  uint64_t address = 0;
  if (at == std::string_view::npos || !parse_hex(line.substr(at + wanted.size()), address)) {
    return fail(Errc::kGuest, "QEMU does not say where RAM block {} lies: '{}'", block, line);
  }
  return address;
}

}  // namespace godwit::qemu
