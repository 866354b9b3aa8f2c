// SPDX-License-Identifier: Apache-2.0
//
// INTERFACE: one of the channels that a VMM sends the pages of its guest by, beside its migration
// stream. Their content is not taken from there but from guest memory: what a channel has of it is
// read past. A VMM adapter implements it.
#pragma once

#include <cstdint>
#include <span>

#include "engine/base/result.h"
#include "engine/memory/page_bitmap.h"
#include "engine/vmm_stream.h"

namespace godwit {

// Thread: one; shut_down() by any.
class PageChannel {
 public:
  class Output {
   public:
    // Pages of 4 KiB of a block, to be sent from where they lie. One that was written since the VMM
    // put it into the channel is newer there; the VMM, which has it in its dirty log, sends it
    // again.
    virtual Status place(uint32_t block, std::span<const PageRun> runs) = 0;
    // Pages that were zero when the VMM looked: they become zero there.
    virtual Status clear(uint32_t block, std::span<const PageRun> runs) = 0;
    // Returns when everything that was placed lies in its memory, and what was cleared is zero.
    virtual Status settle() = 0;

   protected:
    ~Output() = default;
  };

  virtual ~PageChannel() = default;
  PageChannel(const PageChannel&) = delete;
  PageChannel& operator=(const PageChannel&) = delete;

  // What it reads from.
  virtual VmmStream& stream() = 0;

  // Reads what there is, and takes it apart. Where the VMM has a point that pages must not pass, it
  // waits until all channels and the stream have come to it.
  virtual Result<VmmStream::State> read_some(Output& output) = 0;

  // Read so far.
  virtual uint64_t read_bytes() const = 0;

  // The VMM's stream has ended, wherever it had come to: what has arrived here is still read, and
  // nobody waits for the others any more.
  virtual void end_reading() = 0;

  // Wakes whoever waits in read_some(); nothing more is read.
  virtual void shut_down() = 0;

 protected:
  PageChannel() = default;
};

}  // namespace godwit
