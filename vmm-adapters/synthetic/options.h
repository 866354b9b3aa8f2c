// SPDX-License-Identifier: Apache-2.0
//
// What a synthetic guest is like. Everything it ever writes follows from these options and is the
// same in every run: see workload.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/units.h"

namespace godwit {

struct SyntheticBlock {
  std::string name = "ram";
  uint64_t size_bytes = kMiB;
  uint64_t page_size_bytes = kBasePageBytes;  // 4 KiB: tmpfs; else hugetlbfs pages of that size
  int numa_node = -1;
};

// An operation of a guest that can be made to fail, as a VMM may.
enum class SyntheticOperation : uint8_t {
  kNone = 1,
  kPause = 2,
  kSaveState = 3,
  kPrepare = 4,
  kLoadState = 5,
  kStart = 6,  // fails as if the VMM were gone
  kArmPageFaults = 7,
};

struct SyntheticOptions {
  uint64_t seed = 1;
  std::string machine = "synthetic-1";
  std::vector<SyntheticBlock> blocks = {SyntheticBlock{}};

  // The source's memory before its first step: of a hundred pages, so many are holes, so many have
  // storage but are zero, and the rest is random.
  unsigned hole_percent = 25;
  unsigned zero_percent = 15;
  // The waiting destination's memory: of a hundred pages, so many hold what a VMM's firmware left.
  unsigned stale_percent = 10;

  // The vCPUs, each a thread with pages of its own.
  unsigned virtual_cpus = 1;
  uint64_t steps_per_second = 0;  // of each; 0: as fast as it can
  uint64_t hot_pages = 8;         // of each
  unsigned hot_percent = 80;      // of its steps go to its hot pages
  // What a step does, by weight.
  unsigned word_weight = 60;    // writes 8 bytes
  unsigned page_weight = 30;    // writes 4 KiB of random content
  unsigned zero_weight = 7;     // writes 4 KiB of zeroes
  unsigned read_weight = 5;     // reads 8 bytes; in a hole that allocates a page of zeroes
  unsigned discard_weight = 3;  // gives a page back, as a balloon does: punches a hole

  // A device that writes by DMA: this many requests in flight; 0: none.
  unsigned dma_queue_depth = 0;
  uint64_t dma_steps_per_second = 0;  // submissions and landings; 0: as fast as it can

  // Device state beyond the guest's own, so that it travels in several pieces.
  uint64_t extra_state_bytes = 0;

  // The operation that fails, at its call number `failing_call` (0 is the first).
  SyntheticOperation failing_operation = SyntheticOperation::kNone;
  unsigned failing_call = 0;
  // So many calls to start the guest have no answer before one has.
  unsigned slow_starts = 0;
};

}  // namespace godwit
