// SPDX-License-Identifier: Apache-2.0
#include "tests/model/explorer.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>

#include "engine/base/check.h"

namespace godwit::model {
namespace {

constexpr uint32_t kNoState = UINT32_MAX;

// All states seen, each once, by number; with an open-addressed table to find them by content.
class StateSet {
 public:
  StateSet() : table_(size_t{1} << 16, kNoState) {}

  // The state's number, and whether it is new.
  std::pair<uint32_t, bool> insert(const State& state) {
    if (states_.size() * 2 > table_.size()) grow();
    uint32_t& slot = find(state);
    if (slot != kNoState) return {slot, false};
    slot = static_cast<uint32_t>(states_.size());
    states_.push_back(state);
    return {slot, true};
  }

  const State& operator[](uint32_t number) const { return states_[number]; }
  uint32_t size() const { return static_cast<uint32_t>(states_.size()); }

 private:
  static size_t hash(const State& state) {
    std::array<char, sizeof(State)> bytes;
    std::memcpy(bytes.data(), &state, sizeof state);
    return std::hash<std::string_view>()({bytes.data(), bytes.size()});
  }

  uint32_t& find(const State& state) {
    size_t at = hash(state) & (table_.size() - 1);
    while (table_[at] != kNoState && std::memcmp(&states_[table_[at]], &state, sizeof state) != 0) {
      at = (at + 1) & (table_.size() - 1);
    }
    return table_[at];
  }

  void grow() {
    table_.assign(table_.size() * 2, kNoState);
    for (uint32_t number = 0; number < size(); ++number) find(states_[number]) = number;
  }

  std::vector<State> states_;
  std::vector<uint32_t> table_;
};

struct Step {
  uint32_t from;
  uint32_t to;
};

class Explorer {
 public:
  explicit Explorer(const Rules& rules) : rules_(rules) {}

  Exploration run() {
    add(initial_state(rules_), kNoState, {"begin"});
    for (uint32_t number = 0; number < states_.size() && !found_; ++number) visit(number);
    if (!found_) check_that_all_can_finish();
    result_.states = states_.size();
    if (found_) result_.trace = trace_to(*found_);
    return std::move(result_);
  }

 private:
  void visit(uint32_t number) {
    const State now = states_[number];
    if (is_final(now)) ++result_.final_states;
    for_each_step(now, rules_, [&](const State& next, const Action& action) {
      if (!found_) add(next, number, action);
    });
  }

  void add(const State& state, uint32_t from, const Action& action) {
    ++result_.steps;
    const auto [number, is_new] = states_.insert(state);
    if (action.kind == Kind::kProgress && from != kNoState) progress_.push_back({from, number});
    if (!is_new) return;
    parents_.push_back(from);
    const Violation broken =
        state.violation != Violation::kNone ? state.violation : broken_invariant(state);
    if (broken != Violation::kNone) report(broken, number);
  }

  void report(Violation violation, uint32_t number) {
    result_.violation = violation;
    found_ = number;
  }

  // Walks back from the final states, along the steps that need no failure.
  void check_that_all_can_finish() {
    std::vector<uint32_t> starts(states_.size() + 1, 0);
    for (const Step& step : progress_) ++starts[step.to + 1];
    std::partial_sum(starts.begin(), starts.end(), starts.begin());
    std::vector<uint32_t> sources(progress_.size());
    std::vector<uint32_t> next = starts;
    for (const Step& step : progress_) sources[next[step.to]++] = step.from;

    std::vector<bool> can_finish(states_.size(), false);
    std::vector<uint32_t> to_visit;
    auto reach = [&](uint32_t number) {
      if (can_finish[number]) return;
      can_finish[number] = true;
      to_visit.push_back(number);
    };
    for (uint32_t number = 0; number < states_.size(); ++number) {
      if (is_final(states_[number])) reach(number);
    }
    while (!to_visit.empty()) {
      const uint32_t number = to_visit.back();
      to_visit.pop_back();
      for (uint32_t i = starts[number]; i < starts[number + 1]; ++i) reach(sources[i]);
    }
    const auto stuck = std::find(can_finish.begin(), can_finish.end(), false);
    if (stuck == can_finish.end()) return;
    report(Violation::kCannotFinish, static_cast<uint32_t>(stuck - can_finish.begin()));
  }

  std::vector<std::string> trace_to(uint32_t number) const {
    std::vector<std::string> steps;
    for (; parents_[number] != kNoState; number = parents_[number]) {
      const State& wanted = states_[number];
      std::optional<std::string> how;
      for_each_step(states_[parents_[number]], rules_,
                    [&](const State& next, const Action& action) {
                      if (how || std::memcmp(&next, &wanted, sizeof next) != 0) return;
                      how = to_string(action);
                    });
      CHECK(how.has_value());
      steps.push_back(*how);
    }
    std::reverse(steps.begin(), steps.end());
    return steps;
  }

  const Rules rules_;
  StateSet states_;
  std::vector<uint32_t> parents_;
  std::vector<Step> progress_;
  std::optional<uint32_t> found_;
  Exploration result_;
};

}  // namespace

Exploration explore(const Rules& rules) {
  return Explorer(rules).run();
}

const char* to_string(Violation violation) {
  switch (violation) {
    case Violation::kNone:
      return "nothing";
    case Violation::kStalePage:
      return "the guest can reach a page that is not the newest";
    case Violation::kWrittenAfterInstall:
      return "a page was written that the guest may have changed";
    case Violation::kTwoOwners:
      return "the guest can run on both sides";
    case Violation::kForgottenFault:
      return "somebody waits for a page that nobody will bring";
    case Violation::kCannotFinish:
      return "no way leads to an end, even if nothing fails any more";
  }
  CHECK(false && "a Violation outside its enumerators");
}

}  // namespace godwit::model
