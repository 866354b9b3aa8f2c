// SPDX-License-Identifier: Apache-2.0
//
// `--metrics`: an HTTP server for as long as an agent runs, whose only resource is GET /metrics.
//
// Invariant: whoever reads, or does not, costs the agent nothing: one thread, which gives way to
// all others, has one connection at a time, for kConnectionMax at most, and is gone at once when
// the agent ends.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/openmetrics.h"
#include "engine/base/result.h"
#include "engine/base/time.h"

namespace godwit::cli {

class MetricsServer {
 public:
  // How long a reader has, from its connection to the last byte of the answer.
  static constexpr Clock::duration kConnectionMax = seconds(2);

  // Thread: the server's. Must return at once.
  using Collect = std::function<std::vector<MetricFamily>()>;

  // `address` is HOST:PORT, or PORT alone for 127.0.0.1; with port 0 any that is free. Errors:
  // kRefused when nothing can listen there.
  static Result<std::unique_ptr<MetricsServer>> start(const std::string& address, Collect collect);
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  // "http://127.0.0.1:9471/metrics".
  const std::string& url() const { return url_; }

 private:
  class Http;
  MetricsServer(std::unique_ptr<Http> http, std::string url);

  std::unique_ptr<Http> http_;
  const std::string url_;
};

// HOST:PORT of what --metrics takes. Errors: kRefused.
Result<std::string> parse_metrics_address(const std::string& address);

}  // namespace godwit::cli
