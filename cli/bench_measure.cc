// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_measure.h"

#include "cli/bench_findings.h"
#include "cli/bench_links.h"
#include "cli/lane_rails.h"
#include "cli/step_line.h"
#include "cli/version.h"
#include "engine/qualify/bench_run.h"
#include "engine/qualify/bench_session.h"
#include "engine/session/session_record.h"
#include "transports/control/control_connect.h"
#include "vmm-adapters/linux/own_page_faults.h"

namespace godwit::cli {
namespace {

constexpr seconds kConnectPatience{10};

// Nothing was begun without a connection, whatever the reason.
Result<std::unique_ptr<ControlChannel>> connect(const std::string& address,
                                                const ControlSecurity& security,
                                                const InterruptWatcher& interrupts) {
  Result<std::unique_ptr<ControlChannel>> control =
      connect_control(address, security, deadline_in(kConnectPatience), interrupts.fd());
  if (control || control.error().code == Errc::kCancelled) return control;
  Error error = control.error();
  error.code = Errc::kRefused;
  return tl::unexpected<Error>(error);
}

Result<qualify::FaultView> make_fault_view(const GuestMemory& memory) {
  ASSIGN_OR_RETURN(std::unique_ptr<OwnPageFaults> faults, OwnPageFaults::open(memory));
  RETURN_IF_ERROR(faults->arm());
  const std::span<std::byte> bytes = faults->view();
  return qualify::FaultView{.faults = std::move(faults), .bytes = bytes};
}

void show(const qualify::BenchRun::Step& step) {
  show_step(fmt::format("{} of {}: {}", step.done + 1, step.total, step.what));
}

Result<qualify::BenchReport> run_session(const qualify::BenchOptions& options,
                                         const std::vector<Rail>& rails, const std::string& peer,
                                         qualify::BenchSession& session) {
  RETURN_IF_ERROR(session.open({.size_bytes = options.memory_bytes,
                                .nodes = options.memory_nodes,
                                .peer_nodes = options.peer_memory_nodes}));
  const std::vector<size_t> paths = session.paths_to_use();
  qualify::BenchRun run(
      {.session = session, .paths = paths, .make_fault_view = make_fault_view, .on_step = show},
      options);
  ASSIGN_OR_RETURN(qualify::BenchReport report, run.run());
  for (const size_t index : paths) {
    const qualify::BenchPath& path = session.paths()[index];
    const Rail& rail = rails[path.rail];
    report.paths.push_back({.rail = rail.name,
                            .transport = rail.transport->capabilities().name,
                            .numa_node = rail.numa_node,
                            .peer_rail = path.peer.name,
                            .peer_address = path.peer.address,
                            .peer_numa_node = path.peer.numa_node,
                            .link = describe_link(rail, peer),
                            .peer_link = path.link});
  }
  const std::vector<std::string> findings = find_findings(report);
  report.findings.insert(report.findings.end(), findings.begin(), findings.end());
  RETURN_IF_ERROR(session.close());
  return report;
}

}  // namespace

Result<BenchOutcome> measure_interconnect(const BenchCliOptions& options,
                                          InterruptWatcher& interrupts) {
  ASSIGN_OR_RETURN(const std::string address, bench_address(options.host));
  ASSIGN_OR_RETURN(const qualify::BenchOptions bench, to_bench_options(options));
  ASSIGN_OR_RETURN(ControlSecurity security, choose_security(options.agent, address));
  security.tls_hostname = options.tls_hostname;
  ASSIGN_OR_RETURN(const LaneRails lanes, make_lane_rails(options.agent));
  ASSIGN_OR_RETURN(const std::string name, new_session_id());
  ASSIGN_OR_RETURN(const std::unique_ptr<ControlChannel> control,
                   connect(address, security, interrupts));
  qualify::BenchSession session({.rails = lanes.rails,
                                 .control = *control,
                                 .topology = lanes.topology,
                                 .software = kVersion,
                                 .session = name});
  interrupts.set_action([&] { session.stop(); });
  Result<qualify::BenchReport> report =
      run_session(bench, lanes.rails, control->peer_address(), session);
  interrupts.set_action({});
  clear_step();
  if (!report) return tl::unexpected<Error>(session.give_up(report.error()));
  return BenchOutcome{.report = std::move(*report),
                      .peer = control->peer_address(),
                      .security = describe_security(options.agent, security),
                      .note = lanes.note};
}

}  // namespace godwit::cli
