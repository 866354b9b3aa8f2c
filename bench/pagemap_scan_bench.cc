// SPDX-License-Identifier: Apache-2.0
//
// What does finding what the guest has written cost, with the real kernel? A round over 512 MiB of
// shared memory of this process, by how much of it was written since the last: nothing, one page in
// so many at equal distances, or all. Only the scan is timed, not the writing.
#include <benchmark/benchmark.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <span>

#include "engine/base/time.h"
#include "engine/base/units.h"
#include "vmm-adapters/linux/pagemap_tracker.h"
#include "vmm-adapters/linux/shared_mapping.h"

namespace godwit {
namespace {

constexpr uint64_t kMemoryBytes = 512 * kMiB;
constexpr uint64_t kPageCount = kMemoryBytes / kBasePageBytes;

void write_one_page_in(std::span<std::byte> memory, uint64_t one_in) {
  for (uint64_t page = 0; one_in > 0 && page < kPageCount; page += one_in)
    memory[page * kBasePageBytes] = static_cast<std::byte>(page | 1);
}

void scan_round(benchmark::State& state) {
  const auto one_in = static_cast<uint64_t>(state.range(0));
  const UniqueFd file(::memfd_create("godwit-bench", MFD_CLOEXEC));
  if (!file.valid() || ::ftruncate(file.get(), kMemoryBytes) != 0)
    return state.SkipWithError("no memory");
  const Result<SharedMapping> mapping = SharedMapping::map(file.get(), {0, kMemoryBytes});
  if (!mapping) return state.SkipWithError("no memory");
  const GuestMemory guest = {{"memory", kBasePageBytes, -1, mapping->bytes(), file.get(), 0}};
  write_one_page_in(mapping->bytes(), 1);
  const auto tracker = track_own_process(guest);
  if (!tracker) return state.SkipWithError("no PAGEMAP_SCAN here (Linux 6.7), or not allowed");
  if (!(*tracker)->start()) return state.SkipWithError("no write protection here");
  GuestPageSet dirty = empty_page_set(guest);
  if (!(*tracker)->collect(dirty)) return state.SkipWithError("the scan failed");

  for (auto _ : state) {
    write_one_page_in(mapping->bytes(), one_in);
    dirty[0].clear_all();
    const Clock::time_point begin = Clock::now();
    const Status collected = (*tracker)->collect(dirty);
    state.SetIterationTime(to_seconds(Clock::now() - begin));
    if (!collected) return state.SkipWithError("the scan failed");
  }
  state.counters["dirty_pages"] = static_cast<double>(dirty[0].count());
  state.counters["GiB/s"] = benchmark::Counter(
      static_cast<double>(state.iterations()) * static_cast<double>(kMemoryBytes) / kGiB,
      benchmark::Counter::kIsRate);
}
BENCHMARK(scan_round)
    ->ArgName("one_page_in")
    ->Arg(0)
    ->Arg(10'000)
    ->Arg(100)
    ->Arg(10)
    ->Arg(1)
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace godwit
