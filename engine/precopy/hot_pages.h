// SPDX-License-Identifier: Apache-2.0
//
// Pages that the guest keeps writing: a stack, a ring buffer, a clock. Sending one while the guest
// runs is work for nothing, since it will have to be sent again; so hot pages wait for the end.
//
// A page is hot when each of the last three scans found it written. A large set that is written
// evenly (a loop over 100 MiB) is a different thing: rounds become shorter as it is sent, and fewer
// of its pages are found each time. It shrinks only if it *is* sent. So hot pages are held back
// only while they are the smaller part of what remains.
#pragma once

#include <array>

#include "engine/memory/guest_memory.h"

namespace godwit::precopy {

// Thread: one.
class HotPages {
 public:
  explicit HotPages(const GuestMemory& memory);

  // Takes the result of one scan.
  void observe(const GuestPageSet& written);

  // The pages of `pages` that should wait; none where too much would wait.
  GuestPageSet held_back(const GuestPageSet& pages) const;

 private:
  const GuestMemory& memory_;
  std::array<GuestPageSet, 3> scans_;  // the last three, the newest first
};

}  // namespace godwit::precopy
