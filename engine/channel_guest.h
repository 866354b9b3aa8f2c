// SPDX-License-Identifier: Apache-2.0
//
// INTERFACES: a guest whose VMM moves it by itself, through a stream that we carry. A VMM adapter
// implements both.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/memory/guest_memory.h"
#include "engine/page_channel.h"
#include "engine/page_extractor.h"
#include "engine/page_requests.h"
#include "engine/relay/relay_destination.h"
#include "engine/vmm_stream.h"

namespace godwit {

// How far the VMM's migration is, in its own figures.
struct ChannelProgress {
  enum class State : uint8_t {
    kRunning = 1,
    kCompleted = 2,  // everything was written into the stream, and the guest stands still for good
    kFailed = 3,     // also: cancelled. The VMM lets the guest run on, if it had stopped it.
    kPostCopy = 4,   // the guest stands still, could run there, and is still needed here
    kBroken = 5,     // the same, without a stream: it can be gone on with by another one
  };
  State state = State::kRunning;
  std::string error;       // of kFailed
  uint64_t ram_bytes = 0;  // of the guest
  uint64_t sent_bytes = 0;
  uint64_t remaining_bytes = 0;
  double dirty_bytes_per_s = 0;
  uint32_t round = 0;
  uint64_t sent_pages = 0;
  uint64_t zero_pages = 0;
  bool in_post_copy = false;     // was in it, before it was kCompleted
  uint64_t requested_pages = 0;  // in post-copy, of the VMM
};

// Channels beside its stream by which the VMM is to send pages, if it can.
struct WantedChannels {
  size_t count = 0;
  std::vector<BlockDescription> blocks;  // whose memory is in reach at both ends
};
// Whether the guest may run at the destination before all its memory is there.
enum class PostCopyUse : uint8_t { kNone = 1, kPossible = 2 };

struct BegunChannels {
  std::vector<PageChannel*> channels;  // as many as wanted, or none
  std::string note;                    // why none, where some were wanted
};

// The guest on the host that it leaves.
//
// Thread: one; stream() may be used by others.
class ChannelSourceGuest {
 public:
  virtual ~ChannelSourceGuest() = default;
  ChannelSourceGuest(const ChannelSourceGuest&) = delete;
  ChannelSourceGuest& operator=(const ChannelSourceGuest&) = delete;

  // Our end of the channel that the VMM will write into.
  virtual VmmStream& stream() = 0;
  // The guest outlives what it makes.
  virtual MakePageExtractor page_extractor() = 0;
  // Shared memory that its pages can be sent from; null: they are taken from the stream, and why.
  virtual const GuestMemory* memory() const = 0;
  virtual const std::string& memory_note() const = 0;

  // Beside its stream, where nobody says how many.
  virtual size_t channels_by_default() const = 0;

  // The VMM begins to migrate; from the return on, stream() and the channels can be read.
  // Ownership: the channels are the guest's.
  virtual Result<BegunChannels> begin(const WantedChannels& wanted, PostCopyUse post_copy) = 0;
  virtual Result<ChannelProgress> progress() = 0;
  // The guest stands still from now on, and the VMM goes over to post-copy in a moment; or is done
  // without. Requires: kPossible; once; some progress.
  virtual Status switch_to_post_copy() = 0;

  // Since when the guest stands still; none as long as it runs.
  virtual std::optional<Clock::time_point> stopped_at() = 0;

  // Before the commit, in post-copy, too: the VMM's migration is ended, if it was not, and the
  // guest runs. Idempotent.
  virtual Status resume() = 0;

  // The guest lives elsewhere now: as SourceGuest::release().
  virtual Status release() = 0;

 protected:
  ChannelSourceGuest() = default;
};

// On the host that it comes to: a VMM that was started to wait for it.
class ChannelDestinationGuest {
 public:
  virtual ~ChannelDestinationGuest() = default;
  ChannelDestinationGuest(const ChannelDestinationGuest&) = delete;
  ChannelDestinationGuest& operator=(const ChannelDestinationGuest&) = delete;

  // The VMM takes a guest from this stream from now on, and does not run it.
  // Errors: kRefused where post-copy is not possible here; nothing has changed then.
  virtual Result<relay::StreamTarget> open(PostCopyUse post_copy) = 0;
  virtual MakePageRequests page_requests() = 0;

  // In post-copy: whether the VMM could start at once, with memory missing; waits for it until the
  // deadline. Not without post-copy.
  virtual Result<bool> wait_switched(Deadline deadline) = 0;

  // Returns when the VMM has taken all of it and, unless it was started before, could start at
  // once.
  virtual Status wait_loaded() = 0;

  // As DestinationGuest's.
  virtual Status start() = 0;
  // Before the commit, after open(): a VMM that took part of a guest cannot wait for another one.
  virtual Status abandon() = 0;

 protected:
  ChannelDestinationGuest() = default;
};

}  // namespace godwit
