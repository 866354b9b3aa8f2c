// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/simulated_migration.h"

#include <fmt/core.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

#include "engine/base/check.h"
#include "engine/migration/destination_migration.h"
#include "engine/migration/source_migration.h"
#include "tests/simulation/watchdog.h"
#include "transports/loopback/loopback_control_channel.h"
#include "transports/loopback/loopback_reconnector.h"
#include "transports/loopback/loopback_transport.h"
#include "vmm-adapters/linux/pagemap_scan.h"
#include "vmm-adapters/synthetic/expected_image.h"
#include "vmm-adapters/synthetic/synthetic_destination_guest.h"
#include "vmm-adapters/synthetic/synthetic_source_guest.h"

namespace godwit {
namespace {

// Calls an action when a state is entered, from the thread that runs the migration.
class StateWatcher final : public MigrationObserver {
 public:
  StateWatcher(std::string state, std::function<void()> action)
      : state_(std::move(state)), action_(std::move(action)) {}

  void on_state(std::string_view state) override {
    if (state == state_) action_();
  }
  void on_progress(const Progress&) override {}

 private:
  std::string state_;
  std::function<void()> action_;
};

enum class LogHealth : uint8_t { kWorks = 1, kFails = 2 };

class SimulatedCommitLog final : public CommitLog {
 public:
  explicit SimulatedCommitLog(LogHealth health) : health_(health) {}

  Status record_commit() override {
    if (health_ == LogHealth::kFails) return fail(Errc::kSystem, "the simulated disk is full");
    recorded_ = true;
    return {};
  }
  Status record_return() override {
    recorded_ = false;
    return {};
  }
  Status record_started() override { return {}; }
  Status record_recovery(const std::string&) override { return {}; }
  Result<std::vector<postcopy::ReceivedWords>> received_pages(const GuestMemory& memory) override {
    if (words_.empty()) {
      for (const GuestBlock& block : memory)
        words_.emplace_back(postcopy::received_words(block.page_count()));
    }
    std::vector<postcopy::ReceivedWords> result;
    for (auto& words : words_) result.emplace_back(words);
    return result;
  }
  bool recorded() const { return recorded_; }

 private:
  std::vector<std::vector<std::atomic<uint64_t>>> words_;
  const LogHealth health_;
  std::atomic<bool> recorded_ = false;
};

// Takes what the threads of a simulation find broken.
class Verdict {
 public:
  template <typename... Args>
  void expect(bool holds, fmt::format_string<Args...> promise, Args&&... args) {
    if (holds) return;
    std::lock_guard lock(mutex_);
    broken_.push_back(fmt::format(promise, std::forward<Args>(args)...));
  }
  std::vector<std::string> broken() const { return broken_; }

 private:
  std::mutex mutex_;
  std::vector<std::string> broken_;
};

Rail loopback_rail(Transport& transport) {
  return {.name = "loopback", .transport = &transport, .listen = "destination:0"};
}

class Simulation {
 public:
  explicit Simulation(const SimulationPlan& plan)
      : plan_(plan),
        source_log_(plan.fault == SimulatedFault::kSourceCommitLog ? LogHealth::kFails
                                                                   : LogHealth::kWorks),
        destination_log_(plan.fault == SimulatedFault::kDestinationCommitLog ? LogHealth::kFails
                                                                             : LogHealth::kWorks) {}

  SimulationOutcome run() {
    if (!open_guests()) return outcome();
    migrate();
    judge_agreement();
    judge_source();
    if (destination_->started()) judge_destination();
    return outcome();
  }

 private:
  bool open_guests();
  void migrate();
  void judge_start();
  void judge_agreement();
  void judge_source();
  void judge_destination();
  // Memory must be what the options and the step counts say.
  void judge_memory(SyntheticMachine& machine, const char* side);
  SimulationOutcome outcome();

