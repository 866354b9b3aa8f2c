// SPDX-License-Identifier: Apache-2.0
//
// The lanes of a bench at the end that serves: lets them in, keeps each one moving (a transport
// that is not one-sided serves its peer only while somebody receives), and sends every message back
// as it came.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/lane_tickets.h"
#include "engine/transport.h"

namespace godwit::qualify {

// Thread: one.
class PassiveLanes {
 public:
  PassiveLanes(std::vector<std::unique_ptr<Listener>> listeners, LaneTickets::TokenOf token_of);
  // On return nothing of the peer's can reach memory any more.
  ~PassiveLanes();
  PassiveLanes(const PassiveLanes&) = delete;
  PassiveLanes& operator=(const PassiveLanes&) = delete;

 private:
  struct Lane {
    std::unique_ptr<Endpoint> endpoint;
    bool ended = false;  // under mutex_
    std::jthread thread;
  };

  void let_in(Listener& listener);
  void serve(Lane& lane);
  void reap();

  std::vector<std::unique_ptr<Listener>> listeners_;
  LaneTickets tickets_;
  std::mutex mutex_;
  std::list<Lane> lanes_;
  bool ending_ = false;
  std::vector<std::jthread> doormen_;  // one per listener
};

}  // namespace godwit::qualify
