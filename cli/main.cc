// SPDX-License-Identifier: Apache-2.0
//
// The `godwit` program: parses the command line and hands over to the command's own file.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdlib>

#include "cli/command.h"
#include "cli/version.h"

namespace {

constexpr char kDescription[] =
    "Godwit moves running QEMU guests between hosts, page by page, straight from memory to "
    "memory.\n"
    "It runs beside each QEMU and talks to it over QMP; QEMU and guest need no change.";

constexpr char kFooter[] =
    "Moving a guest takes two commands. On the host that it goes to, beside a QEMU that was "
    "started\n"
    "with the same machine and `-incoming defer`:\n"
    "  godwit receive --qmp /run/guest.qmp --listen 192.0.2.2:7471 --psk-file /etc/godwit.key\n"
    "On the host that it leaves:\n"
    "  godwit send --qmp /run/guest.qmp --to 192.0.2.2:7471 --psk-file /etc/godwit.key\n"
    "\n"
    "`godwit keygen FILE` makes the key; `godwit probe` tells what this host can do.\n"
    "`godwit COMMAND --help` explains a command.";

// hwloc's plugins that ask X servers and accelerators for devices of theirs, of which none carries
// memory, and the one that brings an XML library for maps of other hosts. Some take seconds, and
// loading them is most of what starting costs.
constexpr char kPluginsLeftOut[] =
    "hwloc_gl,hwloc_opencl,hwloc_cuda,hwloc_nvml,hwloc_rsmi,hwloc_levelzero,hwloc_xml_libxml";

}  // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): only CLI11 throws, and a bug in the options is one of
// ours
int main(int argc, char** argv) {
  // A reader of our output that went away must not end a migration.
  std::signal(SIGPIPE, SIG_IGN);
  ::setenv("HWLOC_PLUGINS_BLACKLIST", kPluginsLeftOut, /*overwrite=*/0);

  CLI::App app(kDescription, "godwit");
  app.footer(kFooter);
  app.set_version_flag("--version", godwit::cli::kVersion);
  app.set_help_all_flag("--help-all", "Print the help of all commands and exit");
  app.require_subcommand(1);

  godwit::cli::ExitCode exit_code = godwit::cli::ExitCode::kCompleted;
  godwit::cli::add_send_command(app, exit_code);
  godwit::cli::add_receive_command(app, exit_code);
  godwit::cli::add_relay_command(app, exit_code);
  godwit::cli::add_cancel_command(app, exit_code);
  godwit::cli::add_resume_command(app, exit_code);
  godwit::cli::add_status_command(app, exit_code);
  godwit::cli::add_probe_command(app, exit_code);
  godwit::cli::add_bench_command(app, exit_code);
  godwit::cli::add_report_command(app, exit_code);
  godwit::cli::add_keygen_command(app, exit_code);
  godwit::cli::add_completion_command(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Also how CLI11 says "help was asked for", which is no error.
    return app.exit(error) == 0 ? 0 : static_cast<int>(godwit::cli::ExitCode::kUsage);
  }
  return static_cast<int>(exit_code);
}
