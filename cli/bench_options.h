// SPDX-License-Identifier: Apache-2.0
//
// What `godwit bench` is told on its command line.
#pragma once

#include <string>
#include <vector>

#include "cli/agent_options.h"
#include "engine/base/result.h"
#include "engine/qualify/sweep_plan.h"

namespace godwit::cli {

// Where `godwit bench serve` listens unless told otherwise, and `godwit bench HOST` connects to.
inline constexpr char kBenchPort[] = "7473";

struct BenchServeOptions {
  AgentOptions agent;
  std::string listen = std::string("0.0.0.0:") + kBenchPort;
  std::string lane_listen;
  bool once = false;
};

struct BenchCliOptions {
  AgentOptions agent;
  std::string host;  // HOST or HOST:PORT
  std::string tls_hostname;
  std::string time = "20s";
  std::vector<std::string> sizes;
  std::vector<uint32_t> lanes;
  std::vector<uint32_t> depths;
  std::vector<int> memory_nodes;
  std::vector<int> peer_memory_nodes;
  std::string memory = "128MiB";
  std::string csv;
};

// "HOST:PORT". Errors: kRefused.
Result<std::string> bench_address(const std::string& host);

// Errors: kRefused, when the numbers do not fit each other.
Result<qualify::BenchOptions> to_bench_options(const BenchCliOptions& options);

}  // namespace godwit::cli
