// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/synthetic/virtual_cpu.h"

#include "engine/base/check.h"

namespace godwit {

VirtualCpu::VirtualCpu(const SyntheticOptions& options, size_t actor, const SyntheticMemory& memory)
    : memory_(memory),
      workload_(options, actor),
      thread_({.step = [this] { step(); },
               .drain = nullptr,
               .steps_per_second = options.steps_per_second}) {}

void VirtualCpu::step() {
  const std::optional<WorkloadStep> step = workload_.next();
  if (!step) return;
  if (step->kind == StepKind::kDiscard) {
    // A page that is given back without having been touched may come back in post-copy with the
    // content that it had at the source. A guest does not care; but this one's content is known.
    const std::span<std::byte> page = page_at(memory_.guest(), step->location);
    static_cast<void>(*static_cast<const volatile std::byte*>(page.data()));
    // The hypervisor side of a balloon. It cannot fail on a memfd of our own.
    CHECK(memory_.discard(step->location).has_value());
    return;
  }
  take_step(*step, page_at(memory_.guest(), step->location));
}

}  // namespace godwit
