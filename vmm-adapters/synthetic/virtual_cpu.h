// SPDX-License-Identifier: Apache-2.0
//
// A vCPU: a thread that takes the steps of its workload through the guest mapping.
#pragma once

#include "vmm-adapters/synthetic/pausable_thread.h"
#include "vmm-adapters/synthetic/synthetic_memory.h"
#include "vmm-adapters/synthetic/workload.h"

namespace godwit {

// Thread: state() and restore() only while the thread is paused.
class VirtualCpu {
 public:
  VirtualCpu(const SyntheticOptions& options, size_t actor, const SyntheticMemory& memory);

  PausableThread& thread() { return thread_; }
  const ActorState& state() const { return workload_.state(); }
  void restore(const ActorState& state) { workload_.restore(state); }

 private:
  void step();

  const SyntheticMemory& memory_;
  Workload workload_;
  PausableThread thread_;  // last: it uses all the others
};

}  // namespace godwit
