// SPDX-License-Identifier: Apache-2.0
//
// The loopback transport: two transports in one process, with real queues, real completions and a
// fault plan. It is how whole migrations run in a unit test, from a seed.
//
// A LoopbackNetwork is where listeners and connecting transports find each other. The test owns it,
// and it outlives the transports.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "engine/transport.h"
#include "transports/loopback/fault_plan.h"
#include "transports/loopback/loopback_link.h"

namespace godwit {

// Thread: any.
class LoopbackNetwork {
 public:
  // What follows is for the transport.

  // Somebody who wants in, and waits for the answer.
  struct Visitor {
    enum class State : uint8_t { kWaiting = 1, kAccepted = 2, kRefused = 3 };
    LaneTicket ticket;
    std::shared_ptr<LoopbackRegions> regions;
    State state = State::kWaiting;
    std::shared_ptr<LoopbackLink> link;  // once accepted
  };
  struct Door {
    std::deque<std::shared_ptr<Visitor>> visitors;
    bool closed = false;
  };

  // Returns the address really bound: "NAME:0" and "" are given a number of their own.
  Result<std::string> open_door(const std::string& address);
  void close_door(const std::string& address);
  void remove_door(const std::string& address);

  Result<std::shared_ptr<LoopbackLink>> visit(const std::string& address, const LaneTicket& ticket,
                                              std::shared_ptr<LoopbackRegions> regions,
                                              Deadline deadline);
  struct Admitted {
    uint32_t lane;
    std::shared_ptr<LoopbackLink> link;
  };
  Result<Admitted> admit(const std::string& address, LaneTickets& tickets,
                         std::shared_ptr<LoopbackRegions> regions, Deadline deadline);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Door> doors_;
  uint32_t last_number_ = 0;
};

struct LoopbackOptions {
  FaultPlan faults;  // of what this side posts and sends
  // Called before the n-th operation of an endpoint is carried out: a link is as slow as this is.
  std::function<void(uint64_t operation)> before_operation{};
  uint32_t operations_in_flight_max = 256;
};

class LoopbackTransport final : public Transport {
 public:
  explicit LoopbackTransport(LoopbackNetwork& network, LoopbackOptions options = {});

  Capabilities capabilities() const override;
  Result<std::unique_ptr<Endpoint>> connect(const std::string& address, const LaneTicket& ticket,
                                            Deadline deadline) override;
  Result<std::unique_ptr<Listener>> listen(const std::string& address) override;

 private:
  Result<std::unique_ptr<MemoryRegion>> make_region(std::span<std::byte> bytes, RemoteAccess access,
                                                    PageStability stability) override;
  LoopbackNetwork& network_;
  const LoopbackOptions options_;
  // Shared with regions and links, which may be destroyed later.
  std::shared_ptr<LoopbackRegions> regions_;
};

}  // namespace godwit
