// SPDX-License-Identifier: Apache-2.0
//
// The options that the agents share, and what follows from them.
#pragma once

#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "transports/control/control_security.h"

namespace CLI {
class App;
}

namespace godwit::cli {

struct AgentOptions {
  std::string qmp;
  int pid = 0;  // 0: the process at the other end of the QMP socket
  std::string psk_file;
  std::string tls_folder;
  bool insecure = false;
  bool no_checksum = false;
  std::string transport = "auto";
  std::vector<std::string> rails;  // RDMA devices; empty: those that work
  std::string json;                // a file, "-" for stdout, empty for none
  std::string page;                // the same, of --report
  std::string metrics;             // HOST:PORT or PORT, empty for none
  std::string reconnect_for;       // a duration; empty: for ever
  std::string resume_session;      // whose agent died, and is replaced by this one; else empty
  std::string test_hold;           // a state's name
};

// `options` has to stay where it is until the command line is parsed. The first are those about the
// other host and the way there, which the second has as well.
void add_peer_options(CLI::App& command, AgentOptions& options);
void add_agent_options(CLI::App& command, AgentOptions& options);

// Errors: kRefused.
Result<Clock::duration> reconnect_time(const AgentOptions& options);

// What the user said about security; when nothing was said, `address` has to be on this machine.
// Errors: kRefused.
Result<ControlSecurity> choose_security(const AgentOptions& options, const std::string& address);

// How the report names it: "none (loopback only)" when nothing was said and nothing was needed.
std::string describe_security(const AgentOptions& options, const ControlSecurity& security);

}  // namespace godwit::cli
