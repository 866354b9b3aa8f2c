// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/relay/made_up_stream.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "engine/base/units.h"

namespace godwit::relay {
namespace {

constexpr uint32_t kClearedPagesMax = 8;
constexpr uint32_t kHotPages = 5;
constexpr uint32_t kPassedBytesMax = 150'000;

Record random_record(std::mt19937_64& random, uint32_t index) {
  const auto below = [&](uint64_t limit) { return static_cast<uint32_t>(random() % limit); };
  Record record{.kind = RecordKind::kPlace,
                .block = static_cast<uint8_t>(below(kBlockPages.size())),
                .offset_bytes = 0,
                .page = 0,
                .size = kBasePageBytes,
                .index = index};
  const auto pages = static_cast<uint32_t>(kBlockPages[record.block]);
  // The upper half of a block is never placed.
  const uint32_t kind = below(100);
  record.page = below(2) == 0 ? below(kHotPages) : below(kind < 45 ? pages / 2 : pages);
  if (kind < 45) {
    if (below(4) != 0) return record;
    record.offset_bytes = static_cast<uint16_t>(below(kBasePageBytes));
    record.size = 1 + below(kBasePageBytes - record.offset_bytes);
  } else if (kind < 70) {
    record.kind = RecordKind::kClear;
    record.size = 1 + below(std::min(pages - record.page, kClearedPagesMax));
  } else if (kind < 92) {
    record.kind = RecordKind::kPass;
    record.size = below(10) == 0 ? below(kPassedBytesMax) : below(100);
  } else {
    record.kind = kind < 96 ? RecordKind::kCheck : RecordKind::kQuietCheck;
    record.size = below(10);
  }
  return record;
}

class RecordExtractor final : public PageExtractor {
 public:
  Status take_apart(std::span<const std::byte> piece, Output& output) override {
    while (!piece.empty()) {
      const size_t taken = std::min<size_t>(
          piece.size(), content_left_ > 0 ? content_left_ : sizeof(Record) - head_bytes_);
      const auto part = piece.first(taken);
      piece = piece.subspan(taken);
      RETURN_IF_ERROR(content_left_ > 0 ? take_content(part, output) : take_head(part, output));
    }
    return {};
  }
  Status finish(Output& output) override { return output.complete(); }
  const std::string& note() const override { return note_; }

 private:
  Status take_head(std::span<const std::byte> part, Output& output) {
    std::memcpy(head_.data() + head_bytes_, part.data(), part.size());
    head_bytes_ += part.size();
    if (head_bytes_ < head_.size()) return {};
    head_bytes_ = 0;
    std::memcpy(&record_, head_.data(), head_.size());
    const uint64_t page_at = uint64_t{record_.page} * kBasePageBytes;
    if (has_content(record_.kind)) content_left_ = record_.size;
    at_bytes_ = page_at + record_.offset_bytes;
    if (is_passed_on(record_.kind)) return output.pass_on(head_);
    if (record_.kind != RecordKind::kClear) return {};
    return output.clear(record_.block, page_at, record_.size * kBasePageBytes);
  }

  Status take_content(std::span<const std::byte> part, Output& output) {
    content_left_ -= static_cast<uint32_t>(part.size());
    if (record_.kind != RecordKind::kPlace) return output.pass_on(part);
    const uint64_t at_bytes = at_bytes_;
    at_bytes_ += part.size();
    return output.place(record_.block, at_bytes, part);
  }

  std::array<std::byte, sizeof(Record)> head_{};
  size_t head_bytes_ = 0;
  Record record_{};
  uint32_t content_left_ = 0;
  uint64_t at_bytes_ = 0;
  const std::string note_;
};

}  // namespace

Script make_script(uint64_t seed, size_t records) {
  std::mt19937_64 random(seed);
  Script script;
  while (script.size() + 1 < records)
    script.push_back(random_record(random, static_cast<uint32_t>(script.size())));
  script.push_back({.kind = RecordKind::kQuietCheck,
                    .block = 0,
                    .offset_bytes = 0,
                    .page = 0,
                    .size = 0,
                    .index = static_cast<uint32_t>(script.size())});
  return script;
}

std::vector<std::byte> content_of(const Record& record) {
  std::vector<std::byte> content(record.size);
  uint64_t value = record.index;
  for (size_t at = 0; at < content.size(); at += sizeof(value)) {
    value = value * 6364136223846793005U + 1442695040888963407U;
    const uint64_t word = value | 0x0101010101010101U;
    std::memcpy(content.data() + at, &word, std::min(sizeof(word), content.size() - at));
  }
  return content;
}

bool has_content(RecordKind kind) {
  return kind != RecordKind::kClear;
}

bool is_passed_on(RecordKind kind) {
  return kind != RecordKind::kPlace && kind != RecordKind::kClear;
}

void append(std::vector<std::byte>& stream, const Record& record) {
  const auto head = std::as_bytes(std::span(&record, 1));
  stream.insert(stream.end(), head.begin(), head.end());
  if (!has_content(record.kind)) return;
  const std::vector<std::byte> content = content_of(record);
  stream.insert(stream.end(), content.begin(), content.end());
}

void apply(const Record& record, const BlockContents* source, BlockContents& memory) {
  if (is_passed_on(record.kind)) return;
  const uint64_t page_at_bytes = record.page * kBasePageBytes;
  const uint64_t at_bytes = page_at_bytes + record.offset_bytes;
  std::byte* const there = memory[record.block].data() + at_bytes;
  if (record.kind == RecordKind::kClear) {
    std::memset(there, 0, record.size * kBasePageBytes);
  } else if (source != nullptr) {
    std::memcpy(memory[record.block].data() + page_at_bytes,
                (*source)[record.block].data() + page_at_bytes, kBasePageBytes);
  } else {
    std::memcpy(there, content_of(record).data(), record.size);
  }
}

std::vector<std::vector<int64_t>> last_changes(const Script& script) {
  std::vector<std::vector<int64_t>> last;
  for (const uint64_t pages : kBlockPages) last.emplace_back(pages, -1);
  for (const Record& record : script) {
    if (is_passed_on(record.kind)) continue;
    const uint32_t pages = record.kind == RecordKind::kClear ? record.size : 1;
    for (uint32_t page = record.page; page < record.page + pages; ++page)
      last[record.block][page] = record.index;
  }
  return last;
}

std::unique_ptr<PageExtractor> make_record_extractor() {
  return std::make_unique<RecordExtractor>();
}

}  // namespace godwit::relay
