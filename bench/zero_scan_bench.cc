// SPDX-License-Identifier: Apache-2.0
//
// What does looking for zero pages cost, page by page? By version (1 portable, 2 AVX2, 3 AVX-512),
// for memory that is all zero (one full pass), from DRAM and from the L2 cache, and for pages that
// are not (the first cache lines decide).
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <span>

#include "engine/base/units.h"
#include "engine/memory/zero_scan.h"

namespace godwit {
namespace {

enum class Content : uint8_t { kZero = 1, kFirstByteSet = 2 };

class Memory {
 public:
  Memory(uint64_t size_bytes, Content content)
      : size_bytes_(size_bytes),
        start_(::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                      0)) {
    if (start_ == MAP_FAILED) return;
    // Written, so that each page has storage of its own and not the kernel's one zero page.
    for (uint64_t at = 0; at < size_bytes; at += kBasePageBytes)
      bytes()[at] = content == Content::kZero ? std::byte{0} : std::byte{1};
  }
  ~Memory() {
    if (valid()) ::munmap(start_, size_bytes_);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  bool valid() const { return start_ != MAP_FAILED; }
  std::span<std::byte> bytes() const { return {static_cast<std::byte*>(start_), size_bytes_}; }

 private:
  uint64_t size_bytes_;
  void* start_;
};

void scan(benchmark::State& state, Content content) {
  const auto kind = static_cast<ZeroScanKind>(state.range(0));
  const auto size_bytes = static_cast<uint64_t>(state.range(1));
  if (!zero_scan_supported(kind)) return state.SkipWithError("this CPU lacks the instruction set");
  const Memory memory(size_bytes, content);
  if (!memory.valid()) return state.SkipWithError("no memory");

  for (auto _ : state) {
    uint64_t zero_pages = 0;
    for (uint64_t at = 0; at < size_bytes; at += kBasePageBytes)
      zero_pages += is_zero_with(kind, memory.bytes().subspan(at, kBasePageBytes)) ? 1 : 0;
    benchmark::DoNotOptimize(zero_pages);
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * size_bytes));
}

void zero_pages(benchmark::State& state) {
  scan(state, Content::kZero);
}
void written_pages(benchmark::State& state) {
  scan(state, Content::kFirstByteSet);
}

BENCHMARK(zero_pages)
    ->ArgNames({"kind", "bytes"})
    ->ArgsProduct({{1, 2, 3}, {256 * kKiB, 512 * kMiB}});
BENCHMARK(written_pages)->ArgNames({"kind", "bytes"})->ArgsProduct({{1, 2, 3}, {512 * kMiB}});

}  // namespace
}  // namespace godwit
