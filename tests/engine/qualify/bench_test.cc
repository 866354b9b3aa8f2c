// SPDX-License-Identifier: Apache-2.0
//
// A bench of both ends in one process, over the loopback transport: that its numbers add up, and
// what becomes of it when the other end says or does something else.
#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "engine/qualify/bench_run.h"
#include "engine/qualify/bench_server.h"
#include "engine/qualify/bench_session.h"
#include "transports/loopback/loopback_control_channel.h"
#include "transports/loopback/loopback_transport.h"

namespace godwit::qualify {
namespace {

constexpr char kSession[] = "0123456789abcdef";

class Bench : public testing::Test {
 protected:
  Bench() : control_(make_loopback_control_pair()) {
    rails_there_[0].listen = "there:0";
    server_ = std::make_unique<BenchServer>(BenchServer::Parts{.rails = rails_there_,
                                                               .control = *control_.second,
                                                               .software = "there",
                                                               .admission = admission_});
    session_ = std::make_unique<BenchSession>(BenchSession::Parts{.rails = rails_here_,
                                                                  .control = *control_.first,
                                                                  .topology = topology_,
                                                                  .software = "here",
                                                                  .session = kSession});
  }

  void serve() {
    server_thread_ = std::jthread([this] { served_ = server_->run(); });
  }
  // What a process does that has ended.
  Status end() {
    session_.reset();
    control_.first->shut_down();
    server_thread_.join();
    return served_;
  }

  const numa::Topology topology_;
  LoopbackNetwork network_;
  LoopbackTransport here_{network_};
  LoopbackTransport there_{network_};
  std::vector<Rail> rails_here_ = {{.name = "wire", .transport = &here_}};
  std::vector<Rail> rails_there_ = {{.name = "wire", .transport = &there_}};
  LoopbackControlPair control_;
  BenchAdmission admission_;
  std::unique_ptr<BenchServer> server_;
  std::unique_ptr<BenchSession> session_;
  Status served_;
  std::jthread server_thread_;
};

const BenchOptions kSmall = {.sizes_bytes = {4096, 1 << 20},
                             .lanes = {1, 2},
                             .memory_bytes = 8 * kMiB,
                             .time = milliseconds(600)};
const BenchSession::Memory kMemory = {
    .size_bytes = 8 * kMiB, .nodes = {kAnyNode}, .peer_nodes = {kAnyNode}};

TEST_F(Bench, MeasuresEveryCellOfThePlan) {
  serve();
  ASSERT_TRUE(session_->open(kMemory));
  size_t steps = 0;
  const auto count = [&](const BenchRun::Step& step) {
    EXPECT_EQ(step.done, steps++);
    EXPECT_LT(step.done, step.total);
  };
  BenchRun run({.session = *session_, .paths = {0}, .on_step = count}, kSmall);

  const Result<BenchReport> report = run.run();

  ASSERT_TRUE(report) << to_string(report.error());
  ASSERT_TRUE(session_->close());
  EXPECT_TRUE(end());
  EXPECT_EQ(report->bandwidth.size(), 2U + 4U);
  EXPECT_EQ(report->latency.size(), 4U + 1U);
  for (const BandwidthResult& result : report->bandwidth) {
    const Bandwidth& found = result.bandwidth;
    EXPECT_GT(found.bytes_per_s, 0);
    EXPECT_EQ(found.moved_bytes % result.cell.size_bytes, 0U);
    EXPECT_GE(found.moved_bytes, result.cell.size_bytes);
  }
  for (const LatencyResult& result : report->latency) {
    EXPECT_GT(result.latency.count, 0U);
    EXPECT_LE(result.latency.p50_us, result.latency.p99_us);
    EXPECT_LE(result.latency.p99_us, result.latency.max_us);
  }
}

TEST_F(Bench, WritesArriveWhereTheyBelong) {
  serve();
  ASSERT_TRUE(session_->open(kMemory));
  Result<std::vector<BenchLane>> lanes = session_->connect({.paths = {0}, .lanes = 3});
  ASSERT_TRUE(lanes);

  ASSERT_EQ(lanes->size(), 3U);
  for (size_t i = 1; i < lanes->size(); ++i)
    EXPECT_GE((*lanes)[i].offset_bytes, (*lanes)[i - 1].offset_bytes + (*lanes)[i - 1].size_bytes);
  EXPECT_LE(lanes->back().offset_bytes + lanes->back().size_bytes, kMemory.size_bytes);
  lanes->clear();
  EXPECT_TRUE(session_->close());
  EXPECT_TRUE(end());
}

TEST_F(Bench, NodeThatIsNotThereIsRefusedByTheOtherEnd) {
  serve();
  BenchSession::Memory memory = kMemory;
  memory.peer_nodes = {999};

  const Status opened = session_->open(memory);

  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::kRefused);
  EXPECT_NE(to_string(opened.error()).find("999"), std::string::npos);
  EXPECT_FALSE(end());
}

TEST_F(Bench, EndThatIsStoppedEndsTheOther) {
  serve();
  ASSERT_TRUE(session_->open(kMemory));

  server_->stop();

  EXPECT_FALSE(BenchRun({.session = *session_, .paths = {0}}, kSmall).run());
  EXPECT_FALSE(end());
}

TEST_F(Bench, GuestsAreNotTaken) {
  serve();
  ASSERT_TRUE(control_.first->send(encode(Hello{.session = kSession}), deadline_in(seconds(1))));

  const auto answer = control_.first->receive(deadline_in(seconds(5)));

  ASSERT_TRUE(answer);
  const Result<ControlMessage> message = decode(*answer);
  ASSERT_TRUE(message);
  EXPECT_TRUE(std::holds_alternative<Refuse>(*message)) << name_of(*message);
  EXPECT_FALSE(end());
}

}  // namespace
}  // namespace godwit::qualify
