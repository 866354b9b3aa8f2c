// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include <memory>
#include <string>

#include "cli/agent_metrics.h"
#include "cli/agent_options.h"
#include "cli/bench_json.h"
#include "cli/bench_measure.h"
#include "cli/bench_options.h"
#include "cli/bench_outputs.h"
#include "cli/bench_serve.h"
#include "cli/bench_text.h"
#include "cli/command.h"
#include "cli/console.h"
#include "cli/interrupt_watcher.h"
#include "cli/matrix_command.h"
#include "cli/option_check.h"
#include "cli/units.h"

namespace godwit::cli {
namespace {

constexpr char kBenchFooter[] =
    "Measures the way between two hosts by the transports that migrations use: bandwidth, latency\n"
    "and CPU time of writes and reads, with as many lanes as it takes. A result that is marked ?\n"
    "varied too much to say anything. docs/bench.md says what each number means.\n"
    "\n"
    "Examples:\n"
    "  godwit bench serve --psk-file /etc/godwit.key            on one host\n"
    "  godwit bench 192.0.2.2 --psk-file /etc/godwit.key        on the other\n"
    "  godwit bench 192.0.2.2 --psk-file /etc/godwit.key --size 4KiB,1MiB --lanes 1,2,4 --time "
    "1min\n"
    "\n"
    "`godwit bench matrix` measures every pair of many hosts.\n"
    "\n"
    "Exit codes: 0 measured; 1 it broke off; 2 usage; 4 nothing was begun.";

constexpr char kServeFooter[] =
    "Serves one bench or matrix after the other, until Ctrl-C. It measures only in a matrix, for "
    "whoever\n"
    "coordinates that.\n"
    "\n"
    "Exit codes: 0 stopped; 1 with --once, the bench broke off; 2 usage; 4 this host cannot serve.";

ExitCode exit_code_of(const Error& error) {
  return error.code == Errc::kRefused ? ExitCode::kRefused : ExitCode::kFailed;
}

ExitCode run_serve(const BenchServeOptions& options) {
  const auto interrupts = watch_interrupts(options.agent);
  if (!interrupts) return ExitCode::kRefused;
  BenchMetrics metrics;
  const auto metrics_server = serve_metrics(options.agent, [&] { return metrics.collect(); });
  const Status served = metrics_server ? serve_benches(options, **interrupts, metrics)
                                       : tl::unexpected<Error>(metrics_server.error());
  if (served) return ExitCode::kCompleted;
  say(to_string(served.error()));
  return exit_code_of(served.error());
}

ExitCode run_bench(const BenchCliOptions& options) {
  const Result<BenchOutputs> outputs = BenchOutputs::open(options.agent, options.csv);
  if (!outputs) {
    say(to_string(outputs.error()));
    return ExitCode::kRefused;
  }
  const auto interrupts = watch_interrupts(options.agent);
  if (!interrupts) return ExitCode::kRefused;
  const Result<BenchOutcome> outcome = measure_interconnect(options, **interrupts);
  if (!outcome) {
    say(to_string(outcome.error()));
    return exit_code_of(outcome.error());
  }
  if (!outcome->note.empty()) say(fmt::format("only TCP was measured: {}", outcome->note));
  outputs->write({.text = render_bench_text(*outcome),
                  .json = render_bench_json(*outcome),
                  .csv = render_bench_csv(*outcome)});
  return ExitCode::kCompleted;
}

// A list in one word, so that HOST can follow it: "1,2,4".
template <typename Values>
CLI::Option* add_list(CLI::App& command, const char* name, Values& values, const char* help) {
  return command.add_option(name, values, help)->delimiter(',')->allow_extra_args(false);
}

void add_sweep_options(CLI::App& command, BenchCliOptions& options) {
  command.add_option("--time", options.time, "How long all of it may take, about")
      ->capture_default_str()
      ->check(understood_by(parse_duration, "DURATION"));
  add_list(command, "--size", options.sizes,
           "Bytes of a transfer; A,B,… for a sweep (default: 4KiB to 16MiB)")
      ->check(understood_by(parse_size, "SIZE"));
  add_list(command, "--lanes", options.lanes,
           "Lanes to try; the fewest that are nearly as fast as the best are used")
      ->check(CLI::Range(1U, qualify::kBenchLanesMax))
      ->type_name("N");
  add_list(command, "--depth", options.depths,
           "Transfers under way on each lane; A,B,… for a sweep (default: by size)")
      ->check(CLI::Range(1U, qualify::kBenchDepthMax))
      ->type_name("N");
  add_list(command, "--memory-node", options.memory_nodes,
           "NUMA node of the memory here; A,B,… for a sweep")
      ->check(CLI::NonNegativeNumber)
      ->type_name("NODE");
  add_list(command, "--peer-memory-node", options.peer_memory_nodes,
           "The same for the memory there")
      ->check(CLI::NonNegativeNumber)
      ->type_name("NODE");
  command.add_option("--memory", options.memory, "Memory to move, on each node, at both ends")
      ->capture_default_str()
      ->check(understood_by(parse_size, "SIZE"));
}

void add_serve(CLI::App& bench, ExitCode& exit_code) {
  auto options = std::make_shared<BenchServeOptions>();  // shared by the parser and the callback
  CLI::App* serve = bench.add_subcommand(
      "serve", "The other end, for `godwit bench HOST` and `godwit bench matrix`");
  serve->add_option("--listen", options->listen, "Where `godwit bench` will connect to")
      ->capture_default_str()
      ->type_name("HOST:PORT");
  serve
      ->add_option("--lane-listen", options->lane_listen,
                   "Where the bytes arrive (default: where the peer came in, any port)")
      ->type_name("HOST:PORT");
  add_peer_options(*serve, options->agent);
  add_metrics_option(*serve, options->agent);
  serve->add_flag("--once", options->once, "End when the first bench has ended");
  serve->footer(kServeFooter);
  serve->callback([options, &exit_code] { exit_code = run_serve(*options); });
}

}  // namespace

void add_bench_command(CLI::App& app, ExitCode& exit_code) {
  CLI::App* bench =
      app.add_subcommand("bench", "Measure the way to another host, as migrations will find it");
  bench->require_subcommand(0, 1);
  bench->footer(kBenchFooter);
  add_serve(*bench, exit_code);
  add_matrix_command(*bench, exit_code);

  auto options = std::make_shared<BenchCliOptions>();
  bench->add_option("HOST", options->host, "Where `godwit bench serve` runs: HOST or HOST:PORT");
  add_sweep_options(*bench, *options);
  add_bench_output_options(*bench, options->agent, options->csv);
  add_peer_options(*bench, options->agent);
  bench
      ->add_option("--tls-hostname", options->tls_hostname,
                   "The name in the other host's certificate, when it is not HOST")
      ->type_name("NAME");
  bench->callback([bench, options, &exit_code] {
    if (!bench->get_subcommands().empty()) return;
    if (options->host.empty()) throw CLI::RequiredError("HOST");
    exit_code = run_bench(*options);
  });
}

}  // namespace godwit::cli