  const SimulationPlan& plan_;
  Verdict verdict_;
  SimulationOutcome outcome_;
  SimulatedCommitLog source_log_;
  SimulatedCommitLog destination_log_;
  std::unique_ptr<SyntheticSourceGuest> source_;
  std::unique_ptr<SyntheticDestinationGuest> destination_;
};

bool Simulation::open_guests() {
  auto source = SyntheticSourceGuest::open(plan_.source_guest);
  verdict_.expect(source.has_value(), "open the source guest: {}",
                  source ? "" : to_string(source.error()));
  auto destination = SyntheticDestinationGuest::open(plan_.destination_guest);
  verdict_.expect(destination.has_value(), "open the destination guest: {}",
                  destination ? "" : to_string(destination.error()));
  if (!source || !destination) return false;

  source_ = std::move(*source);
  destination_ = std::move(*destination);
  // Set while the source takes steps, but does not change its run state.
  source_->machine().before_run([this] {
    verdict_.expect(!destination_->machine().running(), "the source runs beside the destination");
    verdict_.expect(!destination_->started(), "the source runs after the destination has started");
  });
  destination_->machine().before_run([this] { judge_start(); });
  return true;
}

void Simulation::migrate() {
  const numa::Topology topology;
  LoopbackNetwork network;
  LoopbackTransport source_transport(network, {.faults = plan_.source_link});
  LoopbackTransport destination_transport(network, {.faults = plan_.destination_link});
  LoopbackControlPair control = make_loopback_control_pair(plan_.control);
  LoopbackReconnection reconnection([this](uint64_t connection) {
    return connection <= plan_.reconnections.size() ? plan_.reconnections[connection - 1]
                                                    : ControlFaultPlan();
  });

  SourceMigration* source_migration = nullptr;
  DestinationMigration* destination_migration = nullptr;
  std::atomic<bool> cancel_was_asked = false;
  StateWatcher source_watcher(plan_.cancel_source_in ? to_string(*plan_.cancel_source_in) : "",
                              [&] {
                                cancel_was_asked = true;
                                source_migration->cancel();
                              });
  StateWatcher destination_watcher(
      plan_.cancel_destination_in ? to_string(*plan_.cancel_destination_in) : "", [&] {
        cancel_was_asked = true;
        destination_migration->cancel();
      });

  SourceMigration source({*source_,
                          {loopback_rail(source_transport)},
                          topology,
                          *control.first,
                          source_watcher,
                          source_log_,
                          &reconnection.source()},
                         plan_.source);
  DestinationMigration destination({*destination_,
                                    {loopback_rail(destination_transport)},
                                    *control.second,
                                    destination_watcher,
                                    destination_log_,
                                    &reconnection.destination()},
                                   plan_.destination);
  source_migration = &source;
  destination_migration = &destination;

  std::thread destination_thread([&] {
    outcome_.destination = destination.run();
    // Who is gone for good does not come back.
    reconnection.source().stop();
  });
  outcome_.source = source.run();
  reconnection.destination().stop();
  destination_thread.join();
  outcome_.cancel_was_asked = cancel_was_asked;
}

// Called just before the first step at the destination: now both memories must be equal.
void Simulation::judge_start() {
  outcome_.destination_started = true;
  SyntheticMachine& source = source_->machine();
  SyntheticMachine& destination = destination_->machine();
  if (source.running()) {
    verdict_.expect(false, "the destination starts while the source runs");
    return;
  }
  verdict_.expect(source_log_.recorded(), "the destination starts before the source's decision");
  verdict_.expect(destination_log_.recorded(), "the destination starts before its own log");
  verdict_.expect(source.state() == destination.state(), "the device state is another");
  // In post-copy memory is right when all of it has come: judge_destination().
  if (plan_.source.post_copy != PostCopy::kNever) return;
  const auto difference = first_difference(source.memory().agent(), destination.memory().agent());
  verdict_.expect(difference.has_value(), "compare memory: {}",
                  difference ? "" : to_string(difference.error()));
  if (!difference) return;
  outcome_.memory_equal_at_start = !difference->has_value();
  verdict_.expect(!difference->has_value(), "lost memory: {}",
                  *difference ? to_string(**difference) : "");
}

void Simulation::judge_agreement() {
  const MigrationStatus source = outcome_.source.status;
  const MigrationStatus destination = outcome_.destination.status;
  const bool started = destination_->started();
  verdict_.expect(started == outcome_.destination_started, "started, but never ran");
  verdict_.expect(!(source_->machine().running() && started), "both sides run the guest");
  verdict_.expect((destination == MigrationStatus::kCompleted) == started,
                  "the destination says {}, but started: {}", static_cast<int>(destination),
                  started);
  if (source == MigrationStatus::kCompleted)
    verdict_.expect(started, "the source says completed, but nothing runs at the destination");
  if (started) {
    verdict_.expect(source == MigrationStatus::kCompleted || source == MigrationStatus::kInDoubt,
                    "the guest runs at the destination, but the source says {}",
                    static_cast<int>(source));
  }
  if (source == MigrationStatus::kInDoubt) {
    verdict_.expect(started || destination == MigrationStatus::kInDoubt,
                    "in doubt at the source, but the destination says {}",
                    static_cast<int>(destination));
  }
  const bool survivable =
      plan_.fault == SimulatedFault::kNone || plan_.fault == SimulatedFault::kLaneDisconnect;
  const bool post_copy_alone =
      plan_.fault == SimulatedFault::kNone && plan_.source.post_copy != PostCopy::kNever;
  if (post_copy_alone || (survivable && plan_.source.limits.downtime_s_max >= 1)) {
    verdict_.expect(source == MigrationStatus::kCompleted,
                    "no fatal fault, but the source says: {}",
                    outcome_.source.error ? to_string(*outcome_.source.error) : "no error");
  }
  if (plan_.fault == SimulatedFault::kDestinationGuest ||
      plan_.fault == SimulatedFault::kDestinationCommitLog) {
    verdict_.expect(source != MigrationStatus::kInDoubt,
                    "the destination never started the guest, but the source is in doubt: {}",
                    outcome_.source.error ? to_string(*outcome_.source.error) : "no error");
  }
  if (plan_.fault == SimulatedFault::kOtherMachine || plan_.fault == SimulatedFault::kOtherLayout) {
    verdict_.expect(source == MigrationStatus::kRefused, "not refused: {}",
                    outcome_.source.error ? to_string(*outcome_.source.error) : "no error");
  }
  verdict_.expect((source == MigrationStatus::kCompleted) != outcome_.source.error.has_value(),
                  "the source's report and its error do not agree");
}

// Whether dirty tracking still holds on to the memory: a scan works only where it does.
bool is_tracked(const GuestMemory& memory) {
  Result<UniqueFd> pagemap = open_pagemap(0);
  CHECK(pagemap.has_value());
  PagemapScan scan(pagemap->get());
  // SAFETY: only as numbers for the kernel.
  const auto start = reinterpret_cast<uint64_t>(memory[0].memory.data());
  return scan.find_written({start, start + memory[0].size_bytes()}).has_value();
}

void Simulation::judge_source() {
  SyntheticMachine& machine = source_->machine();
  const bool owns = outcome_.source.status == MigrationStatus::kFailed ||
                    outcome_.source.status == MigrationStatus::kCancelled ||
                    outcome_.source.status == MigrationStatus::kRefused;
  verdict_.expect(machine.running() == owns, "the source says {}, but its guest runs: {}",
                  static_cast<int>(outcome_.source.status), machine.running());
  verdict_.expect(source_->released() == (outcome_.source.status == MigrationStatus::kCompleted),
                  "released: {}", source_->released());
  verdict_.expect(!is_tracked(machine.memory().guest()), "tracking is left on the source");
  if (machine.running()) machine.pause();
  judge_memory(machine, "source");
}

void Simulation::judge_destination() {
  SyntheticMachine& machine = destination_->machine();
  verdict_.expect(machine.running(), "started, but does not run");
  machine.pause();
  judge_memory(machine, "destination");
}

void Simulation::judge_memory(SyntheticMachine& machine, const char* side) {
  const auto image = expected_image(machine.options(), machine.state());
  verdict_.expect(image.has_value(), "{}: impossible state: {}", side,
                  image ? "" : to_string(image.error()));
  if (!image) return;
  const auto difference = first_difference(*image, machine.memory().agent());
  verdict_.expect(difference.has_value() && !difference->has_value(), "{}: wrong memory: {}", side,
                  !difference               ? to_string(difference.error())
                  : difference->has_value() ? to_string(**difference)
                                            : "");
}

SimulationOutcome Simulation::outcome() {
  outcome_.broken_promises = verdict_.broken();
  return outcome_;
}

}  // namespace

SimulationOutcome simulate(const SimulationPlan& plan) {
  const Watchdog watchdog(describe(plan), seconds(60));
  return Simulation(plan).run();
}

}  // namespace godwit
