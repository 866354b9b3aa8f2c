// SPDX-License-Identifier: Apache-2.0
//
// A matrix of hosts in one process, over the loopback transport: that every pair is measured, and
// what becomes of it when a host is missing, dies, or cannot be reached by another.
#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "engine/base/units.h"
#include "engine/qualify/bench_server.h"
#include "engine/qualify/matrix_member.h"
#include "engine/qualify/matrix_run.h"
#include "transports/loopback/loopback_control_channel.h"
#include "transports/loopback/loopback_transport.h"

namespace godwit::qualify {
namespace {

constexpr char kSession[] = "0123456789abcdef";
const MatrixOptions kShort = {.memory_bytes = 8 * kMiB, .lanes = 2, .write_ms = 100, .read_ms = 50};

class Cluster;

// Serves whoever connects, until it is stopped.
class Host {
 public:
  Host(Cluster& cluster, LoopbackNetwork& network, std::string name)
      : cluster_(cluster), transport_(network) {
    rails_ = {{.name = "wire", .transport = &transport_, .listen = std::move(name) + ":0"}};
  }

  Result<std::unique_ptr<ControlChannel>> connect();
  void stop() {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    for (Visit& visit : visits_) visit.server->stop();
  }
  // Requires: it was stopped.
  void wait() {
    for (Visit& visit : visits_) visit.thread.join();
  }

 private:
  struct Visit {
    std::unique_ptr<ControlChannel> control;
    std::unique_ptr<BenchServer> server;
    std::jthread thread;
  };

  Cluster& cluster_;
  LoopbackTransport transport_;
  std::vector<Rail> rails_;
  const numa::Topology topology_;
  BenchAdmission admission_;
  std::mutex mutex_;
  bool stopped_ = false;
  std::list<Visit> visits_;
};

class Cluster {
 public:
  explicit Cluster(size_t hosts) {
    for (size_t host = 0; host < hosts; ++host) {
      const std::string name = fmt::format("host-{}", host);
      hosts_.emplace(name, std::make_unique<Host>(*this, network_, name));
    }
  }

  // Nobody goes while another may still want to connect to it.
  ~Cluster() {
    for (const auto& [name, host] : hosts_) host->stop();
    for (const auto& [name, host] : hosts_) host->wait();
  }
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  Host& host(size_t number) { return *hosts_.at(fmt::format("host-{}", number)); }

  Result<std::unique_ptr<ControlChannel>> connect(const std::string& name) {
    const auto found = hosts_.find(name);
    if (found == hosts_.end()) return fail(Errc::kPeerLost, "nobody listens at {}", name);
    return found->second->connect();
  }

  std::vector<MatrixCandidate> candidates() {
    std::vector<MatrixCandidate> candidates;
    for (const auto& [name, host] : hosts_) {
      candidates.push_back({.name = name, .addresses = {name}, .channel = nullptr, .lost = {}});
      candidates.back().channel = std::move(*connect(name));
    }
    return candidates;
  }

