// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/synthetic/expected_image.h"

#include <algorithm>
#include <cstring>

#include "engine/base/check.h"
#include "engine/memory/zero_scan.h"

namespace godwit {
namespace {

GuestImage initial_image(const SyntheticOptions& options) {
  GuestImage image;
  for (const SyntheticBlock& block : options.blocks) image.emplace_back(block.size_bytes);
  const PageDirectory directory(options.blocks);
  for (uint64_t page = 0; page < directory.page_count(); ++page) {
    const InitialPage initial = initial_page(options, page);
    if (initial.content != InitialContent::kRandom) continue;
    const PageLocation location = directory.locate(page);
    const uint64_t page_bytes = options.blocks[location.block].page_size_bytes;
    fill_random(std::span(image[location.block]).subspan(location.page * page_bytes, page_bytes),
                initial.seed);
  }
  return image;
}

// Takes all the steps of one actor.
Status replay(const SyntheticOptions& options, size_t actor, const ActorState& until,
              GuestImage& image) {
  Workload workload(options, actor);
  while (workload.state().steps < until.steps) {
    const std::optional<WorkloadStep> step = workload.next();
    if (!step) return fail(Errc::kCorrupt, "actor {} has no page to write", actor);
    const uint64_t page_bytes = options.blocks[step->location.block].page_size_bytes;
    const std::span<std::byte> page = std::span(image[step->location.block])
                                          .subspan(step->location.page * page_bytes, page_bytes);
    if (step->kind == StepKind::kDiscard) {
      std::memset(page.data(), 0, page.size());
    } else {
      take_step(*step, page);
    }
  }
  if (workload.state() != until)
    return fail(Errc::kCorrupt, "actor {} never comes to that state", actor);
  return {};
}

std::span<const std::byte> page_of(std::span<const std::byte> memory, uint64_t page) {
  return memory.subspan(page * kBasePageBytes, kBasePageBytes);
}

// Which 4 KiB pages of the block can be read without allocating.
Result<PageBitmap> readable_pages(const GuestBlock& block) {
  PageBitmap present(block.page_count());
  RETURN_IF_ERROR(find_present_pages(block, present));
  if (block.page_size_bytes == kBasePageBytes) return present;

  const uint64_t ratio = block.page_size_bytes / kBasePageBytes;
  PageBitmap pages(block.page_count() * ratio);
  for (uint64_t page = 0; page < block.page_count(); ++page)
    if (present.test(page)) pages.set_run({page * ratio, ratio});
  return pages;
}

// Compares two pages of which either may be a hole.
bool same(std::optional<std::span<const std::byte>> left,
          std::optional<std::span<const std::byte>> right) {
  if (left && right) return std::memcmp(left->data(), right->data(), left->size()) == 0;
  if (left) return is_zero(*left);
  if (right) return is_zero(*right);
  return true;
}

}  // namespace

Result<GuestImage> expected_image(const SyntheticOptions& options, const MachineState& state) {
  if (state.actors.size() != actor_count(options))
    return fail(Errc::kCorrupt, "{} actors instead of {}", state.actors.size(),
                actor_count(options));

  GuestImage image = initial_image(options);
  for (size_t actor = 0; actor < state.actors.size(); ++actor)
    RETURN_IF_ERROR(replay(options, actor, state.actors[actor], image));
  if (state.saves > 0) {
    const uint64_t word = saved_word(options, state.saves);
    std::memcpy(image[0].data(), &word, sizeof word);
  }
  return image;
}

std::string to_string(const MemoryDifference& difference) {
  return fmt::format("RAM block '{}' differs in its 4 KiB page {}", difference.block,
                     difference.page);
}

Result<std::optional<MemoryDifference>> first_difference(const GuestMemory& source,
                                                         const GuestMemory& destination) {
  CHECK(source.size() == destination.size());
  for (size_t index = 0; index < source.size(); ++index) {
    CHECK(source[index].size_bytes() == destination[index].size_bytes());
    ASSIGN_OR_RETURN(const PageBitmap left, readable_pages(source[index]));
    ASSIGN_OR_RETURN(const PageBitmap right, readable_pages(destination[index]));
    for (uint64_t page = 0; page < left.page_count(); ++page) {
      std::optional<std::span<const std::byte>> left_page, right_page;
      if (left.test(page)) left_page = page_of(source[index].memory, page);
      if (right.test(page)) right_page = page_of(destination[index].memory, page);
      if (!same(left_page, right_page)) return MemoryDifference{source[index].name, page};
    }
  }
  return std::nullopt;
}

Result<std::optional<MemoryDifference>> first_difference(const GuestImage& image,
                                                         const GuestMemory& memory) {
  CHECK(image.size() == memory.size());
  for (size_t index = 0; index < image.size(); ++index) {
    CHECK(image[index].size() == memory[index].size_bytes());
    ASSIGN_OR_RETURN(const PageBitmap readable, readable_pages(memory[index]));
    for (uint64_t page = 0; page < readable.page_count(); ++page) {
      std::optional<std::span<const std::byte>> memory_page;
      if (readable.test(page)) memory_page = page_of(memory[index].memory, page);
      if (!same(page_of(image[index], page), memory_page))
        return MemoryDifference{memory[index].name, page};
    }
  }
  return std::nullopt;
}

Result<GuestImage> copy_image(const GuestMemory& memory) {
  GuestImage image;
  for (const GuestBlock& block : memory) {
    ASSIGN_OR_RETURN(const PageBitmap readable, readable_pages(block));
    std::vector<std::byte>& copy = image.emplace_back(block.size_bytes());
    for (auto run = readable.next_run(0, readable.page_count()); run;
         run = readable.next_run(run->first_page + run->page_count, readable.page_count())) {
      std::memcpy(&copy[run->first_page * kBasePageBytes],
                  &block.memory[run->first_page * kBasePageBytes],
                  run->page_count * kBasePageBytes);
    }
  }
  return image;
}

}  // namespace godwit
