// SPDX-License-Identifier: Apache-2.0
//
// What the tests of RDMA lanes on real devices start from: two ends of a lane on one rail of the
// lab's machine, commands that change its network, and how long the end of a lane takes.
#pragma once

#include <memory>
#include <string>

#include "tests/support/connected_endpoints.h"
#include "transports/rdma/rdma_transport.h"

namespace godwit::lab {

inline constexpr seconds kTestTime{30};
// Longer than anything here takes that is told by an event, on an emulated machine whose host has
// other work; the messages tell an event from the end of a time-out.
inline constexpr seconds kSoon{3};

// Runs a shell command, which has to succeed. Aborts outside the lab: nobody else's network is for
// tests to change.
void run(const std::string& command);

// Takes the network device down, at once: a command would take longer than what is measured.
void take_down(const std::string& netdev);

// Two transports on one rail, and a lane between them.
struct Lane {
  explicit Lane(RdmaOptions options);

  std::unique_ptr<RdmaTransport> source;
  std::unique_ptr<RdmaTransport> destination;
  test::ConnectedEndpoints ends;
};

// How a lane ended, and how long after `since`.
struct LaneEnd {
  Error error;
  Clock::duration after;
};

// Sits in receive() until the lane ends.
LaneEnd end_of_idle(Endpoint& endpoint, Clock::time_point since);
// Writes `from` over `to` until the lane ends.
LaneEnd end_of_busy(Endpoint& endpoint, const MemoryRegion& from, const RemoteRegion& to,
                    Clock::time_point since);

// "5.1 ms: lane to …": for the record of a run.
std::string to_string(const LaneEnd& end);

}  // namespace godwit::lab
