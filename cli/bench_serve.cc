// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_serve.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>

#include "cli/bench_links.h"
#include "cli/console.h"
#include "cli/lane_rails.h"
#include "cli/peer_listener.h"
#include "cli/version.h"
#include "engine/qualify/bench_server.h"
#include "transports/address/socket_address.h"

namespace godwit::cli {
namespace {

constexpr Clock::duration kRefusalMax = seconds(2);

Status serve_one(ControlConnection& control, const BenchServeOptions& options,
                 const std::function<void(qualify::BenchServer*)>& on_running) {
  // Anew for each: the keys of regions are good for one bench.
  ASSIGN_OR_RETURN(LaneRails lanes, make_lane_rails(options.agent));
  set_listen_addresses(lanes, options.lane_listen, control.local_address());
  qualify::BenchServer server(
      {.rails = lanes.rails,
       .control = control,
       .describe_link =
           [&](const Rail& rail) { return describe_link(rail, control.peer_address()); },
       .software = kVersion});
  on_running(&server);
  const Status served = server.run();
  on_running(nullptr);
  return served;
}

// What the peer has said is read, and it closes the connection: otherwise our words could be lost
// with a reset.
void turn_away(ControlConnection& control) {
  const Deadline deadline = deadline_in(kRefusalMax);
  (void)control.receive(deadline);
  (void)control.send(encode(Refuse{"another bench is running there"}), deadline);
  while (control.receive(deadline)) {
  }
}

// Two at once would measure each other.
class OneBench {
 public:
  OneBench(const BenchServeOptions& options, BenchMetrics& metrics, std::function<void()> on_end)
      : options_(options), metrics_(metrics), on_end_(std::move(on_end)) {}
  // Waits for the one that runs.
  ~OneBench() = default;

  void take(std::unique_ptr<ControlConnection> control) {
    if (busy_.exchange(true)) {
      metrics_.bench_turned_away();
      turn_away(*control);
      return;
    }
    say(fmt::format("{} measures", control->peer_address()));
    thread_ = std::jthread([this, connection = std::move(control)] {
      metrics_.bench_began();
      const Status served = serve_one(
          *connection, options_, [this](qualify::BenchServer* server) { set_running(server); });
      say(served ? fmt::format("{} is done", connection->peer_address())
                 : fmt::format("{}: {}", connection->peer_address(), to_string(served.error())));
      metrics_.bench_ended(served);
      last_ = served;
      busy_.store(false);
      on_end_();
    });
  }

  void stop() {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    if (running_ != nullptr) running_->stop();
  }

  // Of the last one, when it has ended.
  Status wait() {
    if (thread_.joinable()) thread_.join();
    return last_;
  }

 private:
  void set_running(qualify::BenchServer* server) {
    std::lock_guard lock(mutex_);
    running_ = server;
    if (running_ != nullptr && stopped_) running_->stop();
  }

  const BenchServeOptions& options_;
  BenchMetrics& metrics_;
  const std::function<void()> on_end_;
  std::atomic<bool> busy_{false};
  std::mutex mutex_;
  qualify::BenchServer* running_ = nullptr;
  bool stopped_ = false;
  Status last_ = {};
  std::jthread thread_;
};

}  // namespace

Status serve_benches(const BenchServeOptions& options, InterruptWatcher& interrupts,
                     BenchMetrics& metrics) {
  ASSIGN_OR_RETURN(const ControlSecurity security, choose_security(options.agent, options.listen));
  if (!options.lane_listen.empty()) RETURN_IF_ERROR(parse_host_port(options.lane_listen));
  // What this host lacks is said now.
  ASSIGN_OR_RETURN(const LaneRails lanes, make_lane_rails(options.agent));
  if (!lanes.note.empty()) say(fmt::format("only TCP can be measured: {}", lanes.note));
  ASSIGN_OR_RETURN(const std::unique_ptr<ControlListener> listener,
                   listen_for_peers(options.listen, security));
  OneBench bench(options, metrics, [&] {
    if (options.once) listener->shut_down();
  });
  interrupts.set_action([&] {
    listener->shut_down();
    bench.stop();
  });
  say(fmt::format("waits for `godwit bench` on {}, control connection: {}", listener->address(),
                  describe_security(options.agent, security)));
  Status ended;
  while (true) {
    Result<std::unique_ptr<ControlConnection>> control = listener->accept(Deadline::max());
    if (!control) {
      if (control.error().code != Errc::kCancelled) ended = tl::unexpected<Error>(control.error());
      break;
    }
    bench.take(std::move(*control));
  }
  const Status last = bench.wait();
  interrupts.set_action({});
  if (!ended) return ended;
  return options.once ? last : Status{};
}

}  // namespace godwit::cli
