// SPDX-License-Identifier: Apache-2.0
//
// A device that writes guest memory by DMA, as O_DIRECT block I/O does: a page is faulted in
// through the VMM's page tables when the request is *submitted*, which is when dirty tracking sees
// it; the data lands later, and no page table of the VMM has a part in that. A scan in between
// calls the page clean with its old content in it.
//
// Pausing the device drains it: the pause is over only when all data has landed.
#pragma once

#include <deque>

#include "vmm-adapters/synthetic/pausable_thread.h"
#include "vmm-adapters/synthetic/synthetic_memory.h"
#include "vmm-adapters/synthetic/workload.h"

namespace godwit {

// Thread: state() and restore() only while the thread is paused.
class DmaDevice {
 public:
  DmaDevice(const SyntheticOptions& options, size_t actor, const SyntheticMemory& memory);

  PausableThread& thread() { return thread_; }
  const ActorState& state() const { return workload_.state(); }
  void restore(const ActorState& state) { workload_.restore(state); }

 private:
  // Lands the oldest request when the queue is full, else submits one more.
  void step();
  void submit();
  void land_oldest();

  const SyntheticMemory& memory_;
  const size_t queue_depth_;
  Workload workload_;
  std::deque<WorkloadStep> in_flight_;  // lands in the order of submission
  PausableThread thread_;               // last: it uses all the others
};

}  // namespace godwit
