// SPDX-License-Identifier: Apache-2.0
//
// The first touches of a synthetic machine's memory through its guest mapping. The machine keeps a
// copy of the userfaultfd, as a VMM does: its vCPUs wait on when this object goes.
#pragma once

#include <optional>

#include "engine/page_faults.h"
#include "vmm-adapters/linux/fault_descriptor.h"
#include "vmm-adapters/synthetic/synthetic_machine.h"

namespace godwit {

class SyntheticPageFaults final : public PageFaults {
 public:
  // Ownership: the machine stays the caller's and outlives this.
  explicit SyntheticPageFaults(SyntheticMachine& machine) : machine_(machine) {}

  // In place of arm(): takes over what an earlier one armed. Errors: kRefused when nobody did.
  Status adopt();

  Status arm() override;
  int fd() const override { return faults_->fd(); }
  Result<size_t> read(std::span<PageFault> faults) override { return faults_->read(faults); }
  Status install(uint32_t block, PageRun pages) override { return faults_->install(block, pages); }
  Status install_zeroes(uint32_t block, PageRun pages) override {
    return faults_->install_zeroes(block, pages);
  }
  Status wake(uint32_t block, PageRun pages) override { return faults_->wake(block, pages); }
  Status disarm() override;

 private:
  SyntheticMachine& machine_;
  std::optional<FaultDescriptor> faults_;  // while armed
};

}  // namespace godwit
