// SPDX-License-Identifier: Apache-2.0
//
// What does the CRC32C of a page cost, in the L2 cache as behind a copy, and from DRAM?
#include <benchmark/benchmark.h>

#include <span>
#include <vector>

#include "engine/base/units.h"
#include "transports/tcp/checksum.h"

namespace godwit {
namespace {

void checksum_pages(benchmark::State& state) {
  const auto size_bytes = static_cast<size_t>(state.range(0));
  const std::vector<std::byte> memory(size_bytes, std::byte{0x5A});
  for (auto _ : state) {
    for (size_t at = 0; at < size_bytes; at += kBasePageBytes)
      benchmark::DoNotOptimize(crc32c(std::span(memory).subspan(at, kBasePageBytes)));
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * size_bytes));
}
BENCHMARK(checksum_pages)->ArgName("bytes")->Arg(256 * kKiB)->Arg(512 * kMiB);

}  // namespace
}  // namespace godwit
