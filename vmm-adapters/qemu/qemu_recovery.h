// SPDX-License-Identifier: Apache-2.0
//
// A guest in post-copy that another agent held until it died, taken hold of again by what that one
// recorded (recovery_record()). QEMU is not asked for anything: its main thread may be waiting for
// a page, and its monitor with it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/memory/guest_memory.h"
#include "engine/page_faults.h"
#include "vmm-adapters/qemu/guest_ram.h"

namespace godwit {

// The paused guest whose pages are still wanted elsewhere.
class RecoveredQemuSource {
 public:
  // Where QEMU itself is gone too, memory in files that have a name is still there.
  // Errors: kRefused when the guest runs here, or its memory is gone; kCorrupt for another record.
  static Result<std::unique_ptr<RecoveredQemuSource>> open(std::string_view record);

  const GuestMemory& memory() const { return ram_.memory(); }

 private:
  explicit RecoveredQemuSource(qemu::GuestRam ram) : ram_(std::move(ram)) {}

  qemu::GuestRam ram_;
};

// The guest whose memory is not all there yet. Faults that the dead agent had read are reported
// anew.
class RecoveredQemuDestination {
 public:
  // `is_complete` says whether every page has its content: then the agent may have died when it had
  // given the userfaultfd up already, and there are no faults to serve.
  // Errors: kRefused when QEMU, its memory or its userfaultfd is gone; kCorrupt for another record.
  using IsComplete = std::function<Result<bool>(const GuestMemory& memory)>;
  static Result<std::unique_ptr<RecoveredQemuDestination>> open(std::string_view record,
                                                                const IsComplete& is_complete);

  const GuestMemory& memory() const { return ram_.memory(); }

  // Armed.
  PageFaults& page_faults() { return *page_faults_; }

  // Runs the guest, if it was not told to. For a guest that was committed and is not known to have
  // run: whether somebody has paused it since cannot be told from here.
  //
  // Requires: somebody serves the page faults meanwhile; QEMU may have to wait for pages before it
  // answers.
  // Thread: one at a time, beside all other calls.
  // Errors: kGuest when it can not run; kTimeout when QEMU has not answered, after which it may
  // still run: call again.
  Status ensure_running(Deadline deadline);

 private:
  RecoveredQemuDestination(qemu::RamRecord record, qemu::GuestRam ram)
      : record_(std::move(record)), ram_(std::move(ram)) {}

  const qemu::RamRecord record_;
  const qemu::GuestRam ram_;
  std::unique_ptr<PageFaults> page_faults_;  // refers to ram_
};

}  // namespace godwit
