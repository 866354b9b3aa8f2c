// SPDX-License-Identifier: Apache-2.0
//
// What does a lane cost per dirty page, until its transport has it? Walking the bitmap, looking for
// zeroes and making operations of neighbouring pages, by the length of the dirty runs; between
// equally long clean ones. The endpoint takes everything and does nothing, so that nothing else is
// measured.
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/units.h"
#include "engine/precopy/lane.h"

namespace godwit::precopy {
namespace {

constexpr uint64_t kMemoryBytes = 256 * kMiB;
constexpr uint64_t kPageCount = kMemoryBytes / kBasePageBytes;

class BottomlessEndpoint final : public Endpoint {
 public:
  explicit BottomlessEndpoint(uint64_t& operations) : operations_(operations) {}

  Result<size_t> post_writes(std::span<const TransferOp> ops, SourceMemory) override {
    for (const TransferOp& op : ops) under_way_.push_back(op.tag);
    operations_ += ops.size();
    return ops.size();
  }
  Result<size_t> poll(std::span<Completion> completions, Deadline) override {
    const size_t count = std::min(completions.size(), under_way_.size());
    for (size_t i = 0; i < count; ++i) {
      completions[i] = {under_way_.back(), OpStatus::kOk, 0};
      under_way_.pop_back();
    }
    return count;
  }
  Result<size_t> post_reads(std::span<const TransferOp>) override { return 0; }
  Status flush(Deadline) override { return {}; }
  Status send(std::span<const std::byte>, Deadline) override { return {}; }
  Result<size_t> receive(std::span<std::byte>, Deadline) override { return 0; }
  void shut_down() override {}

 private:
  uint64_t& operations_;
  std::vector<uint64_t> under_way_;
};

class Memory {
 public:
  explicit Memory(int content)
      : start_(::mmap(nullptr, kMemoryBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                      -1, 0)) {
    CHECK(start_ != MAP_FAILED);
    std::memset(start_, content, kMemoryBytes);
  }
  ~Memory() { ::munmap(start_, kMemoryBytes); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  GuestMemory as_guest() const {
    return {{"memory", kBasePageBytes, -1, {static_cast<std::byte*>(start_), kMemoryBytes}, -1, 0}};
  }

 private:
  void* start_;
};

void send_pages(benchmark::State& state, int content) {
  const Memory memory(content);
  const GuestMemory guest = memory.as_guest();
  const auto run_pages = static_cast<uint64_t>(state.range(0));
  GuestPageSet pages = empty_page_set(guest);
  for (uint64_t page = 0; page < kPageCount; ++page) {
    if (page / run_pages % 2 == 0) pages[0].set(page);
  }
  BandwidthLimiter limiter(0);
  Interruption interruption;
  const LaneContext context{
      .memory = guest,
      .rails = {{.local = {nullptr}, .remote = {RemoteRegion{}}, .in_flight_bytes_max = 64 * kMiB}},
      .limiter = limiter,
      .interruption = interruption,
      .stall_max = seconds(60)};
  uint64_t operations = 0;
  Lane lane(context, 0, std::make_unique<BottomlessEndpoint>(operations));
  const PageTransfer transfer{
      .pages = &pages, .zeroes = nullptr, .memory = SourceMemory::kLive, .round = 2};

  for (auto _ : state) {
    CHECK(lane.send_chunk({0, {0, kPageCount}}, Turn::kFirst, transfer).has_value());
  }
  const auto sent = static_cast<double>(state.iterations() * pages[0].count());
  state.counters["operations_per_page"] = static_cast<double>(operations) / sent;
  state.SetItemsProcessed(static_cast<int64_t>(sent));
}

void written_pages(benchmark::State& state) {
  send_pages(state, 1);
}
void zero_pages(benchmark::State& state) {
  send_pages(state, 0);
}

BENCHMARK(written_pages)->ArgName("run_pages")->Arg(1)->Arg(8)->Arg(64)->Arg(4096);
BENCHMARK(zero_pages)->ArgName("run_pages")->Arg(1)->Arg(4096);

}  // namespace
}  // namespace godwit::precopy
