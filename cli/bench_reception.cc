// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_reception.h"

#include <iterator>
#include <utility>

#include "cli/bench_links.h"
#include "cli/bench_peer.h"
#include "cli/lane_rails.h"
#include "cli/version.h"
#include "engine/qualify/matrix_member.h"

namespace godwit::cli {
namespace {

// A matrix has three connections to a host at a time, and some that are ending.
constexpr size_t kVisitorsMax = 16;

Status take_part_in_matrix(ControlLink& link, Interruption& interruption, const Hello& hello,
                           const BenchReception::Options& options) {
  ASSIGN_OR_RETURN(const LaneRails lanes, make_lane_rails(options.agent));
  qualify::MatrixMember member({.link = link,
                                .interruption = interruption,
                                .rails = lanes.rails,
                                .topology = lanes.topology,
                                .connect =
                                    [&](const std::vector<std::string>& addresses) {
                                      return connect_to_bench_host(addresses, options.agent,
                                                                   options.interrupts);
                                    },
                                .describe_link = describe_link,
                                .software = kVersion,
                                .session = hello.session});
  return member.run();
}

}  // namespace

BenchReception::BenchReception(Options options) : options_(std::move(options)) {}

void BenchReception::take(std::unique_ptr<ControlConnection> control) {
  reap();
  std::lock_guard lock(mutex_);
  if (stopped_) return;
  if (visitors_.size() >= kVisitorsMax) {
    options_.tell(fmt::format("{}: turned away, {} others are here", control->peer_address(),
                              visitors_.size()));
    return;
  }
  Visitor& visitor = visitors_.emplace_back();
  visitor.control = std::move(control);
  visitor.thread = std::jthread([this, &visitor] { serve(visitor); });
}

void BenchReception::serve(Visitor& visitor) {
  const Status served = serve_with_rails(visitor);
  const std::string peer = visitor.control->peer_address();
  if (!served) options_.tell(fmt::format("{}: {}", peer, to_string(served.error())));
  std::lock_guard lock(mutex_);
  visitor.ended = true;
}

Status BenchReception::serve_with_rails(Visitor& visitor) {
  // Anew for each: the keys of regions are good for one bench.
  ASSIGN_OR_RETURN(LaneRails lanes, make_lane_rails(options_.agent));
  ControlConnection& control = *visitor.control;
  set_listen_addresses(lanes, options_.lane_listen, control.local_address());
  qualify::BenchServer server(
      {.rails = lanes.rails,
       .control = control,
       .describe_link =
           [&](const Rail& rail) { return describe_link(rail, control.peer_address()); },
       .software = kVersion,
       .admission = admission_,
       .on_begin =
           [&](const Hello& hello, const qualify::BenchAdmission::Place& place) {
             if (!place.is_part()) begin(visitor, hello);
           },
       .take_part =
           [&](ControlLink& link, Interruption& interruption, const Hello& hello) {
             return take_part_in_matrix(link, interruption, hello, options_);
           }});
  set_running(visitor, &server);
  const Status served = server.run();
  set_running(visitor, nullptr);
  if (!server.held_the_host()) {
    if (!served && served.error().code == Errc::kRefused) options_.on_refused();
    return served;
  }
  if (served) options_.tell(fmt::format("{} is done", control.peer_address()));
  {
    std::lock_guard lock(mutex_);
    last_ = served;
  }
  options_.on_end(served);
  return served;
}

void BenchReception::begin(const Visitor& visitor, const Hello& hello) const {
  options_.tell(fmt::format("{} {}", visitor.control->peer_address(),
                            hello.purpose == Purpose::kMatrix ? "measures a matrix" : "measures"));
  options_.on_begin();
}

void BenchReception::set_running(Visitor& visitor, qualify::BenchServer* server) {
  std::lock_guard lock(mutex_);
  visitor.server = server;
  if (server != nullptr && stopped_) server->stop();
}

Status BenchReception::take_all(ControlListener& listener) {
  while (true) {
    Result<std::unique_ptr<ControlConnection>> control = listener.accept(Deadline::max());
    if (control) {
      take(std::move(*control));
      continue;
    }
    if (control.error().code == Errc::kCancelled) return {};
    return tl::unexpected<Error>(control.error());
  }
}

void BenchReception::stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  for (Visitor& visitor : visitors_) {
    if (visitor.server != nullptr) visitor.server->stop();
  }
}

Status BenchReception::wait() {
  for (Visitor& visitor : visitors_) {
    if (visitor.thread.joinable()) visitor.thread.join();
  }
  std::lock_guard lock(mutex_);
  return last_;
}

// Without the lock: a thread that has said that it ended may still want it.
void BenchReception::reap() {
  std::list<Visitor> ended;
  std::lock_guard lock(mutex_);
  for (auto visitor = visitors_.begin(); visitor != visitors_.end();) {
    const auto next = std::next(visitor);
    if (visitor->ended) ended.splice(ended.end(), visitors_, visitor);
    visitor = next;
  }
}

}  // namespace godwit::cli
