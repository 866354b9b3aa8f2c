// SPDX-License-Identifier: Apache-2.0
//
// The engine's view of a running synthetic machine that is to leave.
#pragma once

#include <memory>

#include "engine/guest.h"
#include "vmm-adapters/linux/pagemap_tracker.h"
#include "vmm-adapters/synthetic/synthetic_machine.h"

namespace godwit {

class SyntheticSourceGuest final : public SourceGuest {
 public:
  // The guest runs from here on. Errors: kSystem or kRefused, when there is no memory or no way to
  // track it.
  static Result<std::unique_ptr<SyntheticSourceGuest>> open(const SyntheticOptions& options);

  const GuestMemory& memory() const override { return machine_->memory().agent(); }
  const GuestIdentity& identity() const override { return machine_->identity(); }
  DirtyTracker& dirty_tracker() override { return *tracker_; }
  Discards discards() const override;
  Status pause() override;
  Status resume() override;
  Status save_state(const DeviceStateSink& sink) override;
  Status release() override;
  // Its machine lives in this process and is found nowhere else: the name of one is all there is.
  std::string recovery_record() const override { return machine_->options().machine; }

  // For those who judge the migration.
  SyntheticMachine& machine() { return *machine_; }
  bool released() const { return released_; }

 private:
  explicit SyntheticSourceGuest(std::unique_ptr<SyntheticMachine> machine)
      : machine_(std::move(machine)) {}

  std::unique_ptr<SyntheticMachine> machine_;
  std::unique_ptr<PagemapTracker> tracker_;
  bool released_ = false;
};

}  // namespace godwit