 private:
  LoopbackNetwork network_;
  std::map<std::string, std::unique_ptr<Host>> hosts_;
};

Result<std::unique_ptr<ControlChannel>> Host::connect() {
  LoopbackControlPair pair = make_loopback_control_pair();
  std::lock_guard lock(mutex_);
  if (stopped_) return fail(Errc::kPeerLost, "nobody listens there");
  Visit& visit = visits_.emplace_back();
  visit.control = std::move(pair.second);
  const auto take_part = [this](ControlLink& link, Interruption& interruption, const Hello& hello) {
    return MatrixMember({.link = link,
                         .interruption = interruption,
                         .rails = rails_,
                         .topology = topology_,
                         .connect =
                             [this](const std::vector<std::string>& addresses) {
                               return cluster_.connect(addresses.front());
                             },
                         .describe_link =
                             [](const Rail&, const std::string&) {
                               return LinkDescription{.line_rate_bits_per_s = 8'000'000};
                             },
                         .software = "member",
                         .session = hello.session})
        .run();
  };
  visit.server = std::make_unique<BenchServer>(BenchServer::Parts{
      .rails = rails_,
      .control = *visit.control,
      .describe_link =
          [](const Rail&) { return LinkDescription{.line_rate_bits_per_s = 16'000'000}; },
      .software = "member",
      .admission = admission_,
      .take_part = take_part});
  visit.thread = std::jthread([server = visit.server.get()] { (void)server->run(); });
  return std::unique_ptr<ControlChannel>(std::move(pair.first));
}

// For people, when a test fails.
std::string failures(const MatrixReport& report) {
  std::string text;
  for (const MatrixHost& host : report.hosts) {
    if (!host.lost.empty()) text += host.name + " is lost: " + host.lost + "\n";
  }
  for (const Direction& direction : report.pairs) {
    if (!direction.measured())
      text += fmt::format("{} -> {}: {}\n", direction.from, direction.to, direction.failure);
  }
  return text;
}

MatrixRun::Parts parts_for(std::vector<MatrixCandidate> candidates,
                           std::function<void(const std::string&)> on_step = nullptr) {
  return {.hosts = std::move(candidates),
          .software = "coordinator",
          .session = kSession,
          .on_step = std::move(on_step)};
}

TEST(Matrix, EveryPairIsMeasuredBothWays) {
  Cluster cluster(4);
  MatrixRun run(parts_for(cluster.candidates()), kShort);

  const Result<MatrixReport> report = run.run();

  ASSERT_TRUE(report) << to_string(report.error());
  ASSERT_TRUE(report->complete()) << failures(*report);
  EXPECT_EQ(report->rounds, 3U);
  EXPECT_EQ(report->pairs.size(), 12U);
  EXPECT_EQ(report->at_once.size(), 4U);
  for (const Direction& direction : report->pairs) {
    EXPECT_GT(direction.bytes_per_s, 0);
    EXPECT_GT(direction.moved_bytes, 0U);
    EXPECT_GT(direction.reads, 0U);
    EXPECT_LE(direction.read_p50_us, direction.read_p99_us);
    EXPECT_EQ(direction.line_rate_bytes_per_s, 1e6) << "of the slower end";
  }
  for (const Direction& direction : report->at_once) EXPECT_EQ(direction.reads, 0U);
}

TEST(Matrix, HostThatIsMissingIsNamedAndTheOthersAreMeasured) {
  Cluster cluster(3);
  std::vector<MatrixCandidate> candidates = cluster.candidates();
  candidates.insert(
      candidates.begin() + 1,
      {.name = "host-x", .addresses = {"host-x"}, .channel = nullptr, .lost = "nobody listens"});
  MatrixRun run(parts_for(std::move(candidates)), kShort);

  const Result<MatrixReport> report = run.run();

  ASSERT_TRUE(report) << to_string(report.error());
  EXPECT_FALSE(report->complete());
  EXPECT_EQ(report->hosts[1].lost, "nobody listens");
  EXPECT_EQ(report->pairs.size(), 6U);
  EXPECT_TRUE(std::ranges::all_of(report->pairs, &Direction::measured));
}

TEST(Matrix, HostThatDiesOnTheWayIsNamedAndTheOthersAreMeasured) {
  Cluster cluster(4);
  const auto kill = [&](const std::string& step) {
    if (step == "round 2 of 3") cluster.host(1).stop();
  };
  MatrixRun run(parts_for(cluster.candidates(), kill), kShort);

  const Result<MatrixReport> report = run.run();

  ASSERT_TRUE(report) << to_string(report.error());
  EXPECT_FALSE(report->complete());
  EXPECT_FALSE(report->hosts[1].lost.empty());
  EXPECT_EQ(report->pairs.size(), 12U);
  for (const Direction& direction : report->pairs) {
    const bool with_the_dead = direction.from == 1 || direction.to == 1;
    EXPECT_EQ(direction.measured(), !with_the_dead || direction.round == 1) << direction.failure;
  }
  EXPECT_EQ(report->at_once.size(), 3U);
  EXPECT_TRUE(std::ranges::all_of(report->at_once, &Direction::measured));
}

TEST(Matrix, HostThatOthersCannotReachIsNotLost) {
  Cluster cluster(3);
  std::vector<MatrixCandidate> candidates = cluster.candidates();
  candidates[2].addresses = {"nowhere"};
  MatrixRun run(parts_for(std::move(candidates)), kShort);

  const Result<MatrixReport> report = run.run();

  ASSERT_TRUE(report) << to_string(report.error());
  EXPECT_FALSE(report->complete());
  EXPECT_TRUE(report->hosts[2].lost.empty());
  for (const Direction& direction : report->pairs) {
    EXPECT_EQ(direction.measured(), direction.to != 2);
    EXPECT_EQ(direction.failure.find("nobody listens") != std::string::npos, direction.to == 2);
  }
}

TEST(Matrix, OneHostIsNone) {
  Cluster cluster(1);
  MatrixRun run(parts_for(cluster.candidates()), kShort);

  const Result<MatrixReport> report = run.run();

  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Errc::kRefused);
}

TEST(Matrix, StopsWhenItIsToldTo) {
  Cluster cluster(4);
  MatrixRun* running = nullptr;
  MatrixRun run(parts_for(cluster.candidates(), [&](const std::string&) { running->stop(); }),
                kShort);
  running = &run;

  const Result<MatrixReport> report = run.run();

  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Errc::kCancelled);
}

TEST(Matrix, HostIsNotAskedTwiceAtATime) {
  Cluster cluster(2);
  MatrixRun first(parts_for(cluster.candidates()), kShort);
  Result<MatrixReport> second = fail(Errc::kTimeout, "not begun");
  bool begun = false;
  MatrixRun outer(parts_for(cluster.candidates(),
                            [&](const std::string&) {
                              if (!std::exchange(begun, true)) second = first.run();
                            }),
                  kShort);

  EXPECT_TRUE(outer.run());

  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kRefused);
}

}  // namespace
}  // namespace godwit::qualify
