// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/matrix_report.h"

#include <algorithm>

namespace godwit::qualify {

bool MatrixReport::complete() const {
  const auto took_part = [](const MatrixHost& host) { return host.lost.empty(); };
  return std::ranges::all_of(hosts, took_part) &&
         std::ranges::all_of(pairs, &Direction::measured) &&
         std::ranges::all_of(at_once, &Direction::measured);
}

}  // namespace godwit::qualify
