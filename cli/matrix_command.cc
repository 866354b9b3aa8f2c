// SPDX-License-Identifier: Apache-2.0
#include "cli/matrix_command.h"

#include <sched.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>

#include "cli/agent_options.h"
#include "cli/bench_outputs.h"
#include "cli/console.h"
#include "cli/interrupt_watcher.h"
#include "cli/launcher/job_matrix.h"
#include "cli/matrix_json.h"
#include "cli/matrix_measure.h"
#include "cli/matrix_options.h"
#include "cli/matrix_text.h"
#include "cli/option_check.h"
#include "cli/units.h"
#include "engine/wire/messages.h"

namespace godwit::cli {
namespace {

constexpr char kMatrixFooter[] =
    "Measures every pair of hosts, both ways: first in rounds in which no host has more than one\n"
    "peer, then everyone at once. Says which hosts and links are slow, and which pairs differ by\n"
    "direction. docs/bench.md says how.\n"
    "\n"
    "Examples:\n"
    "  godwit bench matrix --hosts host-a,host-b,host-c --psk-file /etc/godwit.key\n"
    "                         with `godwit bench serve --psk-file …` on each of them\n"
    "  srun --mpi=pmix --ntasks-per-node=1 godwit bench matrix\n"
    "  mpirun --map-by ppr:1:node --bind-to none godwit bench matrix\n"
    "                         under a launcher, with a key of the job's own\n"
    "\n"
    "Exit codes: 0 every pair was measured; 1 it broke off, or some hosts or pairs are missing, "
    "and\n"
    "are named; 2 usage; 4 nothing was begun.";

ExitCode write_outcome(const MatrixOutcome& outcome, const BenchOutputs& outputs) {
  outputs.write({.text = render_matrix_text(outcome),
                 .json = render_matrix_json(outcome),
                 .csv = render_matrix_csv(outcome)});
  return outcome.report.complete() ? ExitCode::kCompleted : ExitCode::kFailed;
}

Result<ExitCode> measure_named(const MatrixCliOptions& options, InterruptWatcher& interrupts) {
  if (options.agent.transport != "auto" || !options.agent.rails.empty() ||
      options.agent.no_checksum || !options.interface.empty())
    return fail(Errc::kRefused,
                "--transport, --rail and --no-checksum are for `godwit bench serve` on the hosts, "
                "and --interface is for a job: this end moves no pages");
  ASSIGN_OR_RETURN(const std::vector<ServingHost> hosts, named_hosts(options));
  ASSIGN_OR_RETURN(const BenchOutputs outputs, BenchOutputs::open(options.agent, options.csv));
  ASSIGN_OR_RETURN(const MatrixOutcome outcome, coordinate_matrix(options, hosts, interrupts));
  return write_outcome(outcome, outputs);
}

// Launchers bind processes to single cores unless told otherwise, as a process of MPI likes it.
void warn_of_few_cpus() {
  cpu_set_t allowed;
  const long online = ::sysconf(_SC_NPROCESSORS_ONLN);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  const long ours = CPU_COUNT(&allowed);
  if (ours < online)
    say(
        fmt::format("the launcher gave this process {} of {} CPUs, which lanes and kernel share: "
                    "`mpirun --bind-to none` or `srun --exclusive --cpu-bind=none` gives all",
                    ours, online));
}

// Files are the first process's: the others may be on other hosts, or in the same folder.
Result<ExitCode> measure_job(const MatrixCliOptions& options, InterruptWatcher& interrupts) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Job> job, join_job());
  if (job->size() < 2)
    return fail(Errc::kRefused, "the job has one process: a matrix has two hosts at least");
  BenchOutputs outputs;
  if (job->rank() == 0) {
    ASSIGN_OR_RETURN(outputs, BenchOutputs::open(options.agent, options.csv));
    if (options.agent.insecure) say("--insecure: neither encrypted nor authenticated");
    warn_of_few_cpus();
  }
  ASSIGN_OR_RETURN(const std::optional<MatrixOutcome> outcome,
                   measure_in_job(*job, options, interrupts));
  return outcome ? write_outcome(*outcome, outputs) : ExitCode::kCompleted;
}

ExitCode run_matrix(const MatrixCliOptions& options) {
  // In a job, one process says it.
  AgentOptions warned_of = options.agent;
  warned_of.insecure = options.agent.insecure && !options.hosts.empty();
  const auto interrupts = watch_interrupts(warned_of);
  if (!interrupts) return ExitCode::kRefused;
  const Result<qualify::MatrixOptions> numbers = to_matrix_options(options);
  const Result<ExitCode> code = !numbers ? Result<ExitCode>(tl::unexpected<Error>(numbers.error()))
                                : options.hosts.empty() ? measure_job(options, **interrupts)
                                                        : measure_named(options, **interrupts);
  if (code) return *code;
  say(to_string(code.error()));
  return code.error().code == Errc::kRefused ? ExitCode::kRefused : ExitCode::kFailed;
}

}  // namespace

void add_matrix_command(CLI::App& bench, ExitCode& exit_code) {
  auto options = std::make_shared<MatrixCliOptions>();  // shared by the parser and the callback
  CLI::App* matrix =
      bench.add_subcommand("matrix", "Measure every pair of many hosts, and all of them at once");
  matrix
      ->add_option(
          "--hosts", options->hosts,
          "Where `godwit bench serve` runs: HOST or HOST:PORT (default: the processes that "
          "srun or mpirun started)")
      ->delimiter(',')
      ->type_name("A,B,…");
  matrix->add_option("--time", options->time, "How long each direction of a pair is measured")
      ->capture_default_str()
      ->check(understood_by(parse_duration, "DURATION"));
  matrix->add_option("--lanes", options->lanes, "Lanes of each direction (default: CPUs, up to 4)")
      ->check(CLI::Range(1U, kLanesMax))
      ->type_name("N");
  matrix->add_option("--memory", options->memory, "Memory to move, at both ends of each pair")
      ->capture_default_str()
      ->check(understood_by(parse_size, "SIZE"));
  matrix
      ->add_option("--interface", options->interface,
                   "In a job: the network interface by which the hosts reach each other")
      ->type_name("NAME");
  add_bench_output_options(*matrix, options->agent, options->csv);
  add_peer_options(*matrix, options->agent);
  matrix->footer(kMatrixFooter);
  matrix->callback([options, &exit_code] { exit_code = run_matrix(*options); });
}

}  // namespace godwit::cli
