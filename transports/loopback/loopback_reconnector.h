// SPDX-License-Identifier: Apache-2.0
//
// Replaces a lost control connection inside one process: the source's end makes a new pair, the
// destination's takes the other half of it.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include "engine/control_channel.h"
#include "transports/loopback/loopback_control_channel.h"

namespace godwit {

// Thread: each end by one.
class LoopbackReconnection {
 public:
  // The faults of the n-th connection after the first, counted from 1.
  using FaultsOf = std::function<ControlFaultPlan(uint64_t connection)>;
  explicit LoopbackReconnection(FaultsOf faults_of);

  ControlReconnector& source() { return source_; }
  ControlReconnector& destination() { return destination_; }

 private:
  class Source final : public ControlReconnector {
   public:
    explicit Source(LoopbackReconnection& owner) : owner_(owner) {}
    Result<std::unique_ptr<ControlChannel>> next(Deadline deadline) override;
    void stop() override { owner_.stop(); }

   private:
    LoopbackReconnection& owner_;
  };
  class Destination final : public ControlReconnector {
   public:
    explicit Destination(LoopbackReconnection& owner) : owner_(owner) {}
    Result<std::unique_ptr<ControlChannel>> next(Deadline deadline) override;
    void stop() override { owner_.stop(); }

   private:
    LoopbackReconnection& owner_;
  };
  void stop();

  const FaultsOf faults_of_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<ControlChannel>> waiting_;  // for the destination
  uint64_t connections_ = 0;
  bool stopped_ = false;
  Source source_{*this};
  Destination destination_{*this};
};

}  // namespace godwit
