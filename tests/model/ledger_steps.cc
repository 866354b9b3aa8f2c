// SPDX-License-Identifier: Apache-2.0
#include "tests/model/ledger_steps.h"

#include <array>
#include <atomic>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/units.h"
#include "engine/postcopy/page_ledger.h"

namespace godwit::model::ledger {
namespace {

using postcopy::PageLedger;
using postcopy::PageState;

// The block's other pages are received from the start, and stay so.
constexpr uint64_t kFirstPage = postcopy::kPagesPerWord - 1;
constexpr uint64_t kBlockPages = kFirstPage + kPagesMax;
constexpr uint64_t kWords = postcopy::received_words(kBlockPages);

uint64_t in_block(uint8_t page) {
  return kFirstPage + page;
}

GuestMemory make_memory() {
  GuestBlock block;
  block.page_size_bytes = kBasePageBytes;
  block.numa_node = -1;
  // Nobody looks at it.
  block.memory = {reinterpret_cast<std::byte*>(kMiB), kBlockPages * kBasePageBytes};
  block.fd = -1;
  return {block};
}

const GuestMemory& memory() {
  static const GuestMemory kMemory = make_memory();
  return kMemory;
}

// A ledger in the state's state.
class Replica {
 public:
  explicit Replica(State& state) : state_(state), ledger_(memory(), words_of(state)) {
    for (uint8_t page = 0; page < kPagesMax; ++page) {
      if (has(state.claimed, page)) CHECK(ledger_.claim(0, {in_block(page), 1}).has_value());
    }
  }

  PageLedger& ledger() { return ledger_; }

  // What it says now is the state's.
  void store() {
    state_.received = 0;
    state_.claimed = 0;
    for (uint8_t page = 0; page < kPagesMax; ++page) {
      const PageState now = ledger_.state(0, in_block(page));
      if (now == PageState::kReceived) add(state_.received, page_bit(page));
      if (now == PageState::kInFlight) add(state_.claimed, page_bit(page));
    }
  }

 private:
  std::vector<postcopy::ReceivedWords> words_of(const State& state) {
    for (std::atomic<uint64_t>& word : words_) word.store(~uint64_t{0});
    for (uint8_t page = 0; page < kPagesMax; ++page) {
      if (has(state.received, page)) continue;
      words_[in_block(page) / postcopy::kPagesPerWord].fetch_and(
          ~(uint64_t{1} << (in_block(page) % postcopy::kPagesPerWord)));
    }
    return {postcopy::ReceivedWords(words_)};
  }

  State& state_;
  std::array<std::atomic<uint64_t>, kWords> words_{};
  PageLedger ledger_;
};

}  // namespace

void begin(State& state, Pages missing) {
  GuestPageSet set = empty_page_set(memory());
  for (uint8_t page = 0; page < kPagesMax; ++page) {
    if (has(missing, page)) set[0].set(in_block(page));
  }
  Replica replica(state);
  replica.ledger().begin(set);
  replica.store();
}

void take_over(State& state) {
  state.claimed = 0;
  Replica replica(state);
  replica.store();
}

bool claim(State& state, uint8_t page) {
  Replica replica(state);
  const std::optional<PageRun> run = replica.ledger().claim(0, {in_block(page), 1});
  replica.store();
  return run.has_value();
}

void mark_received(State& state, uint8_t page) {
  Replica replica(state);
  replica.ledger().mark_received(0, {in_block(page), 1});
  replica.store();
}

void give_back(State& state, uint8_t page) {
  Replica replica(state);
  replica.ledger().give_back(0, {in_block(page), 1});
  replica.store();
}

Pages received_around(const State& state, uint8_t page) {
  State copy = state;
  const PageRun run = Replica(copy).ledger().received_around(0, in_block(page), kBlockPages);
  Pages pages = 0;
  for (uint8_t other = 0; other < kPagesMax; ++other) {
    if (in_block(other) >= run.first_page && in_block(other) < run.first_page + run.page_count) {
      add(pages, page_bit(other));
    }
  }
  return pages;
}

bool all_received(const State& state) {
  State copy = state;
  return Replica(copy).ledger().outstanding_pages() == 0;
}

}  // namespace godwit::model::ledger
