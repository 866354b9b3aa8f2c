// SPDX-License-Identifier: Apache-2.0
//
// The engine's view of a synthetic machine that waits for a guest.
#pragma once

#include <atomic>
#include <memory>

#include "engine/guest.h"
#include "vmm-adapters/synthetic/synthetic_machine.h"

namespace godwit {

class SyntheticDestinationGuest final : public DestinationGuest {
 public:
  static Result<std::unique_ptr<SyntheticDestinationGuest>> open(const SyntheticOptions& options);

  const GuestMemory& memory() const override { return machine_->memory().agent(); }
  Status check_compatible(const GuestIdentity& source) const override;
  Status prepare() override;
  Status load_state(std::span<const std::byte> state,
                    const std::function<void()>& meanwhile) override;
  Result<std::unique_ptr<PageFaults>> page_faults() override;
  Status start() override;
  Status abandon() override;
  // Its machine lives in this process and is found nowhere else: the name of one is all there is.
  std::string recovery_record() const override { return machine_->options().machine; }

  // What an agent does that comes after the one that armed the page faults and is gone: armed
  // already, and whoever waits is reported anew. Errors: kRefused when none are armed.
  Result<std::unique_ptr<PageFaults>> adopt_page_faults();

  // For those who judge the migration, from any thread.
  SyntheticMachine& machine() { return *machine_; }
  bool abandoned() const { return state_ == State::kAbandoned; }
  bool started() const { return state_ == State::kStarted; }

 private:
  enum class State : uint8_t {
    kWaiting = 1,
    kPrepared = 2,
    kLoaded = 3,
    kStarted = 4,
    kAbandoned = 5
  };

  explicit SyntheticDestinationGuest(std::unique_ptr<SyntheticMachine> machine)
      : machine_(std::move(machine)) {}

  std::unique_ptr<SyntheticMachine> machine_;
  std::atomic<State> state_ = State::kWaiting;
  unsigned slow_starts_ = 0;
};

}  // namespace godwit
