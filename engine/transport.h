// SPDX-License-Identifier: Apache-2.0
//
// INTERFACE: how bytes travel between two agents.
//
// All transports offer the same one-sided semantics: registered memory regions, batched writes to
// and reads from the peer's regions, one completion per operation, small ordered messages, and a
// flush after which all earlier writes lie in the peer's memory. RDMA does it in hardware; TCP does
// it with the thread that drives the peer's Endpoint. The engine cannot tell them apart.
//
// Payloads are never staged: bytes leave from where they lie in local registered memory and arrive
// where they belong in the peer's.
//
// The memory may change under a write. Guest memory is live until the guest is paused, so a
// transport that checksums payloads can find a page that was written between its checksum and its
// transmission. Such a page is *torn*: for a batch posted as kLive its completion says so and the
// caller sends the page again (the guest's dirty log has it too); for a batch posted as kFrozen it
// is corruption, and ends the connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/base/unique_fd.h"
#include "engine/base/units.h"
#include "engine/lane_tickets.h"

namespace godwit {

// A peer's registered memory as it travels on the control connection. Fixed width on every
// platform.
struct RemoteRegion {
  uint64_t
      base;  // what offset 0 of the region is called by the transport (RDMA: an address; else 0)
  uint64_t size_bytes;
  uint64_t key;  // unguessable; valid for one migration only
};
static_assert(sizeof(RemoteRegion) == 24);

// What the peer may do to a registered region.
enum class RemoteAccess : uint8_t {
  kNone = 0,   // local end of our own operations only
  kRead = 1,   // the source's guest memory in post-copy
  kWrite = 2,  // the destination's guest memory
  kReadWrite = 3,
};

// Whether the pages behind registered memory stay the same ones. Where the guest can give pages
// back, the VMM punches holes: the next page there is another one, and a transport that holds on to
// pages must not be surprised.
enum class PageStability : uint8_t { kStable = 1, kReplaceable = 2 };

// Registered local memory. RAII: unregisters when destroyed; must outlive every Endpoint that has
// an operation in flight on it.
class MemoryRegion {
 public:
  virtual ~MemoryRegion() = default;
  MemoryRegion(const MemoryRegion&) = delete;
  MemoryRegion& operator=(const MemoryRegion&) = delete;

  virtual std::span<std::byte> bytes() const = 0;
  virtual RemoteRegion describe() const = 0;

 protected:
  MemoryRegion() = default;
};

// One operation moves at most kOperationBytesMax, so that a completion can name its torn pages in
// one word. Neighbouring operations are merged on the wire by the transport.
inline constexpr uint64_t kOperationPagesMax = 64;
inline constexpr uint64_t kOperationBytesMax = kOperationPagesMax * kBasePageBytes;

// A one-sided write (local -> remote) or read (remote -> local).
struct TransferOp {
  const MemoryRegion* local;
  uint64_t local_offset_bytes;
  RemoteRegion remote;
  uint64_t remote_offset_bytes;
  uint32_t size_bytes;  // 1 .. kOperationBytesMax
  uint64_t tag;         // comes back in the Completion
};

// Whether somebody may write the local memory of a batch while it is on its way.
enum class SourceMemory : uint8_t { kLive = 1, kFrozen = 2 };

enum class OpStatus : uint8_t {
  kOk = 1,
  kTorn = 2,     // arrived, but `torn_pages` changed on the way: send those again
  kFlushed = 3,  // the connection ended first; whether it arrived is unknown
};

struct Completion {
  uint64_t tag;
  OpStatus status;
  uint64_t torn_pages;  // bit n: the n-th 4 KiB of the operation. 0 unless kTorn.
};

struct Capabilities {
  std::string name;  // "tcp", "rdma", "loopback"
  bool one_sided;    // the peer's CPU is not in the path
  uint32_t messages_bytes_max;
  uint32_t operations_in_flight_max;
};

// One connected peer.
//
// Thread: everything but shut_down() is called by one thread, the endpoint's owner. A transport
// that is not one_sided makes progress, and serves its peer, only inside poll(), flush(), send()
// and receive(): a passive owner sits in receive(). Errors: any Error but kTimeout means the
// endpoint is dead; operations already accepted still complete, as kFlushed, through poll().
class Endpoint {
 public:
  virtual ~Endpoint() = default;
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  // Posts one-sided operations, in order, as one batch. Returns how many were accepted; fewer than
  // ops.size() means the queue is full: poll() and post the rest.
  //
  // Requires: every op lies inside its local and its remote region.
  // Ownership: the local bytes belong to the endpoint until the op's Completion is polled.
  virtual Result<size_t> post_writes(std::span<const TransferOp> ops, SourceMemory memory) = 0;
  virtual Result<size_t> post_reads(std::span<const TransferOp> ops) = 0;

