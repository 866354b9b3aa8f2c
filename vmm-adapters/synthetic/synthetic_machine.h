// SPDX-License-Identifier: Apache-2.0
//
// The VMM of a synthetic guest: its memory, its vCPUs, its device, and its device state. The source
// and the destination guest are two views of such a machine.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/result.h"
#include "engine/guest.h"
#include "vmm-adapters/linux/fault_descriptor.h"
#include "vmm-adapters/synthetic/dma_device.h"
#include "vmm-adapters/synthetic/synthetic_memory.h"
#include "vmm-adapters/synthetic/virtual_cpu.h"

namespace godwit {

// All that has to travel for the guest to go on elsewhere exactly where it was.
struct MachineState {
  std::vector<ActorState> actors;
  uint64_t saves = 0;  // how often the VMM saved its devices, for what that writes to memory

  friend bool operator==(const MachineState&, const MachineState&) = default;
};

std::vector<std::byte> encode_machine_state(const MachineState& state,
                                            const SyntheticOptions& options);
// Errors: kCorrupt when the bytes are not what a machine with these options saves.
Result<MachineState> decode_machine_state(std::span<const std::byte> bytes,
                                          const SyntheticOptions& options);

// What fills the memory of a new machine.
enum class MachineContent : uint8_t {
  kInitial = 1,  // the guest's, before its first step
  kStale = 2,    // a waiting VMM's: mostly holes, and some pages of something else
};

// Thread: one at a time, but for running().
class SyntheticMachine {
 public:
  // The machine is paused.
  static Result<std::unique_ptr<SyntheticMachine>> open(const SyntheticOptions& options,
                                                        MachineContent content);
  // Lets go of whoever waits for a page.
  ~SyntheticMachine();
  SyntheticMachine(const SyntheticMachine&) = delete;
  SyntheticMachine& operator=(const SyntheticMachine&) = delete;

  const SyntheticOptions& options() const { return options_; }
  const SyntheticMemory& memory() const { return *memory_; }
  const GuestIdentity& identity() const { return identity_; }

  void run();
  // Called just before the first step of each run(), e.g. to see that no other copy of the guest
  // runs. Set it while the machine does not change its run state.
  void before_run(std::function<void()> action) { before_run_ = std::move(action); }
  // Returns when no vCPU takes a step and all DMA has landed.
  void pause();
  // Thread: any. True from just before the first step to the end of pause().
  bool running() const { return running_; }

  // Requires: paused, for all three.
  MachineState state() const;
  MachineState save();  // as a VMM does it: it also writes to guest memory
  // Errors: kGuest when memory is not what it was at the save.
  Status load(const MachineState& state);

  // The machine's own copy of the descriptor that its page faults are reported to, as a VMM keeps
  // one: without an agent, who waits goes on waiting.
  void keep_page_faults(UniqueFd userfaultfd);
  const FaultDescriptor* page_faults() const { return page_faults_ ? &*page_faults_ : nullptr; }
  void forget_page_faults() { page_faults_.reset(); }

  // Fails when the options say that this call of the operation does.
  Status attempt(SyntheticOperation operation);

 private:
  SyntheticMachine(const SyntheticOptions& options, std::unique_ptr<SyntheticMemory> memory);
  void fill(MachineContent content);

  const SyntheticOptions options_;
  GuestIdentity identity_;
  std::unique_ptr<SyntheticMemory> memory_;
  std::vector<std::unique_ptr<VirtualCpu>> virtual_cpus_;
  std::unique_ptr<DmaDevice> device_;  // or none
  uint64_t saves_ = 0;
  unsigned failing_calls_ = 0;
  std::optional<FaultDescriptor> page_faults_;
  std::function<void()> before_run_;
  std::atomic<bool> running_ = false;
};

}  // namespace godwit
