// SPDX-License-Identifier: Apache-2.0
//
// Which way to send a payload over TCP is fastest, and what does it cost in CPU? Copy, splice and
// zero-copy, with frames of 64 KiB, 256 KiB and 1 MiB, over loopback, from one shared mapping into
// another. CPU is of the whole process: both ends, kernel included.
#include <benchmark/benchmark.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "engine/base/check.h"
#include "tests/support/connected_endpoints.h"
#include "transports/tcp/tcp_transport.h"

namespace godwit {
namespace {

constexpr uint64_t kMemoryBytes = 256 * kMiB;
constexpr LaneTicket kTicket{{}, 0};

std::span<std::byte> map_filled_memory(int value) {
  void* start =
      ::mmap(nullptr, kMemoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(start != MAP_FAILED);
  std::memset(start, value, kMemoryBytes);
  return {static_cast<std::byte*>(start), kMemoryBytes};
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds_of = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

// Both ends of a lane; the destination's is served by a thread of its own.
class Lane {
 public:
  explicit Lane(const TcpOptions& options)
      : source_(TcpTransport::open(options).value()),
        destination_(TcpTransport::open(options).value()) {
    local_ = source_->register_memory(from(), RemoteAccess::kNone).value();
    remote_ = destination_->register_memory(to(), RemoteAccess::kWrite).value();
    test::ConnectedEndpoints ends =
        test::connect_endpoints(*source_, *destination_, "127.0.0.1:0", kTicket);
    source_end_ = std::move(ends.source);
    destination_end_ = std::move(ends.destination);
    serving_ = std::jthread([this] {
      std::array<std::byte, 64> message;
      while (destination_end_->receive(message, deadline_in(seconds(60)))) {
      }
    });
  }
  ~Lane() {
    destination_end_->shut_down();
    serving_.join();
  }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // Writes all memory in frames of `frame_bytes`: pieces of a frame go to neighbouring places,
  // those of different frames do not.
  void write_all(uint64_t frame_bytes) {
    std::vector<TransferOp> ops;
    const uint64_t frames = kMemoryBytes / frame_bytes;
    for (uint64_t frame = 0; frame < frames; ++frame) {
      const uint64_t start = frame * 7 % frames * frame_bytes;
      const uint64_t piece_bytes = std::min(frame_bytes, kOperationBytesMax);
      for (uint64_t at = 0; at < frame_bytes; at += piece_bytes) {
        ops.push_back({local_.get(), start + at, remote_->describe(), start + at,
                       static_cast<uint32_t>(piece_bytes), 0});
      }
    }
    // One post per frame, so that a frame is not filled up with the next.
    const size_t per_frame = std::max<uint64_t>(1, frame_bytes / kOperationBytesMax);
    std::array<Completion, 64> completions;
    size_t posted = 0;
    for (size_t completed = 0; completed < ops.size();) {
      if (posted < ops.size()) {
        const auto frame = std::span(ops).subspan(posted, per_frame - posted % per_frame);
        posted += source_end_->post_writes(frame, SourceMemory::kFrozen).value();
        if (posted - completed < 32 * per_frame && posted < ops.size()) continue;
      }
      completed += source_end_->poll(completions, deadline_in(seconds(60))).value();
    }
    CHECK(source_end_->flush(deadline_in(seconds(60))).has_value());
  }

 private:
  static std::span<std::byte> from() {
    static const std::span<std::byte> memory = map_filled_memory(1);
    return memory;
  }
  static std::span<std::byte> to() {
    static const std::span<std::byte> memory = map_filled_memory(2);
    return memory;
  }

  std::unique_ptr<TcpTransport> source_;
  std::unique_ptr<TcpTransport> destination_;
  std::unique_ptr<MemoryRegion> local_;
  std::unique_ptr<MemoryRegion> remote_;
  std::unique_ptr<Endpoint> source_end_;
  std::unique_ptr<Endpoint> destination_end_;
  std::jthread serving_;
};

void send(benchmark::State& state, SendMethod method, PayloadChecksums checksums) {
  const auto frame_bytes = static_cast<uint64_t>(state.range(0));
  Lane lane({.checksums = checksums, .send_method = method});
  lane.write_all(frame_bytes);  // connections start slowly; buffers get registered

  const double cpu_before = cpu_seconds();
  for (auto _ : state) lane.write_all(frame_bytes);
  const double gigabytes =
      static_cast<double>(state.iterations()) * static_cast<double>(kMemoryBytes) * 1e-9;
  state.counters["GB/s"] = benchmark::Counter(gigabytes, benchmark::Counter::kIsRate);
  state.counters["CPU_s/GB"] = (cpu_seconds() - cpu_before) / gigabytes;
}

void frame_sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgName("frame")->Arg(64 << 10)->Arg(256 << 10)->Arg(1 << 20)->UseRealTime()->Unit(
      benchmark::kMillisecond);
}

BENCHMARK_CAPTURE(send, copy, SendMethod::kCopy, PayloadChecksums::kOn)->Apply(frame_sizes);
BENCHMARK_CAPTURE(send, splice, SendMethod::kSplice, PayloadChecksums::kOn)->Apply(frame_sizes);
BENCHMARK_CAPTURE(send, zero_copy, SendMethod::kZeroCopy, PayloadChecksums::kOn)
    ->Apply(frame_sizes);
BENCHMARK_CAPTURE(send, splice_without_checksums, SendMethod::kSplice, PayloadChecksums::kOff)
    ->Apply(frame_sizes);

}  // namespace
}  // namespace godwit
