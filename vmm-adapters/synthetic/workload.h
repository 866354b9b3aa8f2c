// SPDX-License-Identifier: Apache-2.0
//
// What a synthetic guest writes, as pure functions of its options.
//
// Every actor (a vCPU, or the DMA device) owns its pages and draws its steps from its own
// generator. So the guest's memory is a function of the initial content and of how many steps each
// actor has taken, however their threads interleave; and a migration that loses, doubles or invents
// a write is found by replaying the steps on a plain copy (expected_image.h).
//
// Ownership of pages: page 0 of the guest belongs to the VMM itself (it writes there when it saves
// its devices); page n > 0 belongs to actor (n - 1) % actor_count. Pages count through all blocks,
// each in its block's page size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "vmm-adapters/synthetic/options.h"
#include "vmm-adapters/synthetic/random.h"

namespace godwit {

struct PageLocation {
  size_t block;
  uint64_t page;  // in the block's page size
};

// Pages of a guest counted through all its blocks.
class PageDirectory {
 public:
  explicit PageDirectory(const std::vector<SyntheticBlock>& blocks);

  uint64_t page_count() const { return page_count_; }
  PageLocation locate(uint64_t page) const;

 private:
  std::vector<uint64_t> first_pages_;  // of each block
  uint64_t page_count_ = 0;
};

enum class StepKind : uint8_t { kWord = 1, kPage = 2, kZero = 3, kRead = 4, kDiscard = 5 };

struct WorkloadStep {
  StepKind kind;
  PageLocation location;
  uint64_t offset_bytes;  // in the page: of the word or of the 4 KiB
  uint64_t value;         // the word, or the seed of the 4 KiB
};

// How far an actor has come; all that the device state says about it.
struct ActorState {
  uint64_t random_state;
  uint64_t steps;

  friend bool operator==(const ActorState&, const ActorState&) = default;
};

// The number of actors: the vCPUs, then the DMA device if there is one.
size_t actor_count(const SyntheticOptions& options);

// The steps of one actor.
class Workload {
 public:
  Workload(const SyntheticOptions& options, size_t actor);

  // Nothing when the actor owns no page.
  std::optional<WorkloadStep> next();

  const ActorState& state() const { return state_; }
  void restore(const ActorState& state) { state_ = state; }

 private:
  StepKind draw_kind(SplitMix& random) const;

  SyntheticOptions options_;
  PageDirectory directory_;
  size_t actor_;
  uint64_t owned_pages_;
  ActorState state_;
};

// Does to the page what a step says. Requires: not a kDiscard.
void take_step(const WorkloadStep& step, std::span<std::byte> page);

// Fills with content that follows from `seed` and has no zero page in it.
void fill_random(std::span<std::byte> bytes, uint64_t seed);

// The initial content of page n of the guest.
enum class InitialContent : uint8_t { kHole = 1, kZero = 2, kRandom = 3 };
struct InitialPage {
  InitialContent content;
  uint64_t seed;
};
InitialPage initial_page(const SyntheticOptions& options, uint64_t page);

// What the VMM writes to the first word of page 0 when it saves its devices for the n-th time.
uint64_t saved_word(const SyntheticOptions& options, uint64_t saves);

}  // namespace godwit
