// SPDX-License-Identifier: Apache-2.0
#include "cli/agent_options.h"

#include <CLI/CLI.hpp>

#include "cli/option_check.h"
#include "cli/units.h"
#include "transports/control/control_address.h"

namespace godwit::cli {

void add_peer_options(CLI::App& command, AgentOptions& options) {
  auto* security = command.add_option_group("Security", "Who may take part");
  security->add_option("--psk-file", options.psk_file, "TLS 1.3 with the key in this file")
      ->type_name("FILE");
  security
      ->add_option("--tls-dir", options.tls_folder,
                   "TLS 1.3 with certificates, laid out as for QEMU and libvirt")
      ->type_name("DIR");
  security->add_flag("--insecure", options.insecure,
                     "No encryption and no authentication, for any address");
  security->require_option(0, 1);

  command
      .add_option("--transport", options.transport,
                  "What carries the pages; auto is RDMA where both hosts have it, else TCP")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "rdma", "tcp"}));
  command
      .add_option("--rail", options.rails, "RDMA device to use; several times for several rails")
      ->type_name("DEV[:PORT][/GID]");
  command.add_flag("--no-checksum", options.no_checksum, "Send pages over TCP without CRC32C");
}

void add_agent_options(CLI::App& command, AgentOptions& options) {
  command.add_option("--qmp", options.qmp, "QEMU's QMP socket (-qmp unix:PATH,server=on,wait=off)")
      ->required()
      ->type_name("PATH");
  command.add_option("--pid", options.pid, "QEMU's process, when QMP goes through another one")
      ->check(CLI::PositiveNumber)
      ->type_name("PID");
  command.add_option("--json", options.json, "Write the report as JSON; - is stdout")
      ->type_name("FILE");
  command
      .add_option("--report", options.page,
                  "Write the report as a page of HTML (docs/report.md); - is stdout")
      ->type_name("FILE.html");

  add_peer_options(command, options);
  command
      .add_option("--reconnect-for", options.reconnect_for,
                  "How long to try to replace a connection lost in post-copy (default: for ever)")
      ->check(understood_by(parse_duration, "DURATION"));
  command.add_option("--resume-session", options.resume_session)->group("");
  command.add_option("--test-hold", options.test_hold)->group("");
}

Result<Clock::duration> reconnect_time(const AgentOptions& options) {
  if (options.reconnect_for.empty()) return Clock::duration::max();
  return parse_duration(options.reconnect_for);
}

Result<ControlSecurity> choose_security(const AgentOptions& options, const std::string& address) {
  ControlSecurity security;
  if (!options.psk_file.empty()) {
    security.kind = SecurityKind::kPreSharedKey;
    security.psk_file = options.psk_file;
    return security;
  }
  if (!options.tls_folder.empty()) {
    security.kind = SecurityKind::kX509;
    security.tls_folder = options.tls_folder;
    return security;
  }
  if (!options.insecure) RETURN_IF_ERROR(require_loopback(address));
  return security;
}

std::string describe_security(const AgentOptions& options, const ControlSecurity& security) {
  bool nothing_said = security.kind == SecurityKind::kInsecure && !options.insecure;
  return nothing_said ? "none (loopback only)" : to_string(security.kind);
}

}  // namespace godwit::cli
