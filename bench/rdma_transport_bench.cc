// SPDX-License-Identifier: Apache-2.0
//
// How fast are one-sided writes and reads through the RDMA transport, and how soon is one done? Two
// processes, `serve` and `connect`, started with the same options. The measures are those of
// perftest's ib_write_bw, ib_read_bw, ib_write_lat and ib_read_lat, so that scripts/bench-rdma can
// put both side by side:
//
// - bandwidth: up to `depth` transfers of `size` under way on each queue pair, each queue pair
//   driven by a thread of its own as a lane is; from the first post to the last completion.
// - latency of reads: one at a time, from post to post.
// - latency of writes: one each way in turn, each side watching the last byte of its memory; half
//   of the time from post to post.
//
// Every transfer is one request on the wire, as perftest's are: all of a queue pair go from and to
// one place, so that none goes on where the one before it ended, and nothing is merged. A transfer
// of more than kOperationBytesMax is made of neighbouring operations, which do merge into one.
#include <fmt/core.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/connected_endpoints.h"
#include "transports/rdma/rdma_transport.h"

namespace godwit {
namespace {

constexpr seconds kPatience{600};
constexpr uint32_t kTransferBytesMax = 1 << 20;  // what the transport merges at most
constexpr uint32_t kDepthMax = 512;              // fits the transport's queue

enum class Role { kServe, kConnect };

struct Settings {
  std::string device;
  std::string address;
  std::string verb = "write";
  std::string measure = "bandwidth";
  uint32_t size_bytes = 64 << 10;
  uint32_t queue_pairs = 1;
  uint32_t iterations = 1000;  // on each queue pair
  uint32_t depth = 128;
  uint32_t batch = 16;  // transfers that are posted at once

  bool reads() const { return verb == "read"; }
  bool bandwidth() const { return measure == "bandwidth"; }
};

// One queue pair and its memory: what lies in the first half leaves, in the second half arrives.
struct Lane {
  size_t half_bytes = 0;
  std::unique_ptr<MemoryRegion> region;
  std::unique_ptr<Endpoint> endpoint;
  RemoteRegion remote{};

