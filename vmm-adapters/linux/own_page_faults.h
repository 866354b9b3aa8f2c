// SPDX-License-Identifier: Apache-2.0
//
// The PageFaults of this process: a second mapping of its own memory that nothing is in, so that
// the first touch of each page is a fault. For measuring what a fault costs, without a VMM.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/memory/guest_memory.h"
#include "engine/page_faults.h"
#include "vmm-adapters/linux/fault_descriptor.h"
#include "vmm-adapters/linux/shared_mapping.h"

namespace godwit {

class OwnPageFaults final : public PageFaults {
 public:
  // Requires: one block, of a file, whose pages exist. Errors: kSystem.
  static Result<std::unique_ptr<OwnPageFaults>> open(const GuestMemory& memory);

  // The mapping that faults once it is armed.
  std::span<std::byte> view() const { return view_.bytes(); }

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
  OwnPageFaults(GuestBlock block, SharedMapping view);

  SharedMapping view_;
  const GuestMemory memory_;               // as its owner, this process, has it in the view
  std::optional<FaultDescriptor> faults_;  // while armed
};

}  // namespace godwit
