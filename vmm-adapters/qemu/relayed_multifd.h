// SPDX-License-Identifier: Apache-2.0
//
// The connections of one migration of a QEMU that has multifd on, at a relay that places pages: the
// main channel, and the multifd channels beside it. Of all of them only what is not placed goes on
// to the destination's QEMU, which has multifd on as well; by the main channel's stream, and by one
// for each other channel.
//
// They stand and fall together: an order of pages that one of them has lost is lost for all. QEMU
// is to see the main channel's end before another's: MultifdConnections::channel_streams says why.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/base/unique_fd.h"
#include "engine/memory/guest_memory.h"
#include "engine/migration/interruption.h"
#include "engine/page_channel.h"
#include "engine/page_extractor.h"
#include "vmm-adapters/qemu/multifd_channel.h"
#include "vmm-adapters/qemu/multifd_meeting.h"

namespace godwit::qemu {

// Thread: any.
class RelayedMultifd {
 public:
  // `process` is QEMU's, which opens so many channels; `memory` its guest's.
  RelayedMultifd(pid_t process, size_t channels, const GuestMemory& memory);

  pid_t process() const { return process_; }
  size_t channels() const { return channel_count_; }

  // For the main channel, when the destination has said which of its blocks are in reach. Where one
  // of them is not in reach here, the extractor places nothing, and no channel may join.
  // Ownership: this outlives the extractor.
  std::unique_ptr<PageExtractor> make_extractor(const std::vector<BlockDescription>& blocks);

  // Takes a channel's connection. Returns the stream that is to be carried in its stead.
  // Errors: kRefused when all are there already, or nothing is placed; the system's.
  Result<std::unique_ptr<VmmStream>> join(UniqueFd socket);
  bool is_complete() const;

  // Returns when all have joined. Ownership: they last as long as this.
  // Errors: kTimeout; what was raised.
  Result<std::vector<PageChannel*>> wait_for_all(Deadline deadline);

  // Whoever carries one of them raises here what breaks it, and breaks when something is raised.
  Interruption& interruption() { return interruption_; }

 private:
  void shut_down();

  const pid_t process_;
  const size_t channel_count_;
  const std::vector<BlockDescription> memory_;
  MultifdMeeting meeting_;
  std::vector<BlockDescription> blocks_;  // that are placed; set before anybody joins
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<MultifdChannel>> channels_;
  Interruption interruption_;
  Interruption::Hook wake_;
};

}  // namespace godwit::qemu