  // The operations of one transfer, which the transport makes one request of.
  std::vector<TransferOp> transfer(const Settings& settings) const {
    std::vector<TransferOp> ops;
    for (uint64_t at = 0; at < settings.size_bytes; at += kOperationBytesMax) {
      const uint64_t left = settings.size_bytes - at;
      ops.push_back({.local = region.get(),
                     .local_offset_bytes = at + (settings.reads() ? half_bytes : 0),
                     .remote = remote,
                     .remote_offset_bytes = at + (settings.reads() ? 0 : half_bytes),
                     .size_bytes = static_cast<uint32_t>(std::min(left, kOperationBytesMax)),
                     .tag = 0});
    }
    return ops;
  }
};

// Posts all of them; until the peer has told the keys of its memory, none is accepted.
Status post_all(Lane& lane, const Settings& settings, std::span<const TransferOp> ops) {
  const Deadline deadline = deadline_in(kPatience);
  while (true) {
    ASSIGN_OR_RETURN(const size_t accepted,
                     settings.reads() ? lane.endpoint->post_reads(ops)
                                      : lane.endpoint->post_writes(ops, SourceMemory::kFrozen));
    ops = ops.subspan(accepted);
    if (ops.empty()) return {};
    if (Clock::now() >= deadline) return fail(Errc::kTimeout, "the queue takes no transfer");
  }
}

// Returns how many operations have completed.
Result<size_t> take_completions(Lane& lane) {
  std::array<Completion, 64> completions;
  ASSIGN_OR_RETURN(const size_t count, lane.endpoint->poll(completions, deadline_in(kPatience)));
  if (count == 0) return fail(Errc::kTimeout, "nothing completes");
  for (const Completion& completion : std::span(completions).first(count)) {
    if (completion.status != OpStatus::kOk) return fail(Errc::kPeerLost, "a transfer failed");
  }
  return count;
}

Status transfer_with_full_queue(Lane& lane, const Settings& settings) {
  const std::vector<TransferOp> one = lane.transfer(settings);
  std::vector<TransferOp> batch;
  for (uint32_t i = 0; i < settings.batch; ++i) batch.insert(batch.end(), one.begin(), one.end());

  const size_t total = one.size() * settings.iterations;
  const size_t depth = one.size() * settings.depth;
  size_t posted = 0;
  for (size_t completed = 0; completed < total;) {
    while (posted < total) {
      const auto next = std::span(batch).first(std::min(batch.size(), total - posted));
      if (posted - completed + next.size() > depth) break;
      RETURN_IF_ERROR(post_all(lane, settings, next));
      posted += next.size();
    }
    ASSIGN_OR_RETURN(const size_t count, take_completions(lane));
    completed += count;
  }
  return {};
}

Status transfer_one(Lane& lane, const Settings& settings, std::span<const TransferOp> ops) {
  RETURN_IF_ERROR(post_all(lane, settings, ops));
  for (size_t completed = 0; completed < ops.size();) {
    ASSIGN_OR_RETURN(const size_t count, take_completions(lane));
    completed += count;
  }
  return {};
}

Status read_one_by_one(Lane& lane, const Settings& settings,
                       std::vector<Clock::time_point>& posts) {
  const std::vector<TransferOp> ops = lane.transfer(settings);
  for (uint32_t i = 0; i < settings.iterations; ++i) {
    posts.push_back(Clock::now());
    RETURN_IF_ERROR(transfer_one(lane, settings, ops));
  }
  return {};
}

// Spins, as perftest does: what is measured is when the bytes are there.
Status wait_for_byte(std::byte& byte, std::byte value) {
  const Deadline deadline = deadline_in(kPatience);
  // SAFETY: the device writes the byte; acquire, so that what follows is not done before it is
  // seen.
  while (std::atomic_ref(byte).load(std::memory_order_acquire) != value) {
    if (Clock::now() >= deadline) return fail(Errc::kTimeout, "the peer's turn does not end");
  }
  return {};
}

Status write_in_turn(Lane& lane, const Settings& settings, Role role,
                     std::vector<Clock::time_point>& posts) {
  const std::vector<TransferOp> ops = lane.transfer(settings);
  std::byte& outgoing = lane.region->bytes()[settings.size_bytes - 1];
  std::byte& incoming = lane.region->bytes()[lane.half_bytes + settings.size_bytes - 1];
  for (uint32_t i = 0; i < settings.iterations; ++i) {
    // The peer's turn counts as the last one of whoever began.
    const uint32_t seen = role == Role::kServe ? i + 1 : i;
    if (seen > 0) RETURN_IF_ERROR(wait_for_byte(incoming, static_cast<std::byte>(seen)));
    std::atomic_ref(outgoing).store(static_cast<std::byte>(i + 1));
    posts.push_back(Clock::now());
    RETURN_IF_ERROR(transfer_one(lane, settings, ops));
  }
  return {};
}

Status measure(Lane& lane, const Settings& settings, Role role,
               std::vector<Clock::time_point>& posts) {
  if (!settings.bandwidth() && !settings.reads()) return write_in_turn(lane, settings, role, posts);
  if (role == Role::kServe) return {};  // one-sided
  if (settings.bandwidth()) return transfer_with_full_queue(lane, settings);
  return read_one_by_one(lane, settings, posts);
}

Result<Lane> make_lane(RdmaTransport& transport) {
  Lane lane;
  lane.half_bytes = kTransferBytesMax;
  void* start = ::mmap(nullptr, 2 * lane.half_bytes, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (start == MAP_FAILED) return fail_errno(errno, "map memory");
  // Never unmapped: it lasts as long as the process.
  const std::span bytes(static_cast<std::byte*>(start), 2 * lane.half_bytes);
  ASSIGN_OR_RETURN(lane.region, transport.register_memory(bytes, RemoteAccess::kReadWrite));
  return lane;
}

// Both sides tell each other where their memory is.
Status exchange_regions(Lane& lane) {
  const RemoteRegion own = lane.region->describe();
  const Deadline deadline = deadline_in(kPatience);
  RETURN_IF_ERROR(lane.endpoint->send(std::as_bytes(std::span(&own, 1)), deadline));
  ASSIGN_OR_RETURN(
      const size_t size_bytes,
      lane.endpoint->receive(std::as_writable_bytes(std::span(&lane.remote, 1)), deadline));
  if (size_bytes != sizeof(lane.remote)) return fail(Errc::kCorrupt, "no region");
  return {};
}

// One transfer each way, so that all memory is pinned and all keys are known before the clock
// starts.
Status warm_up(Lane& lane, const Settings& settings) {
  RETURN_IF_ERROR(transfer_one(lane, settings, lane.transfer(settings)));
  RETURN_IF_ERROR(lane.endpoint->send({}, deadline_in(kPatience)));
  std::array<std::byte, 1> message;
  ASSIGN_OR_RETURN(const size_t size_bytes,
                   lane.endpoint->receive(message, deadline_in(kPatience)));
  if (size_bytes != 0) return fail(Errc::kCorrupt, "the peer is not ready");
  return {};
}

Result<std::vector<Lane>> make_lanes(RdmaTransport& transport, const Settings& settings,
                                     Role role) {
  std::unique_ptr<Listener> listener;
  if (role == Role::kServe) {
    ASSIGN_OR_RETURN(listener, transport.listen(settings.address));
    fmt::print("listening on {}\n", listener->address());
    std::fflush(stdout);
  }
  std::vector<Lane> lanes;
  for (uint32_t number = 0; number < settings.queue_pairs; ++number) {
    const LaneTicket ticket = test::make_ticket(number);
    ASSIGN_OR_RETURN(Lane lane, make_lane(transport));
    const Deadline deadline = deadline_in(kPatience);
    ASSIGN_OR_RETURN(lane.endpoint, listener != nullptr
                                        ? test::accept_lane(*listener, ticket, deadline)
                                        : transport.connect(settings.address, ticket, deadline));
    RETURN_IF_ERROR(exchange_regions(lane));
    RETURN_IF_ERROR(warm_up(lane, settings));
    lanes.push_back(std::move(lane));
  }
  return lanes;
}

// An empty message of whoever connected ends the run.
Status end_run(Lane& lane, Role role) {
  if (role == Role::kConnect) return lane.endpoint->send({}, deadline_in(kPatience));
  std::array<std::byte, 1> message;
  ASSIGN_OR_RETURN(const size_t size_bytes,
                   lane.endpoint->receive(message, deadline_in(kPatience)));
  (void)size_bytes;
  return {};
}

void print_bandwidth(const Settings& settings, Clock::duration elapsed) {
  const double bytes =
      static_cast<double>(settings.size_bytes) * settings.iterations * settings.queue_pairs;
  fmt::print("{{\"mib_per_s\": {:.3f}, \"seconds\": {:.6f}}}\n",
             bytes / to_seconds(elapsed) / (1 << 20), to_seconds(elapsed));
}

void print_latency(const Settings& settings, const std::vector<Clock::time_point>& posts) {
  std::vector<double> times_us;
  for (size_t i = 1; i < posts.size(); ++i)
    times_us.push_back(to_milliseconds(posts[i] - posts[i - 1]) * 1e3 / (settings.reads() ? 1 : 2));
  std::ranges::sort(times_us);
  const auto percentile = [&](size_t percent) {
    return times_us[std::min(times_us.size() * percent / 100, times_us.size() - 1)];
  };
  fmt::print("{{\"median_us\": {:.2f}, \"p99_us\": {:.2f}, \"min_us\": {:.2f}}}\n", percentile(50),
             percentile(99), times_us.front());
}

Status run(const Settings& settings, Role role) {
  ASSIGN_OR_RETURN(std::unique_ptr<RdmaTransport> transport,
                   RdmaTransport::open({.device = settings.device}));
  ASSIGN_OR_RETURN(std::vector<Lane> lanes, make_lanes(*transport, settings, role));

  std::vector<Status> results(lanes.size());
  std::vector<Clock::time_point> posts;
  posts.reserve(settings.iterations);
  std::latch start(static_cast<ptrdiff_t>(lanes.size()) + 1);
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < lanes.size(); ++i) {
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      results[i] = measure(lanes[i], settings, role, posts);
    });
  }
  const Clock::time_point started = Clock::now();
  start.arrive_and_wait();
  for (std::jthread& thread : threads) thread.join();
  const Clock::duration elapsed = Clock::now() - started;

