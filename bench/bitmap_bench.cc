// SPDX-License-Identifier: Apache-2.0
//
// What does finding the pages to send cost? Walking the runs of the bitmap of a 4 GiB block, by how
// much of it is dirty, and combining two such bitmaps.
#include <benchmark/benchmark.h>

#include <random>

#include "engine/base/units.h"
#include "engine/memory/page_bitmap.h"

namespace godwit {
namespace {

constexpr uint64_t kPages = 4 * kGiB / kBasePageBytes;

// One page in `one_in` set, at random.
PageBitmap sparse_bitmap(uint64_t one_in) {
  PageBitmap bitmap(kPages);
  if (one_in == 1) bitmap.set_all();
  std::mt19937_64 random(1);
  for (uint64_t i = 0; one_in > 1 && i < kPages / one_in; ++i) bitmap.set(random() % kPages);
  return bitmap;
}

void walk_runs(benchmark::State& state) {
  const PageBitmap bitmap = sparse_bitmap(static_cast<uint64_t>(state.range(0)));
  uint64_t runs = 0;
  for (auto _ : state) {
    runs = 0;
    for (auto run = bitmap.next_run(0, kPages); run;
         run = bitmap.next_run(run->first_page + run->page_count, kPages)) {
      benchmark::DoNotOptimize(run->first_page);
      ++runs;
    }
  }
  state.counters["runs"] = static_cast<double>(runs);
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kPages));
}
BENCHMARK(walk_runs)->ArgName("one_page_in")->Arg(1)->Arg(2)->Arg(10)->Arg(100)->Arg(10'000);

void count_pages(benchmark::State& state) {
  const PageBitmap bitmap = sparse_bitmap(10);
  for (auto _ : state) benchmark::DoNotOptimize(bitmap.count());
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kPages));
}
BENCHMARK(count_pages);

void unite_bitmaps(benchmark::State& state) {
  PageBitmap bitmap = sparse_bitmap(10);
  const PageBitmap other = sparse_bitmap(100);
  for (auto _ : state) {
    bitmap.unite(other);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kPages));
}
BENCHMARK(unite_bitmaps);

}  // namespace
}  // namespace godwit
