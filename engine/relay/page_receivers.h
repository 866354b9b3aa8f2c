// SPDX-License-Identifier: Apache-2.0
//
// Lanes that bring nothing but pages, at the host that the guest comes to: they arrive where they
// belong, or become zero there, and the source is told so.
#pragma once

#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/guest_memory.h"
#include "engine/migration/interruption.h"
#include "engine/transport.h"

namespace godwit::relay {

// Thread: any.
class PageReceivers {
 public:
  // Of this guest, whose pages that were not holes at the start are known. A lane that breaks
  // before it has ended is raised.
  PageReceivers(const GuestMemory& guest, const GuestPageSet& present_at_start,
                Interruption& interruption);
  ~PageReceivers();

  // Serves this lane as well, from a thread of its own. One that comes after close() goes.
  void serve(std::unique_ptr<Endpoint> endpoint);

  // On return nothing can arrive any more.
  void close();

 private:
  bool is_closed();
  Status receive(Endpoint& endpoint) const;

  struct Lane {
    std::unique_ptr<Endpoint> endpoint;
    std::jthread thread;
  };

  const GuestMemory& guest_;
  const GuestPageSet& present_at_start_;
  Interruption& interruption_;
  std::mutex mutex_;
  bool closed_ = false;
  std::vector<Lane> lanes_;
  Interruption::Hook wake_;
};

}  // namespace godwit::relay
