// SPDX-License-Identifier: Apache-2.0
//
// A host as a member of a matrix: whoever coordinates tells it which other hosts to measure
// towards, one after the other, and gets the numbers back. Joining a peer and measuring are two
// steps, so that many hosts can begin at the same moment, when no connection is being made any
// more.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/control_channel.h"
#include "engine/migration/control_link.h"
#include "engine/migration/interruption.h"
#include "engine/numa/topology.h"
#include "engine/qualify/bench_session.h"
#include "engine/rail.h"
#include "engine/wire/messages.h"

namespace godwit::qualify {

// Thread: one.
class MatrixMember {
 public:
  // Connects to a host that serves, by one of its addresses.
  using Connect = std::function<Result<std::unique_ptr<ControlChannel>>(
      const std::vector<std::string>& addresses)>;

  // Everything referred to outlives this.
  struct Parts {
    ControlLink& link;           // to whoever coordinates, greeted
    Interruption& interruption;  // the link's
    const std::vector<Rail>& rails;
    const numa::Topology& topology;  // of this host
    Connect connect;
    // What is known of a rail's link to a peer, "HOST:PORT".
    std::function<LinkDescription(const Rail& rail, const std::string& peer)> describe_link;
    std::string software;  // "godwit 0.1.0"
    std::string session;   // of the matrix: by it the other hosts know that this is part of it
    Clock::duration peer_timeout = seconds(10);
  };
  explicit MatrixMember(Parts parts);

  // Returns when whoever coordinates needs this host no more. Errors: it is lost, or gave up; a
  // peer that cannot be measured is only reported to it.
  Status run();

 private:
  Status measure_towards(const JoinPeer& wanted);
  Result<PeerJoined> join(BenchSession& session, const JoinPeer& wanted,
                          std::vector<BenchLane>& lanes) const;
  Status tell_failure(const Error& error);

  const Parts parts_;
};

}  // namespace godwit::qualify
