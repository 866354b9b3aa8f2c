// SPDX-License-Identifier: Apache-2.0
//
// What does a trip through io_uring cost, apart from what is asked for? Entries that ask for
// nothing, submitted by so many at a time, until all have completed: what batches save.
#include <benchmark/benchmark.h>

#include "engine/base/check.h"
#include "transports/tcp/ring.h"

namespace godwit {
namespace {

constexpr unsigned kEntries = 256;

void submit_and_reap(benchmark::State& state) {
  const auto batch = static_cast<uint64_t>(state.range(0));
  const Result<std::unique_ptr<Ring>> opened = Ring::open(kEntries);
  if (!opened) return state.SkipWithError("no io_uring here");
  Ring& ring = **opened;
  for (auto _ : state) {
    for (uint64_t i = 0; i < batch; ++i) io_uring_prep_nop(ring.next_entry());
    CHECK(ring.submit().has_value());
    for (uint64_t completed = 0; completed < batch;) {
      io_uring_cqe* completion = ring.peek();
      if (completion == nullptr) {
        CHECK(ring.submit_and_wait(deadline_in(seconds(60))).has_value());
        continue;
      }
      ring.seen(completion);
      ++completed;
    }
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * batch));
}
BENCHMARK(submit_and_reap)->ArgName("batch")->Arg(1)->Arg(8)->Arg(64);

}  // namespace
}  // namespace godwit
