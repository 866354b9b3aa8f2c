// SPDX-License-Identifier: Apache-2.0
//
// The assignment problem: each row gets a column of its own, at the least total cost. Taking the
// best column row by row can leave a later row with none that fits; this looks at all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace godwit::numa {

// Returns the column of each row.
//
// Requires: every row has as many costs, at least as many as there are rows.
std::vector<size_t> assign_cheapest(const std::vector<std::vector<int64_t>>& costs);

}  // namespace godwit::numa
