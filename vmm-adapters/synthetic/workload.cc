// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/synthetic/workload.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "engine/base/check.h"

namespace godwit {
namespace {

// Different generators for different purposes, from one seed.
uint64_t derive(uint64_t seed, uint64_t purpose, uint64_t index) {
  SplitMix mix(seed ^ (purpose << 56) ^ (index * 0x2545f4914f6cdd1d));
  mix.next();
  return mix.next();
}

constexpr uint64_t kActorPurpose = 1;
constexpr uint64_t kInitialPurpose = 2;
constexpr uint64_t kSavePurpose = 3;

}  // namespace

PageDirectory::PageDirectory(const std::vector<SyntheticBlock>& blocks) {
  for (const SyntheticBlock& block : blocks) {
    first_pages_.push_back(page_count_);
    page_count_ += block.size_bytes / block.page_size_bytes;
  }
}

PageLocation PageDirectory::locate(uint64_t page) const {
  DCHECK(page < page_count_);
  const auto next = std::upper_bound(first_pages_.begin(), first_pages_.end(), page);
  const auto block = static_cast<size_t>(next - first_pages_.begin()) - 1;
  return {block, page - first_pages_[block]};
}

size_t actor_count(const SyntheticOptions& options) {
  return options.virtual_cpus + (options.dma_queue_depth > 0 ? 1 : 0);
}

Workload::Workload(const SyntheticOptions& options, size_t actor)
    : options_(options),
      directory_(options.blocks),
      actor_(actor),
      state_{derive(options.seed, kActorPurpose, actor), 0} {
  CHECK(actor < actor_count(options));
  const uint64_t actors = actor_count(options);
  const uint64_t shared_pages = directory_.page_count() - 1;
  owned_pages_ = shared_pages / actors + (actor < shared_pages % actors ? 1 : 0);
  // A device writes whole pages, wherever the driver's buffers happen to be.
  if (actor >= options.virtual_cpus) {
    options_.hot_pages = 0;
    options_.word_weight = options_.zero_weight = options_.read_weight = options_.discard_weight =
        0;
    options_.page_weight = 1;
  }
}

std::optional<WorkloadStep> Workload::next() {
  if (owned_pages_ == 0) return std::nullopt;

  SplitMix random(state_.random_state);
  const bool hot = random.below(100) < options_.hot_percent && options_.hot_pages > 0;
  const uint64_t choice =
      random.below(hot ? std::min(options_.hot_pages, owned_pages_) : owned_pages_);
  const uint64_t page = 1 + actor_ + choice * actor_count(options_);
  const PageLocation location = directory_.locate(page);
  const StepKind kind = draw_kind(random);
  const uint64_t unit_bytes =
      kind == StepKind::kWord || kind == StepKind::kRead ? sizeof(uint64_t) : kBasePageBytes;
  const uint64_t units = options_.blocks[location.block].page_size_bytes / unit_bytes;
  const uint64_t offset_bytes = random.below(units) * unit_bytes;
  const uint64_t value = random.next();

  state_ = {random.state(), state_.steps + 1};
  return WorkloadStep{kind, location, offset_bytes, value};
}

StepKind Workload::draw_kind(SplitMix& random) const {
  const uint64_t total = uint64_t{options_.word_weight} + options_.page_weight +
                         options_.zero_weight + options_.read_weight + options_.discard_weight;
  if (total == 0) return StepKind::kWord;
  uint64_t draw = random.below(total);
  if (draw < options_.word_weight) return StepKind::kWord;
  draw -= options_.word_weight;
  if (draw < options_.page_weight) return StepKind::kPage;
  draw -= options_.page_weight;
  if (draw < options_.zero_weight) return StepKind::kZero;
  draw -= options_.zero_weight;
  return draw < options_.read_weight ? StepKind::kRead : StepKind::kDiscard;
}

void take_step(const WorkloadStep& step, std::span<std::byte> page) {
  switch (step.kind) {
    case StepKind::kWord:
      std::memcpy(&page[step.offset_bytes], &step.value, sizeof step.value);
      return;
    case StepKind::kPage:
      fill_random(page.subspan(step.offset_bytes, kBasePageBytes), step.value);
      return;
    case StepKind::kZero:
      std::memset(&page[step.offset_bytes], 0, kBasePageBytes);
      return;
    case StepKind::kRead: {
      // Volatile: the load has to happen, though nobody wants its value.
      static_cast<void>(*static_cast<const volatile std::byte*>(&page[step.offset_bytes]));
      return;
    }
    case StepKind::kDiscard:
      CHECK(false && "a discard is not a write");
  }
}

void fill_random(std::span<std::byte> bytes, uint64_t seed) {
  SplitMix random(seed);
  DCHECK(bytes.size() % sizeof(uint64_t) == 0);
  // Piece by piece: the thread sanitizer takes as long for a word as for a piece.
  std::array<uint64_t, 64> words;
  while (!bytes.empty()) {
    for (uint64_t& word : words) word = random.next() | 1;
    const size_t size = std::min(bytes.size(), sizeof words);
    std::memcpy(bytes.data(), words.data(), size);
    bytes = bytes.subspan(size);
  }
}

InitialPage initial_page(const SyntheticOptions& options, uint64_t page) {
  const uint64_t seed = derive(options.seed, kInitialPurpose, page);
  const uint64_t draw = seed % 100;
  if (draw < options.hole_percent) return {InitialContent::kHole, seed};
  if (draw < options.hole_percent + options.zero_percent) return {InitialContent::kZero, seed};
  return {InitialContent::kRandom, seed};
}

uint64_t saved_word(const SyntheticOptions& options, uint64_t saves) {
  return derive(options.seed, kSavePurpose, saves);
}

}  // namespace godwit
