// SPDX-License-Identifier: Apache-2.0
//
// Tells when the port of a rail is lost, so that its lanes end at once: without it they would
// retry for seconds into a cable that this host already knows to be out, while another rail waits.
//
// The events come through a context of its own, since whoever takes one of a context takes it from
// everybody else.
#pragma once

#include <atomic>
#include <memory>
#include <thread>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/base/unique_fd.h"
#include "engine/base/wake_event.h"
#include "transports/rdma/verbs_handles.h"

namespace godwit {

// Thread: any. One thread inside waits for the events.
class PortWatch {
 public:
  // A port that is down for longer than `down_max` is lost.
  static Result<std::unique_ptr<PortWatch>> open(ibv_device* device, uint8_t port,
                                                 Clock::duration down_max);
  ~PortWatch();
  PortWatch(const PortWatch&) = delete;
  PortWatch& operator=(const PortWatch&) = delete;

  // Why lanes on the port are to end, null while they are not. It may come back, for new ones.
  const char* loss() const { return loss_.load(std::memory_order_relaxed); }
  // Readable while there is a loss().
  int fd() const { return loss_event_.get(); }

 private:
  PortWatch(VerbsHandle<ibv_context> context, uint8_t port, Clock::duration down_max,
            UniqueFd loss_event, WakeEvent stop);

  void run();
  // Returns false when it is to stop.
  bool wait(Deadline deadline);
  void take_events();
  bool port_is_active() const;
  void set_loss(const char* loss);

  VerbsHandle<ibv_context> context_;
  const uint8_t port_;
  const Clock::duration down_max_;
  UniqueFd loss_event_;
  WakeEvent stop_;
  // A literal. Relaxed: it stands for itself, nothing is published with it.
  std::atomic<const char*> loss_{nullptr};
  bool device_failed_ = false;  // the thread's
  std::jthread thread_;
};

}  // namespace godwit
