// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/host_probe.h"
#include "cli/placement_preview.h"
#include "engine/numa/topology.h"
#include "transports/rdma/rdma_features.h"

namespace godwit::cli {
namespace {

enum class Rendering : uint8_t { kText = 1, kJson = 2 };

std::string render_json(const std::vector<Finding>& findings,
                        const Result<numa::Topology>& topology) {
  nlohmann::ordered_json numa;
  if (topology)
    numa = placement_json(*topology, preview_placement(*topology), list_rdma_features());
  return render_findings_json(findings, numa);
}

std::string render_text(const std::vector<Finding>& findings,
                        const Result<numa::Topology>& topology) {
  std::string text = render_findings_text(findings);
  if (topology) {
    text += render_placement_text(*topology, preview_placement(*topology), list_rdma_features());
  }
  return text;
}

ExitCode probe(Rendering rendering) {
  const Result<numa::Topology> topology = numa::Topology::of_this_host();
  const std::vector<Finding> findings = probe_host(topology);
  write_stdout(rendering == Rendering::kJson ? render_json(findings, topology)
                                             : render_text(findings, topology));
  bool missing = std::any_of(findings.begin(), findings.end(), [](const Finding& finding) {
    return finding.verdict == Finding::Verdict::kMissing;
  });
  return missing ? ExitCode::kFailed : ExitCode::kCompleted;
}

}  // namespace

void add_probe_command(CLI::App& app, ExitCode& exit_code) {
  auto json = std::make_shared<bool>(false);  // shared by the parser and the callback
  CLI::App* command =
      app.add_subcommand("probe", "Tell what this host can do, and what is missing");
  command->add_flag("--json", *json, "As JSON, see docs/json.md");
  command->footer("Exit codes: 0 guests can leave and arrive here; 1 something is missing.");
  command->callback(
      [json, &exit_code] { exit_code = probe(*json ? Rendering::kJson : Rendering::kText); });
}

}  // namespace godwit::cli
