// SPDX-License-Identifier: Apache-2.0
#include "engine/numa/cpu_list.h"

#include <fmt/core.h>

namespace godwit::numa {

std::string to_string(const CpuList& cpus) {
  if (cpus.empty()) return "none";
  std::string text;
  for (size_t first = 0; first < cpus.size();) {
    size_t last = first;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) last++;
    text += fmt::format("{}{}", text.empty() ? "" : ",", cpus[first]);
    if (last > first) text += fmt::format("-{}", cpus[last]);
    first = last + 1;
  }
  return text;
}

}  // namespace godwit::numa
