// SPDX-License-Identifier: Apache-2.0
//
// Whatever bytes QEMU sends, pages are placed where there is memory, and the same ones however the
// stream is cut. The first byte says how, the second which blocks there are; the rest is the
// stream.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/units.h"
#include "vmm-adapters/qemu/qemu_page_extractor.h"
#include "vmm-adapters/qemu/stream/stream_parser.h"

namespace {

using Bytes = std::span<const std::byte>;
using Blocks = std::vector<godwit::BlockDescription>;
using godwit::kBasePageBytes;

// What came of a stream, in so far as it may not depend on pieces.
struct Found final : godwit::PageExtractor::Output {
  explicit Found(const Blocks& offered) : blocks(offered) {}

  godwit::Status pass_on(Bytes bytes) override {
    passed.insert(passed.end(), bytes.begin(), bytes.end());
    return {};
  }
  godwit::Status place(uint32_t block, uint64_t offset_bytes, Bytes content) override {
    const uint64_t in_page = offset_bytes % kBasePageBytes;
    CHECK(note_is_empty() && !content.empty() && in_page + content.size() <= kBasePageBytes);
    CHECK(content.data() >= piece.data() &&
          content.data() + content.size() <= piece.data() + piece.size());
    std::vector<std::byte>& page = page_at(block, offset_bytes - in_page);
    std::copy(content.begin(), content.end(), page.begin() + static_cast<ptrdiff_t>(in_page));
    return {};
  }
  godwit::Status clear(uint32_t block, uint64_t offset_bytes, uint64_t size_bytes) override {
    CHECK(note_is_empty() && offset_bytes % kBasePageBytes == 0 && size_bytes == kBasePageBytes);
    page_at(block, offset_bytes).assign(kBasePageBytes, std::byte{0});
    return {};
  }
  godwit::Status settle() override { return {}; }
  godwit::Status complete() override { return {}; }
  bool note_is_empty() const { return extractor->note().empty(); }
  std::vector<std::byte>& page_at(uint32_t block, uint64_t offset_bytes) {
    CHECK(block < blocks.size() && offset_bytes < blocks[block].size_bytes &&
          blocks[block].size_bytes - offset_bytes >= kBasePageBytes);
    std::vector<std::byte>& page = pages[{block, offset_bytes}];
    page.resize(kBasePageBytes);
    return page;
  }

  const Blocks& blocks;
  const godwit::PageExtractor* extractor = nullptr;
  Bytes piece;
  std::vector<std::byte> passed;
  std::map<std::pair<uint32_t, uint64_t>, std::vector<std::byte>> pages;
  bool failed = false;
};

Found take_apart(Bytes stream, const Blocks& blocks, size_t piece_bytes) {
  const auto extractor = godwit::qemu::make_page_extractor(blocks);
  Found found(blocks);
  found.extractor = extractor.get();
  std::vector<std::byte> piece;
  while (!stream.empty() && !found.failed) {
    const Bytes next = stream.first(std::min(piece_bytes, stream.size()));
    stream = stream.subspan(next.size());
    piece.assign(next.begin(), next.end());
    found.piece = piece;
    found.failed = !extractor->take_apart(piece, found).has_value();
  }
  if (!found.failed) CHECK(extractor->finish(found).has_value());
  return found;
}

// Those that the stream lists, as they are there or with another size or name.
Blocks blocks_for(Bytes stream, uint8_t choice) {
  godwit::qemu::stream::StreamParser parser({});
  godwit::qemu::stream::StreamEvent event;
  parser.feed(stream);
  while (parser.next(event)) continue;
  Blocks blocks;
  for (const auto& listed : parser.blocks()) {
    const auto index = static_cast<uint32_t>(blocks.size());
    if (index == 8) break;
    const bool placed = (choice >> index & 1) != 0;
    blocks.push_back({.name = listed.name,
                      .size_bytes = listed.size_bytes + (placed ? 0 : kBasePageBytes),
                      .page_size_bytes = kBasePageBytes});
  }
  return blocks;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (size < 2) return 0;
  const size_t piece_bytes = size_t{input[0]} + 1;
  const Bytes stream = std::as_bytes(std::span(input, size)).subspan(2);
  const Blocks blocks = blocks_for(stream, input[1]);

  const Found whole = take_apart(stream, blocks, stream.size() + 1);
  const Found cut = take_apart(stream, blocks, piece_bytes);
  CHECK(whole.failed == cut.failed && whole.passed == cut.passed && whole.pages == cut.pages);

  const Found nothing = take_apart(stream, {}, piece_bytes);
  CHECK(std::equal(nothing.passed.begin(), nothing.passed.end(), stream.begin(), stream.end()));
  return 0;
}