  for (const Status& result : results) RETURN_IF_ERROR(result);
  for (Lane& lane : lanes) RETURN_IF_ERROR(end_run(lane, role));
  if (role == Role::kServe) return {};
  if (settings.bandwidth())
    print_bandwidth(settings, elapsed);
  else
    print_latency(settings, posts);
  return {};
}

void add_options(CLI::App& command, Settings& settings) {
  command.add_option("address", settings.address, "HOST:PORT")->required();
  command.add_option("--device", settings.device, "RDMA device (default: the first that works)");
  command.add_option("--verb", settings.verb)->check(CLI::IsMember({"write", "read"}));
  command.add_option("--measure", settings.measure)->check(CLI::IsMember({"bandwidth", "latency"}));
  command.add_option("--size", settings.size_bytes, "bytes of a transfer")
      ->check(CLI::Range(1U, kTransferBytesMax));
  command.add_option("--queue-pairs", settings.queue_pairs, "latency: always 1")
      ->check(CLI::Range(1U, 64U));
  command.add_option("--iterations", settings.iterations, "transfers on each queue pair")
      ->check(CLI::Range(2U, 100'000'000U));
  command.add_option("--depth", settings.depth, "transfers under way on each queue pair")
      ->check(CLI::Range(1U, kDepthMax));
  command.add_option("--batch", settings.batch, "transfers posted at once, at most the depth")
      ->check(CLI::Range(1U, kDepthMax));
}

}  // namespace
}  // namespace godwit

int main(int argc, char** argv) {
  godwit::Settings settings;
  CLI::App app("Bandwidth and latency through the RDMA transport, as perftest measures them.");
  app.require_subcommand(1);
  CLI::App* serve = app.add_subcommand("serve", "serve one run");
  CLI::App* connect = app.add_subcommand("connect", "run, and print the result as JSON");
  godwit::add_options(*serve, settings);
  godwit::add_options(*connect, settings);
  CLI11_PARSE(app, argc, argv);
  settings.batch = std::min(settings.batch, settings.depth);
  if (!settings.bandwidth()) settings.queue_pairs = 1;

  const godwit::Status done =
      godwit::run(settings, serve->parsed() ? godwit::Role::kServe : godwit::Role::kConnect);
  if (done) return 0;
  fmt::print(stderr, "rdma_transport_bench: {}\n", to_string(done.error()));
  return 1;
}
