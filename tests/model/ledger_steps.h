// SPDX-License-Identifier: Apache-2.0
//
// The destination's pages go through the real postcopy::PageLedger: one is made from a state's
// bits, does one step, and its bits become the next state's. The model's pages lie on both sides of
// a word's edge.
#pragma once

#include "tests/model/state.h"

namespace godwit::model::ledger {

// All that is not in `missing` is received.
void begin(State& state, Pages missing);

// A new agent finds what the old one had received, and nothing in flight.
void take_over(State& state);

// Whether the page is the caller's now.
bool claim(State& state, uint8_t page);

void mark_received(State& state, uint8_t page);
void give_back(State& state, uint8_t page);

// Pages that can be installed together with this one, which is received.
Pages received_around(const State& state, uint8_t page);

bool all_received(const State& state);

}  // namespace godwit::model::ledger
