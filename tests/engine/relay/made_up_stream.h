// SPDX-License-Identifier: Apache-2.0
//
// The stream of a VMM that does not exist, as simple as one can be that has pages in it; what its
// guest's memory is at every point of the stream; and what takes its pages out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/page_extractor.h"

namespace godwit::relay {

enum class RecordKind : uint8_t {
  kPlace = 1,       // followed by `size` bytes of content
  kClear = 2,       // `size` pages
  kPass = 3,        // this and all that follow are for the VMM: `size` bytes
  kCheck = 4,       // the VMM looks at all pages that do not change after this
  kQuietCheck = 5,  // nothing comes before the VMM has looked, at all pages
};

// As it travels.
struct Record {
  RecordKind kind;
  uint8_t block;
  uint16_t offset_bytes;  // in the page
  uint32_t page;
  uint32_t size;
  uint32_t index;  // in the script
};
static_assert(sizeof(Record) == 16);

using Script = std::vector<Record>;
using BlockContents = std::vector<std::vector<std::byte>>;

// Together more than a sender has on its way at a time.
inline constexpr std::array<uint64_t, 3> kBlockPages = {64, 7, 1200};

// Half of it on a few pages, so that one is placed and cleared over and over. Ends with a check.
Script make_script(uint64_t seed, size_t records);

// What follows a record: never zero, and other bytes after every record.
std::vector<std::byte> content_of(const Record& record);
bool has_content(RecordKind kind);
bool is_passed_on(RecordKind kind);

// A record and what follows it.
void append(std::vector<std::byte>& stream, const Record& record);

// Guest memory after this record. `source` has the pages that are placed where they are not taken
// from the stream.
void apply(const Record& record, const BlockContents* source, BlockContents& memory);

// By block and page: the index of the last record that changes it, or -1.
std::vector<std::vector<int64_t>> last_changes(const Script& script);

std::unique_ptr<PageExtractor> make_record_extractor();

}  // namespace godwit::relay
