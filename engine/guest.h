// SPDX-License-Identifier: Apache-2.0
//
// INTERFACES: how the engine reaches a guest. A VMM adapter implements a SourceGuest with its
// DirtyTracker, and a DestinationGuest. Nothing here knows which VMM it is.
//
// Thread: each object is used by one thread at a time.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/memory/guest_memory.h"
#include "engine/page_faults.h"

namespace godwit {

// What has to agree on both hosts, by name, e.g. {"vmm": "qemu", "version": "7.2.22",
// "machine": "pc-q35-7.2", "cpu": "host"}. The destination's adapter judges it.
using GuestIdentity = std::map<std::string, std::string>;

// What the guest (and its VMM, and the kernel on its behalf) wrote since the last question.
class DirtyTracker {
 public:
  virtual ~DirtyTracker() = default;
  DirtyTracker(const DirtyTracker&) = delete;
  DirtyTracker& operator=(const DirtyTracker&) = delete;

  // From its return on, every write is reported by a later collect().
  virtual Status start() = 0;

  // Adds to `dirty` the pages written since start() or the last collect(), and arms them again,
  // atomically per page: a write is in this answer or in the next, never in neither.
  //
  // A write by a device that was in flight when the scan passed counts as written when it was
  // *submitted*, though its data lands later. A scan can be trusted as "everything older is in
  // memory" only when the guest is paused (SourceGuest::pause).
  virtual Status collect(GuestPageSet& dirty) = 0;

  // Leaves nothing behind in the VMM. Idempotent; also done by the destructor.
  virtual Status stop() = 0;

 protected:
  DirtyTracker() = default;
};

// Whether guest memory can turn into a hole behind the tracker's back: a balloon, free-page
// reporting or virtio-mem punch holes, which are not writes.
enum class Discards : uint8_t { kNever = 1, kPossible = 2 };

// Takes device state piece by piece as the VMM produces it. An error stops the VMM's saving.
using DeviceStateSink = std::function<Status(std::span<const std::byte>)>;

// The guest on the host that it leaves.
//
// The guest is running when the migration gets it, and is running again after resume(). On
// destruction nothing of the agent is left in the VMM; the run state is as the last call left it.
class SourceGuest {
 public:
  virtual ~SourceGuest() = default;
  SourceGuest(const SourceGuest&) = delete;
  SourceGuest& operator=(const SourceGuest&) = delete;

  virtual const GuestMemory& memory() const = 0;
  virtual const GuestIdentity& identity() const = 0;
  virtual DirtyTracker& dirty_tracker() = 0;
  virtual Discards discards() const = 0;

  // Returns once no vCPU runs and all block I/O has landed in memory.
  virtual Status pause() = 0;

  // Undoes pause() and save_state(). Idempotent. Before the commit it is right at any moment.
  virtual Status resume() = 0;

  // Writes the device state of the paused guest. The VMM may still write guest memory meanwhile;
  // not after it returns.
  virtual Status save_state(const DeviceStateSink& sink) = 0;

  // The guest lives elsewhere now: it must never run here again. The VMM stays, paused, for its
  // owner to end, unless the adapter was told to end it.
  virtual Status release() = 0;

  // What it takes to find this guest's memory again without the VMM's help: for an agent that takes
  // over in post-copy. Opaque to the engine.
  virtual std::string recovery_record() const = 0;

 protected:
  SourceGuest() = default;
};

// The guest on the host that it comes to: a VMM that was started to wait for it.
class DestinationGuest {
 public:
  virtual ~DestinationGuest() = default;
  DestinationGuest(const DestinationGuest&) = delete;
  DestinationGuest& operator=(const DestinationGuest&) = delete;

  virtual const GuestMemory& memory() const = 0;

  // kRefused, naming the first difference that matters, when a guest described by `source` cannot
  // run here. RAM blocks are compared by the engine.
  virtual Status check_compatible(const GuestIdentity& source) const = 0;

  // Makes the VMM ready to take the guest. Called once the switchover has begun: before, a failure
  // leaves the VMM waiting for another attempt.
  virtual Status prepare() = 0;

  // Loads the device state. All guest memory is in place: loading reads and writes it. Returns when
  // the VMM has taken all of it and could start at once. The guest stays paused. `meanwhile` is
  // called once the VMM has something to do; not at all where it comes to an error before.
  virtual Status load_state(std::span<const std::byte> state,
                            const std::function<void()>& meanwhile) = 0;

  // For post-copy: the first touches of guest memory, not armed yet. At most one at a time, and it
  // goes before the guest does.
  // Errors: kRefused when this VMM cannot.
  virtual Result<std::unique_ptr<PageFaults>> page_faults() = 0;

  // Runs the guest, after the commit.
  // Errors: kPeerLost only when the VMM was found gone before it was told to run the guest, which
  // then has not run here and never will. kTimeout when the VMM has not answered, which in
  // post-copy may have to wait for pages itself: call it again.
  virtual Status start() = 0;

  // The migration failed after prepare() and before the commit: make the VMM reusable, or tell it
  // to quit.
  virtual Status abandon() = 0;

  // As SourceGuest's; what page_faults() left in the VMM included.
  virtual std::string recovery_record() const = 0;

 protected:
  DestinationGuest() = default;
};

}  // namespace godwit
