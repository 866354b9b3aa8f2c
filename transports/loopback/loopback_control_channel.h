// SPDX-License-Identifier: Apache-2.0
//
// A control connection inside one process, for whole migrations in a unit test: two ends, messages
// in order, and a fault plan that cuts the connection at exactly one message. Nothing is secret.
#pragma once

#include <array>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/control_channel.h"

namespace godwit {

// Where the connection is cut: at the n-th message in one direction, counted from 1.
struct ControlCut {
  enum class When : uint8_t {
    kBeforeMessage = 1,  // it is lost, and the sender is told
    kLosingMessage = 2,  // it is lost, and the sender believes that it was sent
    kAfterMessage = 3,   // it arrives
  };
  uint64_t message;
  When when;
};

struct ControlFaultPlan {
  std::optional<ControlCut> from_first;
  std::optional<ControlCut> from_second;
};

class LoopbackControlChannel;

struct LoopbackControlPair {
  std::unique_ptr<LoopbackControlChannel> first;
  std::unique_ptr<LoopbackControlChannel> second;
};
LoopbackControlPair make_loopback_control_pair(ControlFaultPlan faults = {});

class LoopbackControlChannel final : public ControlChannel {
 public:
  static LoopbackControlPair make_pair(ControlFaultPlan faults);
  ~LoopbackControlChannel() override;

  Status send(std::span<const std::byte> message, Deadline deadline) override;
  Result<std::vector<std::byte>> receive(Deadline deadline) override;
  Result<std::array<std::byte, 32>> lane_token(uint32_t lane) const override;
  std::string security() const override { return "none (in one process)"; }
  std::string peer_address() const override { return peer_address_; }
  void shut_down() override;

  // How many messages this end has sent: where a test may cut.
  uint64_t sent_count() const;

 private:
  struct Wire;
  LoopbackControlChannel(std::shared_ptr<Wire> wire, size_t side, std::string peer_address)
      : wire_(std::move(wire)), side_(side), peer_address_(std::move(peer_address)) {}

  // Shared by the two ends.
  std::shared_ptr<Wire> wire_;
  const size_t side_;
  const std::string peer_address_;
};

}  // namespace godwit
