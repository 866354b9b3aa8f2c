// SPDX-License-Identifier: Apache-2.0
//
// The end of a bench that measures: the agreement with the other end, memory here and there, and
// lanes between them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/control_channel.h"
#include "engine/migration/control_link.h"
#include "engine/migration/interruption.h"
#include "engine/numa/topology.h"
#include "engine/qualify/bench_memory.h"
#include "engine/qualify/owned_endpoint.h"
#include "engine/rail.h"
#include "engine/wire/messages.h"

namespace godwit::qualify {

// One of our rails with the end that it is joined to.
struct BenchPath {
  size_t rail;           // ours
  AcceptedRail peer;     // one region for each memory there
  LinkDescription link;  // there
};

// A lane with its own part of the memory, at the same place here and there.
struct BenchLane {
  std::unique_ptr<OwnedEndpoint> owner;
  const MemoryRegion* local;
  RemoteRegion remote;
  uint64_t offset_bytes;
  uint64_t size_bytes;

  // For tasks of the owner alone.
  Endpoint& endpoint() const { return owner->endpoint(); }
};

// Which lanes, between which memories.
struct LaneSet {
  std::vector<size_t> paths;  // lanes take them in turn
  uint32_t lanes = 1;
  size_t memory = 0;       // of those here
  size_t peer_memory = 0;  // of those there

  friend bool operator==(const LaneSet&, const LaneSet&) = default;
};

// Thread: one; stop() is for any.
class BenchSession {
 public:
  // Everything referred to outlives this.
  struct Parts {
    const std::vector<Rail>& rails;
    ControlChannel& control;
    const numa::Topology& topology;  // of this host; without nodes: not known
    std::string software;            // "godwit 0.1.0"
    std::string session;             // Hello::session
    Clock::duration peer_timeout = seconds(10);
  };
  explicit BenchSession(Parts parts);

  struct Memory {
    uint64_t size_bytes;
    std::vector<int> nodes;       // one memory here for each
    std::vector<int> peer_nodes;  // and there
  };
  // Errors: what the other end says; kRefused when there is no rail between us.
  Status open(const Memory& memory);

  const std::vector<BenchPath>& paths() const { return paths_; }
  // All, but those of the last resort where there are others.
  std::vector<size_t> paths_to_use() const;

  // "HOST:PORT" of the other end.
  std::string peer_address() const { return parts_.control.peer_address(); }

  // Lanes of which everything is known and pinned that they need.
  Result<std::vector<BenchLane>> connect(const LaneSet& wanted);

  // The other end's.
  Result<CpuTime> peer_cpu_time();

  // The other end is told that this was all. An error if it has heard of one.
  Status close();

  // Says it to the other end, too. Returns the error to be shown: the other end's reason, if it had
  // one first.
  Error give_up(const Error& error);

  void stop();
  Interruption& interruption() { return interruption_; }

  // Whether memory is registered with a device.
  bool is_one_sided(size_t path) const {
    return parts_.rails[paths_[path].rail].transport->capabilities().one_sided;
  }

  // Memory here, as a block that can be mapped once more.
  GuestBlock block(size_t memory) const { return memories_[memory].as_block("bench"); }

 private:
  Status greet();
  Status join_rails(const BenchOpened& opened, const Memory& memory);
  // Where the threads of these lanes run: beside their rails, as those of a migration do.
  std::vector<numa::CpuList> place(const LaneSet& wanted) const;
  Result<std::unique_ptr<Endpoint>> connect_lane(const BenchPath& path);

  const Parts parts_;
  Interruption interruption_;
  std::unique_ptr<ControlLink> link_;
  std::vector<BenchMemory> memories_;
  std::vector<BenchPath> paths_;
  std::vector<std::vector<std::unique_ptr<MemoryRegion>>> regions_;  // by path and memory
  uint32_t lanes_made_ = 0;
};

}  // namespace godwit::qualify
