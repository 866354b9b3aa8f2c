// SPDX-License-Identifier: Apache-2.0
#include "tests/conformance/connected_pair.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <cstdlib>
#include <random>

#include "engine/base/check.h"
#include "transports/loopback/loopback_transport.h"
#include "transports/rdma/rdma_transport.h"
#include "transports/tcp/tcp_transport.h"

namespace godwit::conformance {
namespace {

TransportKind tcp(std::string name, TcpOptions options, std::string address = "127.0.0.1:0") {
  return {.name = std::move(name),
          .listen_address = std::move(address),
          .make =
              [options] {
                TransportPair pair;
                pair.source = TcpTransport::open(options).value();
                pair.destination = TcpTransport::open(options).value();
                return pair;
              },
          .finds_torn_pages = options.checksums == PayloadChecksums::kOn};
}

// Both ends on this host's first RDMA device, where there is one: the lab promises it.
void add_rdma(std::vector<TransportKind>& kinds) {
  auto transport = RdmaTransport::open();
  CHECK(transport.has_value() || std::getenv("GODWIT_LAB") == nullptr);
  if (!transport) return;
  kinds.push_back({.name = "Rdma",
                   .listen_address = (*transport)->host() + ":0",
                   .make =
                       [] {
                         TransportPair pair;
                         pair.source = RdmaTransport::open().value();
                         pair.destination = RdmaTransport::open().value();
                         return pair;
                       },
                   .finds_torn_pages = false});
}

TransportKind loopback(std::string name, FaultPlan faults) {
  return {.name = std::move(name),
          .listen_address = "host:0",
          .make =
              [faults] {
                TransportPair pair;
                auto network = std::make_shared<LoopbackNetwork>();
                pair.source = std::make_unique<LoopbackTransport>(
                    *network, LoopbackOptions{.faults = faults});
                pair.destination = std::make_unique<LoopbackTransport>(
                    *network, LoopbackOptions{.faults = faults});
                pair.common = network;
                return pair;
              },
          .finds_torn_pages = false};
}

}  // namespace

std::vector<TransportKind> all_transport_kinds() {
  FaultPlan disorder{.seed = 7,
                     .delayed_per_mille = 300,
                     .short_post_per_mille = 200,
                     .slow_flush_per_mille = 500};
  std::vector<TransportKind> kinds{
      tcp("Tcp", {}),
      tcp("TcpIpv6", {}, "[::1]:0"),
      tcp("TcpCopy", {.send_method = SendMethod::kCopy}),
      tcp("TcpSplice", {.send_method = SendMethod::kSplice}),
      tcp("TcpZeroCopy", {.send_method = SendMethod::kZeroCopy}),
      tcp("TcpWithoutChecksums", {.checksums = PayloadChecksums::kOff}),
      tcp("TcpCopyWithoutChecksums",
          {.checksums = PayloadChecksums::kOff, .send_method = SendMethod::kCopy}),
      tcp("TcpSmallBuffers", {.send_buffer_bytes = 16384, .receive_buffer_bytes = 16384}),
      loopback("Loopback", {}),
      loopback("LoopbackInDisorder", disorder),
  };
  // Through windows this small each byte takes its time.
  for (TransportKind& kind : kinds) {
    if (kind.name == "TcpSmallBuffers") kind.buffered_bytes_max = 512 << 10;
  }
  add_rdma(kinds);
  return kinds;
}

SharedMemory::SharedMemory(size_t size_bytes) {
  void* start =
      ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(start != MAP_FAILED);
  bytes_ = {static_cast<std::byte*>(start), size_bytes};
}

SharedMemory::~SharedMemory() {
  ::munmap(bytes_.data(), bytes_.size());
}

void SharedMemory::fill_randomly(uint64_t seed) {
  std::mt19937_64 random(seed);
  for (size_t at = 0; at + 8 <= bytes_.size(); at += 8) {
    const uint64_t word = random();
    std::memcpy(bytes_.data() + at, &word, sizeof(word));
  }
}

EndpointPair connect_pair(const TransportKind& kind, TransportPair& transports) {
  return test::connect_endpoints(*transports.source, *transports.destination, kind.listen_address,
                                 test::make_ticket(0));
}

PassivePeer::PassivePeer(std::unique_ptr<Endpoint> endpoint) : endpoint_(std::move(endpoint)) {
  thread_ = std::jthread([this] {
    std::array<std::byte, 1024> message;
    while (true) {
      const Result<size_t> received = endpoint_->receive(message, deadline_in(kTestTime));
      if (!received && received.error().code != Errc::kTimeout) return;
    }
  });
}

PassivePeer::~PassivePeer() {
  endpoint_->shut_down();
  thread_.join();
}

void transfer_all(Endpoint& endpoint, std::span<const TransferOp> ops, SourceMemory memory,
                  const std::function<void(const Completion&)>& each) {
  const Deadline deadline = deadline_in(kTestTime);
  std::array<Completion, 64> completions;
  size_t completed = 0;
  size_t posted = 0;
  while (completed < ops.size()) {
    if (posted < ops.size()) {
      Result<size_t> accepted = endpoint.post_writes(ops.subspan(posted), memory);
      ASSERT_TRUE(accepted) << to_string(accepted.error());
      posted += *accepted;
    }
    Result<size_t> count = endpoint.poll(completions, deadline);
    ASSERT_TRUE(count) << to_string(count.error());
    ASSERT_LT(Clock::now(), deadline);
    for (size_t i = 0; i < *count; ++i) each(completions[i]);
    completed += *count;
  }
}

}  // namespace godwit::conformance
