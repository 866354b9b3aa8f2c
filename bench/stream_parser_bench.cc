// SPDX-License-Identifier: Apache-2.0
//
// How fast is QEMU's migration stream taken apart, when nobody looks at the pages? In pieces as a
// socket gives them, for a stream of pages and for one of zero pages; with all passed on, and with
// all left out.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <vector>

#include "engine/base/units.h"
#include "vmm-adapters/qemu/stream/stream_encoder.h"
#include "vmm-adapters/qemu/stream/stream_parser.h"
#include "vmm-adapters/qemu/stream/stream_writer.h"

namespace godwit::qemu::stream {
namespace {

constexpr uint64_t kGuestBytes = 512 * kMiB;
constexpr uint64_t kSectionPages = 4096;

// A whole pass over a guest, as QEMU sends it.
std::vector<std::byte> make_stream(RamRecordType type) {
  std::vector<std::byte> bytes;
  bytes.reserve(kGuestBytes + kGuestBytes / 256);
  StreamEncoder encoder(bytes);
  encoder.file_header({.version = kFileVersion});
  encoder.configuration({.machine = "pc"});
  SectionHeader header{.content = SectionContent::kRam,
                       .type = ItemType::kSectionStart,
                       .id = 2,
                       .name = "ram",
                       .instance = 0,
                       .version = kRamSectionVersion};
  encoder.section_header(header);
  encoder.ram_list_header({.total_bytes = kGuestBytes});
  encoder.ram_list_entry(
      {.name = "ram0", .size_bytes = kGuestBytes, .page_size_bytes = {}, .address = {}});
  RamRecord record{.type = type,
                   .names_block = true,
                   .fill = 0,
                   .payload_bytes = 0,
                   .block = 0,
                   .offset_bytes = 0};
  for (uint64_t page = 0; page < kGuestBytes / kBasePageBytes; ++page) {
    if (page % kSectionPages == 0) {
      encoder.end_of_section();
      encoder.section_footer({.id = header.id});
      header.type = ItemType::kSectionPart;
      encoder.section_header(header);
    }
    record.offset_bytes = page * kBasePageBytes;
    encoder.record(record, "ram0");
    record.names_block = false;
    if (type == RamRecordType::kPage) bytes.insert(bytes.end(), kBasePageBytes, std::byte{1});
  }
  encoder.end_of_section();
  encoder.section_footer({.id = header.id});
  return bytes;
}

enum class Relay : uint8_t { kPassAll = 1, kDropPages = 2 };

void parse(benchmark::State& state, RamRecordType type, Relay relay) {
  const std::vector<std::byte> stream = make_stream(type);
  const auto piece_bytes = static_cast<size_t>(state.range(0));

  for (auto _ : state) {
    StreamParser parser({});
    StreamWriter writer(StreamWriter::Channel::kMain, parser.blocks());
    uint64_t written_bytes = 0;
    StreamEvent event;
    bool dropping = false;
    for (size_t at = 0; at < stream.size(); at += piece_bytes) {
      parser.feed(Bytes(stream).subspan(at, std::min(piece_bytes, stream.size() - at)));
      while (parser.next(event)) {
        const auto* record = std::get_if<RamRecord>(&event.what);
        if (record != nullptr) dropping = relay == Relay::kDropPages && is_page(record->type);
        if (dropping) {
          writer.drop(event);
        } else {
          written_bytes += writer.pass(event).size();
        }
      }
    }
    if (parser.is_opaque()) return state.SkipWithError("not understood");
    benchmark::DoNotOptimize(written_bytes);
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * stream.size()));
  state.SetItemsProcessed(
      static_cast<int64_t>(state.iterations() * (kGuestBytes / kBasePageBytes)));
}

void pages_passed(benchmark::State& state) {
  parse(state, RamRecordType::kPage, Relay::kPassAll);
}
void pages_dropped(benchmark::State& state) {
  parse(state, RamRecordType::kPage, Relay::kDropPages);
}
void zero_pages_passed(benchmark::State& state) {
  parse(state, RamRecordType::kZero, Relay::kPassAll);
}

BENCHMARK(pages_passed)->ArgName("piece")->Arg(16 * kKiB)->Arg(256 * kKiB);
BENCHMARK(pages_dropped)->ArgName("piece")->Arg(16 * kKiB)->Arg(256 * kKiB);
BENCHMARK(zero_pages_passed)->ArgName("piece")->Arg(256 * kKiB);

}  // namespace
}  // namespace godwit::qemu::stream
