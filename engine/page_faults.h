// SPDX-License-Identifier: Apache-2.0
//
// INTERFACE: first touches of guest memory on the destination, while pages are still missing
// (post-copy). A VMM adapter implements it with a userfaultfd of the VMM's address space
// (Documentation/admin-guide/mm/userfaultfd.rst).
//
// The VMM and the agent map the same pages. Armed, the VMM's mapping is empty: whoever touches a
// page through it (a vCPU, a device thread, the kernel on the VMM's behalf) waits, and a fault is
// reported here. The agent writes the page through its own mapping, which no fault stops, and then
// installs it in the VMM's. So a page in the VMM's mapping has its content, whatever happens to the
// agent; and a page that the agent has half written is still out of everybody's reach.
//
// Those who wait go on waiting when the agent dies: the VMM itself holds the descriptor open.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/base/result.h"
#include "engine/memory/page_bitmap.h"

namespace godwit {

// Whether there is storage behind the page that was touched.
enum class FaultKind : uint8_t {
  kPresent = 1,  // "minor" to the kernel: the page exists, and is not in the VMM's page tables
  kHole = 2,     // "missing" to the kernel: nobody has written it yet
};

// A fault by another thread than a vCPU's, or not known whose.
inline constexpr int32_t kNoVcpu = -1;

struct PageFault {
  uint32_t block;  // in the order of GuestMemory
  uint64_t page;   // of its block's page size
  FaultKind kind;
  int32_t vcpu = kNoVcpu;  // that waits, as the VMM numbers them
};

// Thread: arm(), disarm() and the destructor by one, with no other call under way. The rest by any
// number at once.
class PageFaults {
 public:
  // Leaves everything as it is: those who wait go on waiting.
  virtual ~PageFaults() = default;
  PageFaults(const PageFaults&) = delete;
  PageFaults& operator=(const PageFaults&) = delete;

  // From its return on no page is in the VMM's mapping, and every first touch is a fault. Takes
  // long (25 ms/GiB) for memory that was mapped: call it well before the switchover.
  // Errors: kRefused when this VMM or kernel cannot do it, saying what would help.
  virtual Status arm() = 0;

  // Readable (poll) while faults wait to be read.
  virtual int fd() const = 0;

  // Takes faults; 0 when none waits. Each fault is reported once, until wake() is called for it.
  // Several who wait for the same page may be reported one by one.
  virtual Result<size_t> read(std::span<PageFault> faults) = 0;

  // Puts pages into the VMM's mapping and lets those who wait for them go on. Requires: the agent
  // has written them, and nobody but the guest may write them from now on. Pages that are there
  // already are no error; a hole among them is left out.
  // Errors: kGuest when the VMM is gone.
  virtual Status install(uint32_t block, PageRun pages) = 0;

  // The same for holes, which become pages of zeroes.
  virtual Status install_zeroes(uint32_t block, PageRun pages) = 0;

  // Makes those who wait for these pages touch them again: who still has to wait is reported anew.
  virtual Status wake(uint32_t block, PageRun pages) = 0;

  // The VMM's mapping is an ordinary one again, all in it is within reach at once, and nothing is
  // left behind in the VMM. Requires: every page has its content.
  virtual Status disarm() = 0;

 protected:
  PageFaults() = default;
};

}  // namespace godwit
