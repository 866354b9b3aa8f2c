// SPDX-License-Identifier: Apache-2.0
//
// What does posting writes to an RDMA device cost this CPU, per operation? A batch of 4 KiB
// operations at neighbouring places, which become one request, or apart, which are one each. Only
// the posting is timed; the batch then travels untimed. Needs an RDMA device: scripts/lab has one.
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <array>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "engine/base/check.h"
#include "tests/support/connected_endpoints.h"
#include "transports/rdma/rdma_transport.h"

namespace godwit {
namespace {

constexpr uint64_t kMemoryBytes = 1 * kMiB;

std::span<std::byte> map_memory() {
  void* start = ::mmap(nullptr, kMemoryBytes, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  CHECK(start != MAP_FAILED);
  return {static_cast<std::byte*>(start), kMemoryBytes};
}

// Both ends of a lane; the destination's is served by a thread of its own.
class Lane {
 public:
  static Result<std::unique_ptr<Lane>> open() {
    std::unique_ptr<Lane> lane(new Lane);
    ASSIGN_OR_RETURN(lane->source_, RdmaTransport::open());
    ASSIGN_OR_RETURN(lane->destination_, RdmaTransport::open());
    ASSIGN_OR_RETURN(lane->local_,
                     lane->source_->register_memory(map_memory(), RemoteAccess::kNone));
    ASSIGN_OR_RETURN(lane->remote_,
                     lane->destination_->register_memory(map_memory(), RemoteAccess::kWrite));
    test::ConnectedEndpoints ends = test::connect_endpoints(
        *lane->source_, *lane->destination_, lane->source_->host() + ":0", test::make_ticket(0));
    lane->source_end_ = std::move(ends.source);
    lane->destination_end_ = std::move(ends.destination);
    lane->serving_ = std::jthread([end = lane->destination_end_.get()] {
      std::array<std::byte, 64> message;
      while (end->receive(message, deadline_in(seconds(60)))) {
      }
    });
    return lane;
  }
  ~Lane() {
    if (destination_end_ != nullptr) destination_end_->shut_down();
  }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  std::vector<TransferOp> batch(size_t count, uint64_t stride_bytes) const {
    std::vector<TransferOp> ops;
    for (uint64_t i = 0; i < count; ++i) {
      ops.push_back({local_.get(), i * stride_bytes, remote_->describe(), i * stride_bytes,
                     kBasePageBytes, i});
    }
    return ops;
  }

  // Returns how many were taken.
  size_t post(std::span<const TransferOp> ops) {
    return source_end_->post_writes(ops, SourceMemory::kFrozen).value();
  }

  void await(size_t count) {
    std::array<Completion, 64> completions;
    while (count > 0) {
      const size_t completed = source_end_->poll(completions, deadline_in(seconds(60))).value();
      CHECK(completed > 0 && completions[0].status == OpStatus::kOk);
      count -= completed;
    }
  }

 private:
  Lane() = default;

  std::unique_ptr<RdmaTransport> source_;
  std::unique_ptr<RdmaTransport> destination_;
  std::unique_ptr<MemoryRegion> local_;
  std::unique_ptr<MemoryRegion> remote_;
  std::unique_ptr<Endpoint> source_end_;
  std::unique_ptr<Endpoint> destination_end_;
  std::jthread serving_;
};

void post_writes(benchmark::State& state, uint64_t stride_bytes) {
  const Result<std::unique_ptr<Lane>> lane = Lane::open();
  if (!lane) return state.SkipWithError("no RDMA device here: run it in scripts/lab");
  const auto count = static_cast<size_t>(state.range(0));
  const std::vector<TransferOp> ops = (*lane)->batch(count, stride_bytes);
  // Until memory is pinned and its keys are known, nothing is taken.
  size_t ready = 0;
  while ((ready += (*lane)->post(std::span(ops).subspan(ready))) < count) {
  }
  (*lane)->await(count);

  for (auto _ : state) {
    const Clock::time_point begin = Clock::now();
    const size_t taken = (*lane)->post(ops);
    state.SetIterationTime(to_seconds(Clock::now() - begin));
    CHECK(taken == count);
    (*lane)->await(count);
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * count));
}

BENCHMARK_CAPTURE(post_writes, neighbours, kBasePageBytes)
    ->ArgName("batch")
    ->Arg(1)
    ->Arg(16)
    ->Arg(64)
    ->UseManualTime();
BENCHMARK_CAPTURE(post_writes, apart, 2 * kBasePageBytes)
    ->ArgName("batch")
    ->Arg(16)
    ->Arg(64)
    ->UseManualTime();

}  // namespace
}  // namespace godwit
