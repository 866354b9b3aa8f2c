// SPDX-License-Identifier: Apache-2.0
//
// The record that outlives an agent: what is read is what was written, and nothing else is read.
#include "vmm-adapters/qemu/ram_record.h"

#include <gtest/gtest.h>

#include "engine/base/units.h"
#include "vmm-adapters/qemu/json_access.h"

namespace godwit::qemu {
namespace {

RamRecord example() {
  RamRecord record{.vmm = {4711, 1234567}, .qmp_path = "/run/qmp \"one\"", .blocks = {}};
  record.blocks.push_back({.name = "ram0",
                           .size_bytes = 4 * kGiB,
                           .page_size_bytes = 4 * kKiB,
                           .numa_node = -1,
                           .owner_address = 0x7f00'0000'0000,
                           .file = {26, 18446744073709551615U},
                           .file_offset_bytes = 0,
                           .path = "/dev/shm/a b"});
  record.blocks.push_back({.name = "huge",
                           .size_bytes = 2 * kGiB,
                           .page_size_bytes = 2 * kMiB,
                           .numa_node = 1,
                           .owner_address = 0x7e00'0000'0000,
                           .file = {27, 5},
                           .file_offset_bytes = 2 * kMiB,
                           .path = "/memfd:x (deleted)"});
  return record;
}

TEST(RamRecord, ReadsWhatItWrote) {
  const std::string text = encode_ram_record(example());

  Result<RamRecord> read = parse_ram_record(text);

  ASSERT_TRUE(read) << to_string(read.error());
  EXPECT_EQ(text.find('\n'), std::string::npos);
  EXPECT_EQ(read->vmm.pid, 4711);
  EXPECT_EQ(read->vmm.start_ticks, 1234567U);
  EXPECT_EQ(read->qmp_path, example().qmp_path);
  EXPECT_EQ(read->blocks, example().blocks);
}

TEST(RamRecord, IsRejectedWhenCutAnywhere) {
  const std::string text = encode_ram_record(example());

  for (size_t length = 0; length < text.size(); ++length) {
    Result<RamRecord> read = parse_ram_record(text.substr(0, length));
    ASSERT_FALSE(read) << length;
    EXPECT_EQ(read.error().code, Errc::kCorrupt);
  }
}

TEST(RamRecord, IsRejectedWithoutAnyOfItsFields) {
  const Json whole = Json::parse(encode_ram_record(example()));

  for (const auto& [key, value] : whole.items()) {
    Json lacking = whole;
    lacking.erase(key);
    EXPECT_FALSE(parse_ram_record(lacking.dump())) << key;
  }
  for (const auto& [key, value] : whole["blocks"][0].items()) {
    Json lacking = whole;
    lacking["blocks"][0].erase(key);
    Result<RamRecord> read = parse_ram_record(lacking.dump());
    ASSERT_FALSE(read) << key;
    EXPECT_NE(read.error().text().find(key), std::string_view::npos);
  }
}

struct WrongValue {
  const char* key;
  Json value;
};

TEST(RamRecord, IsRejectedWithValuesThatCannotBe) {
  const WrongValue wrong[] = {
      {"size", 0},
      {"size", 4 * kGiB + 1},
      {"size", -4096},
      {"size", "4096"},
      {"size", 18446744073709547520U},
      {"page-size", 0},
      {"page-size", 1024},
      {"page-size", 12288},
      {"numa-node", -2},
      {"numa-node", 1.5},
      {"address", 0},
      {"address", 0x7f00'0000'0001},
      {"address", 18446744073709547520U},
      {"offset", 18446744073709547520U},
      {"inode", 0},
      {"path", 1},
      {"name", nullptr},
  };
  for (const WrongValue& one : wrong) {
    Json json = Json::parse(encode_ram_record(example()));
    json["blocks"][0][one.key] = one.value;
    EXPECT_FALSE(parse_ram_record(json.dump())) << one.key << " " << one.value;
  }
  for (const Json& pid : {Json(0), Json(-1), Json(5'000'000'000)}) {
    Json json = Json::parse(encode_ram_record(example()));
    json["pid"] = pid;
    EXPECT_FALSE(parse_ram_record(json.dump())) << pid;
  }
}

TEST(RamRecord, IsRejectedWhenItIsSomethingElse) {
  for (const char* text : {"", "{}", "[]", "null", "1", "{\"godwit-qemu-ram\":2}", "\xff"}) {
    EXPECT_FALSE(parse_ram_record(text)) << text;
  }
}

}  // namespace
}  // namespace godwit::qemu
