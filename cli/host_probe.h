// SPDX-License-Identifier: Apache-2.0
//
// What this host can do for a migration, found by doing it, never by looking at versions.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/numa/topology.h"

namespace godwit::cli {

struct Finding {
  enum class Verdict : uint8_t { kGood = 1, kMissing = 2, kFact = 3 };

  std::string name;  // "dirty-tracking"
  Verdict verdict;
  std::string text;  // what was found, and what to change when it is missing
};

// `topology` is this host's, or why it could not be read.
std::vector<Finding> probe_host(const Result<numa::Topology>& topology);

// `numa` goes in as it is.
std::string render_findings_json(const std::vector<Finding>& findings,
                                 const nlohmann::ordered_json& numa);
std::string render_findings_text(const std::vector<Finding>& findings);

}  // namespace godwit::cli