  // Takes completions, waiting until there is at least one or the deadline passes. Returns how
  // many: 0 only at the deadline (one that has passed: it takes what there is), or at once when
  // nothing is in flight. On a dead endpoint it
  // returns what is left (kFlushed), then the error.
  virtual Result<size_t> poll(std::span<Completion> completions, Deadline deadline) = 0;

  // For an owner that waits for something else as well, and must not keep a CPU busy: from here on
  // poll() looks for completions for a short time before it sleeps, and returns, if with nothing,
  // when `fd` becomes readable. -1 ends it. False: this endpoint cannot.
  virtual bool sleep_with(int /*fd*/) { return false; }

  // Returns once all writes posted before lie in the peer's memory, visible to its CPUs. Their
  // completions are still to be polled.
  virtual Status flush(Deadline deadline) = 0;

  // Small ordered messages, at most capabilities().messages_bytes_max. A message arrives after
  // every write that was posted before it on this endpoint.
  virtual Status send(std::span<const std::byte> message, Deadline deadline) = 0;

  // Returns the size of the message put at the start of `message`. kTimeout leaves the endpoint
  // alive.
  virtual Result<size_t> receive(std::span<std::byte> message, Deadline deadline) = 0;

  // Thread: any. Wakes whatever the owner waits in; the endpoint is dead from then on.
  virtual void shut_down() = 0;

  // The connection itself, where it is one that the kernel can carry bytes over by splice(2); else
  // none. The endpoint is dead from then on. Requires: it was not used before.
  virtual UniqueFd release_socket() { return {}; }

 protected:
  Endpoint() = default;
};

struct AcceptedLane {
  uint32_t lane;
  std::unique_ptr<Endpoint> endpoint;
};

// One bound address.
class Listener {
 public:
  virtual ~Listener() = default;
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // "HOST:PORT" (IPv6 in brackets) that a peer can connect to, with the port really bound.
  virtual std::string address() const = 0;

  // Waits for a connection that presents a ticket which `tickets` redeems. Others are closed, at a
  // cost of at most 64 KiB and 5 seconds each, and do not delay those that are welcome.
  virtual Result<AcceptedLane> accept(LaneTickets& tickets, Deadline deadline) = 0;

  // Thread: any. accept() returns kCancelled from then on.
  virtual void shut_down() = 0;

 protected:
  Listener() = default;
};

// One kind of link, for one migration: its regions and keys are not visible to another instance.
//
// Thread: any; endpoints are then each used by one thread.
class Transport {
 public:
  virtual ~Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  virtual Capabilities capabilities() const = 0;

  // Requires: `bytes` stays mapped until the region is destroyed; page aligned. Replaceable pages
  // only with RemoteAccess::kNone, and only written from.
  Result<std::unique_ptr<MemoryRegion>> register_memory(
      std::span<std::byte> bytes, RemoteAccess access,
      PageStability stability = PageStability::kStable) {
    return make_region(bytes, access, stability);
  }
  virtual Result<std::unique_ptr<Endpoint>> connect(const std::string& address,
                                                    const LaneTicket& ticket,
                                                    Deadline deadline) = 0;
  virtual Result<std::unique_ptr<Listener>> listen(const std::string& address) = 0;

 protected:
  Transport() = default;

 private:
  virtual Result<std::unique_ptr<MemoryRegion>> make_region(std::span<std::byte> bytes,
                                                            RemoteAccess access,
                                                            PageStability stability) = 0;
};

}  // namespace godwit
