// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/synthetic/dma_device.h"

#include <atomic>

namespace godwit {

DmaDevice::DmaDevice(const SyntheticOptions& options, size_t actor, const SyntheticMemory& memory)
    : memory_(memory),
      queue_depth_(options.dma_queue_depth),
      workload_(options, actor),
      thread_({.step = [this] { step(); },
               .drain =
                   [this] {
                     while (!in_flight_.empty()) land_oldest();
                   },
               .steps_per_second = options.dma_steps_per_second}) {}

void DmaDevice::step() {
  if (in_flight_.size() >= queue_depth_) {
    land_oldest();
  } else {
    submit();
  }
}

void DmaDevice::submit() {
  const std::optional<WorkloadStep> request = workload_.next();
  if (!request) return;

  // What pinning the page for the device does: a write fault that changes nothing. Not by adding
  // zero: clang makes that a read.
  // SAFETY: the word is aligned and inside the page; only this thread writes the device's pages.
  std::byte* const start = &page_at(memory_.guest(), request->location)[request->offset_bytes];
  const std::atomic_ref<uint64_t> word(*reinterpret_cast<uint64_t*>(start));
  uint64_t value = word.load();
  word.compare_exchange_strong(value, value);
  in_flight_.push_back(*request);
}

void DmaDevice::land_oldest() {
  const WorkloadStep request = in_flight_.front();
  in_flight_.pop_front();
  take_step(request, page_at(memory_.device(), request.location));
}

}  // namespace godwit
