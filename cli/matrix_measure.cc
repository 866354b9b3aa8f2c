// SPDX-License-Identifier: Apache-2.0
#include "cli/matrix_measure.h"

#include <algorithm>
#include <set>
#include <thread>
#include <utility>

#include "cli/bench_options.h"
#include "cli/bench_peer.h"
#include "cli/step_line.h"
#include "cli/version.h"
#include "engine/qualify/matrix_run.h"
#include "engine/session/session_record.h"

namespace godwit::cli {
namespace {

// All at the same time: each of the dead ones takes its whole patience.
std::vector<qualify::MatrixCandidate> connect_to_all(const MatrixCliOptions& options,
                                                     const std::vector<ServingHost>& hosts,
                                                     const InterruptWatcher& interrupts) {
  std::vector<qualify::MatrixCandidate> candidates(hosts.size());
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < hosts.size(); ++i) {
    candidates[i] = {.name = hosts[i].name,
                     .addresses = hosts[i].addresses,
                     .channel = nullptr,
                     .lost = hosts[i].lost};
    if (!hosts[i].lost.empty()) continue;
    threads.emplace_back([&, i] {
      auto channel = connect_to_bench_host(hosts[i].addresses, options.agent, interrupts);
      if (channel) {
        candidates[i].channel = std::move(*channel);
      } else {
        candidates[i].lost = to_string(channel.error());
      }
    });
  }
  threads.clear();
  return candidates;
}

// Why there is nothing to measure: what the hosts said, as far as an error has room.
Error too_few(const std::vector<qualify::MatrixCandidate>& candidates) {
  std::string reasons;
  for (const qualify::MatrixCandidate& candidate : candidates) {
    if (!candidate.lost.empty()) reasons += fmt::format("; {}: {}", candidate.name, candidate.lost);
  }
  return fail(Errc::kRefused, "fewer than two of {} hosts can be reached{}", candidates.size(),
              reasons)
      .value();
}

}  // namespace

Result<std::vector<ServingHost>> named_hosts(const MatrixCliOptions& options) {
  std::vector<ServingHost> hosts;
  std::set<std::string> known;
  for (const std::string& name : options.hosts) {
    if (name.empty()) return fail(Errc::kRefused, "--hosts: a name is empty");
    ASSIGN_OR_RETURN(const std::string address, bench_address(name));
    if (!known.insert(address).second)
      return fail(Errc::kRefused, "--hosts: {} is there twice", name);
    hosts.push_back({.name = name, .addresses = {address}, .lost = {}});
  }
  if (hosts.size() < 2) return fail(Errc::kRefused, "--hosts: a matrix has two hosts at least");
  return hosts;
}

Result<MatrixOutcome> coordinate_matrix(const MatrixCliOptions& options,
                                        const std::vector<ServingHost>& hosts,
                                        InterruptWatcher& interrupts) {
  ASSIGN_OR_RETURN(const qualify::MatrixOptions matrix, to_matrix_options(options));
  for (const ServingHost& host : hosts) {
    for (const std::string& address : host.addresses)
      RETURN_IF_ERROR(choose_security(options.agent, address));
  }
  ASSIGN_OR_RETURN(const std::string session, new_session_id());
  show_step("connecting");
  std::vector<qualify::MatrixCandidate> candidates = connect_to_all(options, hosts, interrupts);
  clear_step();
  if (interrupts.interrupted()) return fail(Errc::kCancelled, "stopped");
  std::string security;
  const auto reached = std::ranges::count_if(
      candidates, [](const auto& candidate) { return candidate.channel != nullptr; });
  if (reached < 2) return tl::unexpected<Error>(too_few(candidates));
  for (const auto& candidate : candidates) {
    if (candidate.channel != nullptr) security = candidate.channel->security();
  }
  qualify::MatrixRun run({.hosts = std::move(candidates),
                          .software = kVersion,
                          .session = session,
                          .on_step = [](const std::string& step) { show_step(step); }},
                         matrix);
  interrupts.set_action([&] { run.stop(); });
  Result<qualify::MatrixReport> report = run.run();
  interrupts.set_action({});
  clear_step();
  if (!report) return tl::unexpected<Error>(report.error());
  std::vector<qualify::MatrixFinding> findings = qualify::analyze_matrix(*report);
  return MatrixOutcome{.report = std::move(*report),
                       .findings = std::move(findings),
                       .options = matrix,
                       .launcher = {},
                       .security = security};
}

}  // namespace godwit::cli
