// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm-adapters/qemu/stream/recorded.h"

#include <gtest/gtest.h>
#include <isa-l/igzip_lib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace godwit::qemu::stream {
namespace {

constexpr size_t kGrowthBytes = size_t{1} << 20;

}  // namespace

std::vector<std::byte> read_recorded(std::string_view name) {
  const std::string path = std::string(GODWIT_RECORDED_STREAMS) + "/" + std::string(name) + ".gz";
  std::ifstream file(path, std::ios::binary);
  std::string compressed((std::istreambuf_iterator<char>(file)), {});
  EXPECT_FALSE(compressed.empty()) << path;

  inflate_state state;
  isal_inflate_init(&state);
  state.crc_flag = ISAL_GZIP;
  state.next_in = reinterpret_cast<uint8_t*>(compressed.data());
  state.avail_in = static_cast<uint32_t>(compressed.size());
  std::vector<std::byte> content;
  while (state.block_state != ISAL_BLOCK_FINISH) {
    const size_t before = content.size();
    content.resize(before + kGrowthBytes);
    state.next_out = reinterpret_cast<uint8_t*>(&content[before]);
    state.avail_out = kGrowthBytes;
    const int result = isal_inflate(&state);
    content.resize(content.size() - state.avail_out);
    EXPECT_EQ(result, ISAL_DECOMP_OK) << path;
    if (result != ISAL_DECOMP_OK || content.size() == before) break;
  }
  return content;
}

std::vector<std::string> recorded_names(std::string_view suffix) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(GODWIT_RECORDED_STREAMS)) {
    std::string name = entry.path().stem().string();
    if (entry.path().extension() == ".gz" && name.ends_with(suffix)) {
      names.push_back(std::move(name));
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

StreamParser parser_for(std::string_view name) {
  StreamParser::Options options;
  if (name.find("huge-pages") != name.npos) options.block_page_sizes = {{"ram0", 2 * kMiB}};
  return StreamParser(std::move(options));
}

}  // namespace godwit::qemu::stream
