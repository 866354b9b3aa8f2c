// SPDX-License-Identifier: Apache-2.0
//
// What the destination has received in post-copy, in a file of its session's folder
// (`/run/godwit/<session>/destination/received`), mapped. An agent that is killed leaves in it what
// postcopy::PageLedger had marked up to that instruction, and the one that takes over goes on from
// there: those pages may have been changed by the guest since and must not be fetched again.
//
// It outlives any process, not the host; neither does the guest. All of it is allocated when it is
// made, so marking a page never waits for, nor fails for want of, space.
//
//   header            magic, version, number of blocks, size of the file
//   entry per block   name, page size, page count, where its words are
//   words per block   one bit per page (postcopy::ReceivedWords), each block's from a page's start
//
// Numbers are in the host's byte order: the file never leaves the host.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"
#include "engine/memory/guest_memory.h"
#include "engine/postcopy/page_ledger.h"

namespace godwit {

class ReceivedPages {
 public:
  // Makes the file in the folder, with nothing received: whole, or not at all.
  // Errors: kRefused when it is there already; kSystem, for want of space too.
  static Result<std::unique_ptr<ReceivedPages>> create(int folder_fd, const GuestMemory& memory);

  // Takes what an agent that died left, in the folder of its session.
  // Errors: kRefused when there is none, or the process that uses it is still there; kCorrupt when
  // it is not whole, or about other memory than this.
  static Result<std::unique_ptr<ReceivedPages>> open(int folder_fd, const GuestMemory& memory);

  // They are not needed any more. Not an error when there are none.
  static void remove(int folder_fd);

  ~ReceivedPages();
  ReceivedPages(const ReceivedPages&) = delete;
  ReceivedPages& operator=(const ReceivedPages&) = delete;

  // One span per block, valid as long as this lives.
  const std::vector<postcopy::ReceivedWords>& words() const { return words_; }

 private:
  ReceivedPages(UniqueFd file, std::span<std::byte> bytes,
                std::vector<postcopy::ReceivedWords> words);

  UniqueFd file_;  // holds the lock that tells a later agent that this one lives
  std::span<std::byte> bytes_;
  std::vector<postcopy::ReceivedWords> words_;
};

}  // namespace godwit
