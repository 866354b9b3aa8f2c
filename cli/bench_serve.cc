// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_serve.h"

#include <memory>

#include "cli/bench_reception.h"
#include "cli/console.h"
#include "cli/lane_rails.h"
#include "cli/peer_listener.h"
#include "transports/address/socket_address.h"

namespace godwit::cli {
Status serve_benches(const BenchServeOptions& options, InterruptWatcher& interrupts,
                     BenchMetrics& metrics) {
  ASSIGN_OR_RETURN(const ControlSecurity security, choose_security(options.agent, options.listen));
  if (!options.lane_listen.empty()) RETURN_IF_ERROR(parse_host_port(options.lane_listen));
  // What this host lacks is said now.
  ASSIGN_OR_RETURN(const LaneRails lanes, make_lane_rails(options.agent));
  if (!lanes.note.empty()) say(fmt::format("only TCP can be measured: {}", lanes.note));
  ASSIGN_OR_RETURN(const std::unique_ptr<ControlListener> listener,
                   listen_for_peers(options.listen, security));
  BenchReception reception({.agent = options.agent,
                            .lane_listen = options.lane_listen,
                            .interrupts = interrupts,
                            .tell = say,
                            .on_begin = [&] { metrics.bench_began(); },
                            .on_end =
                                [&](const Status& served) {
                                  metrics.bench_ended(served);
                                  if (options.once) listener->shut_down();
                                },
                            .on_refused = [&] { metrics.bench_turned_away(); }});
  interrupts.set_action([&] {
    listener->shut_down();
    reception.stop();
  });
  say(fmt::format("waits for `godwit bench` on {}, control connection: {}", listener->address(),
                  describe_security(options.agent, security)));
  const Status ended = reception.take_all(*listener);
  const Status last = reception.wait();
  interrupts.set_action({});
  if (!ended) return ended;
  return options.once ? last : Status{};
}

}  // namespace godwit::cli
