// SPDX-License-Identifier: Apache-2.0
//
// What every conformance test starts from: two transports of a kind, and two endpoints that are
// connected to each other; memory that can be registered; and a peer that only serves.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "engine/transport.h"
#include "tests/support/connected_endpoints.h"

namespace godwit::conformance {

inline constexpr seconds kTestTime{30};

// Page-aligned memory that two processes could share, as guest memory is.
class SharedMemory {
 public:
  explicit SharedMemory(size_t size_bytes);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  std::span<std::byte> bytes() { return bytes_; }
  void fill_randomly(uint64_t seed);

 private:
  std::span<std::byte> bytes_;
};

struct TransportPair {
  std::shared_ptr<void> common;  // what both need to find each other, if anything
  std::unique_ptr<Transport> source;
  std::unique_ptr<Transport> destination;
};

// One kind of transport, with one choice of its options.
struct TransportKind {
  std::string name;
  std::string listen_address;
  std::function<TransportPair()> make;
  bool finds_torn_pages;
  uint64_t buffered_bytes_max = 6 << 20;  // what its sockets hold at most on their way

  friend void PrintTo(const TransportKind& kind, std::ostream* out) { *out << kind.name; }
};

std::vector<TransportKind> all_transport_kinds();

using test::make_ticket;
using EndpointPair = test::ConnectedEndpoints;

// Connects lane 0. Aborts the test when that fails.
EndpointPair connect_pair(const TransportKind& kind, TransportPair& transports);

// Owns an endpoint on a thread of its own and serves its peer, until the peer goes or this does.
class PassivePeer {
 public:
  explicit PassivePeer(std::unique_ptr<Endpoint> endpoint);
  ~PassivePeer();

  void shut_down() { endpoint_->shut_down(); }

 private:
  std::unique_ptr<Endpoint> endpoint_;
  std::jthread thread_;
};

// Posts all of them and polls until each is complete, `each` being called with every completion.
void transfer_all(Endpoint& endpoint, std::span<const TransferOp> ops, SourceMemory memory,
                  const std::function<void(const Completion&)>& each);

}  // namespace godwit::conformance
