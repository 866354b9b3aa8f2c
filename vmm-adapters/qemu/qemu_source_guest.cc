// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/qemu_source_guest.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <optional>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/units.h"
#include "vmm-adapters/linux/foreign_userfaultfd.h"
#include "vmm-adapters/linux/pagemap_tracker.h"
#include "vmm-adapters/qemu/guest_ram.h"
#include "vmm-adapters/qemu/identity.h"
#include "vmm-adapters/qemu/migration_settings.h"
#include "vmm-adapters/qemu/refusals.h"
#include "vmm-adapters/qemu/stream_guard.h"

namespace godwit {
namespace {

using qemu::QmpClient;

constexpr size_t kPumpBytes = 64 * kKiB;
constexpr auto kAttachTimeout = seconds(5);

// What the guest is doing as far as our own calls go.
enum class SourcePhase : uint8_t {
  kRunning = 1,
  kPaused = 2,    // stopped by us
  kSaved = 3,     // its device state was asked for: QEMU's migration must be over before it can run
  kReleased = 4,  // it lives elsewhere
};

class DirectSourceGuest final : public QemuSourceGuest {
 public:
  explicit DirectSourceGuest(const QemuOptions& options) : options_(options) {}
  ~DirectSourceGuest() override;

  Status set_up();

  const GuestMemory& memory() const override { return ram_->memory(); }
  const GuestIdentity& identity() const override { return identity_; }
  DirtyTracker& dirty_tracker() override { return *tracker_; }
  Discards discards() const override { return discards_; }
  Status pause() override;
  Status resume() override;
  Status save_state(const DeviceStateSink& sink) override;
  Status release() override;
  std::string recovery_record() const override {
    return ram_->recovery_record(vmm_, options_.qmp_path);
  }

 private:
  Deadline command_deadline() const { return deadline_in(options_.command_timeout); }
  Status check_refusals();
  Status set_up_tracker();
  Status pump_state(const DeviceStateSink& sink);
  Status finish_saving();
  Status settle_migration();
  Status reconnect_if_broken();
  Result<std::string> run_state();

  QemuOptions options_;
  pid_t pid_ = -1;
  ProcessIdentity vmm_;  // the same
  std::unique_ptr<QmpClient> client_;
  std::optional<qemu::GuestRam> ram_;
  GuestIdentity identity_;
  Discards discards_ = Discards::kPossible;
  UniqueFd userfaultfd_;  // taken at open, for the first start() of the tracker
  std::unique_ptr<PagemapTracker> tracker_;
  std::optional<qemu::MigrationSettings> settings_;
  UniqueFd channel_;  // our end of the channel that QEMU will write its state into
  SourcePhase phase_ = SourcePhase::kRunning;
};

Status DirectSourceGuest::set_up() {
  ASSIGN_OR_RETURN(client_, QmpClient::connect(options_.qmp_path, command_deadline()));
  if (options_.pid) {
    pid_ = *options_.pid;
  } else {
    ASSIGN_OR_RETURN(pid_, client_->peer_pid());
  }
  ASSIGN_OR_RETURN(vmm_, identify_process(pid_));
  RETURN_IF_ERROR(check_refusals());
  ASSIGN_OR_RETURN(identity_, qemu::query_identity(*client_, command_deadline()));
  ASSIGN_OR_RETURN(discards_, qemu::query_discards(*client_, command_deadline()));
  RETURN_IF_ERROR(set_up_tracker());
  ASSIGN_OR_RETURN(
      settings_, qemu::MigrationSettings::apply(*client_, qemu::Side::kSource, command_deadline()));
  ASSIGN_OR_RETURN(channel_, qemu::give_channel(*client_, command_deadline()));
  return {};
}

Status DirectSourceGuest::check_refusals() {
  RETURN_IF_ERROR(qemu::check_run_state(*client_, "running", command_deadline()));
  RETURN_IF_ERROR(qemu::check_migratable(*client_, command_deadline()));
  RETURN_IF_ERROR(qemu::check_devices(*client_, command_deadline()));
  RETURN_IF_ERROR(probe_pagemap_scan());
  RETURN_IF_ERROR(probe_process_access(pid_));
  ASSIGN_OR_RETURN(
      ram_, qemu::GuestRam::open(*client_, pid_, qemu::RamChoice::kMoved, command_deadline()));
  return qemu::check_foreign_writers(pid_, ram_->files());
}

Status DirectSourceGuest::set_up_tracker() {
  ASSIGN_OR_RETURN(ForeignUserfaultfd foreign,
                   open_userfaultfd_of(pid_, deadline_in(kAttachTimeout)));
  userfaultfd_ = std::move(foreign.fd);
  PagemapTracker::Options options;
  options.open_userfaultfd = [this]() -> Result<UniqueFd> {
    if (userfaultfd_.valid()) return std::move(userfaultfd_);
    ASSIGN_OR_RETURN(ForeignUserfaultfd another,
                     open_userfaultfd_of(pid_, deadline_in(kAttachTimeout)));
    return std::move(another.fd);
  };
  ASSIGN_OR_RETURN(options.pagemap, open_pagemap(pid_));
  options.addresses = ram_->addresses();
  tracker_ = std::make_unique<PagemapTracker>(ram_->memory(), std::move(options));
  return {};
}

DirectSourceGuest::~DirectSourceGuest() {
  if (tracker_ != nullptr) static_cast<void>(tracker_->stop());
  if (settings_ && phase_ != SourcePhase::kReleased && reconnect_if_broken()) {
    if (phase_ == SourcePhase::kSaved) static_cast<void>(settle_migration());
    static_cast<void>(settings_->restore(*client_, command_deadline()));
  }
}

Result<std::string> DirectSourceGuest::run_state() {
  ASSIGN_OR_RETURN(qemu::Json status, client_->execute("query-status", {}, command_deadline()));
  return qemu::string_or(status, "status", "unknown");
}

Status DirectSourceGuest::pause() {
  CHECK(phase_ == SourcePhase::kRunning);
  phase_ = SourcePhase::kPaused;  // from here on: also when the answer does not come, it may have
                                  // stopped
  // QEMU answers when the vCPUs stand and all block I/O has been drained and flushed.
  RETURN_IF_ERROR(client_->execute("stop", {}, command_deadline()));
  ASSIGN_OR_RETURN(std::string state, run_state());
  if (state != "paused") {
    return fail(Errc::kGuest, "the guest is in state '{}' after it was told to stop", state);
  }
  return {};
}

Status DirectSourceGuest::resume() {
  CHECK(phase_ != SourcePhase::kReleased);
  if (phase_ == SourcePhase::kRunning) return {};
  RETURN_IF_ERROR(reconnect_if_broken());
  if (phase_ == SourcePhase::kSaved) {
    RETURN_IF_ERROR(settle_migration());
    ASSIGN_OR_RETURN(channel_, qemu::give_channel(*client_, command_deadline()));
    phase_ = SourcePhase::kPaused;
  }
  // More than once: a stop that was not answered in time may take effect after the first cont.
  const Deadline deadline = command_deadline();
  std::string state;
  do {
    RETURN_IF_ERROR(client_->execute("cont", {}, deadline));
    ASSIGN_OR_RETURN(state, run_state());
  } while (state == "paused" && Clock::now() < deadline);
  if (state != "running") {
    return fail(Errc::kGuest, "the guest is in state '{}' after it was told to go on", state);
  }
  phase_ = SourcePhase::kRunning;
  return {};
}

// A command that was not answered in time leaves the connection useless, but not QEMU.
Status DirectSourceGuest::reconnect_if_broken() {
  if (client_->usable()) return {};
  client_->disconnect();  // QEMU serves one connection at a time
  channel_.reset();       // and may be waiting for us to read
  ASSIGN_OR_RETURN(client_, QmpClient::connect(options_.qmp_path, command_deadline()));
  // What was handed over on the old connection went with it.
  ASSIGN_OR_RETURN(channel_, qemu::give_channel(*client_, command_deadline()));
  return {};
}

// Makes QEMU's migration be over, one way or the other.
Status DirectSourceGuest::settle_migration() {
  channel_.reset();
  return qemu::settle_migration(*client_, deadline_in(options_.state_timeout));
}

Status DirectSourceGuest::save_state(const DeviceStateSink& sink) {
  CHECK(phase_ == SourcePhase::kPaused);
  client_->forget_events();
  phase_ = SourcePhase::kSaved;
  RETURN_IF_ERROR(
      client_->begin("migrate", {{"uri", qemu::kChannelUri}}, channel_.get(), command_deadline()));
  RETURN_IF_ERROR(pump_state(sink));
  RETURN_IF_ERROR(finish_saving());
  return settings_->description_left_out() ? sink(qemu::kEmptyDescription) : Status{};
}

Status DirectSourceGuest::pump_state(const DeviceStateSink& sink) {
  std::vector<qemu::StreamGuard::MovedBlock> moved;
  for (const GuestBlock& block : memory()) moved.push_back({block.name, block.size_bytes()});
  qemu::StreamGuard guard(std::move(moved));
  std::vector<std::byte> buffer(kPumpBytes);
  const Deadline deadline = deadline_in(options_.state_timeout);
  while (true) {
    pollfd poll_fd{channel_.get(), POLLIN, 0};
    if (poll(&poll_fd, 1, milliseconds_until(deadline)) == 0) {
      return fail(Errc::kTimeout, "QEMU did not finish saving its devices");
    }
    ssize_t count = recv(channel_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) return fail_errno(errno, "read QEMU's device state");
    if (count == 0) break;
    std::span<const std::byte> piece(buffer.data(), static_cast<size_t>(count));
    RETURN_IF_ERROR(guard.feed(piece));
    RETURN_IF_ERROR(sink(piece));
  }
  if (!guard.ram_passed()) {
    ASSIGN_OR_RETURN(qemu::MigrationStatus migration,
                     qemu::query_migration(*client_, command_deadline()));
    return fail(Errc::kGuest, "QEMU's stream of device state ended too early (status {}) {}",
                migration.status, migration.error);
  }
  return {};
}

Status DirectSourceGuest::finish_saving() {
  ASSIGN_OR_RETURN(std::string status,
                   qemu::wait_settled(*client_, deadline_in(options_.state_timeout)));
  if (status != "completed") {
    ASSIGN_OR_RETURN(qemu::MigrationStatus migration,
                     qemu::query_migration(*client_, command_deadline()));
    return fail(Errc::kGuest, "QEMU could not save its devices: {} {}", status, migration.error);
  }
  ASSIGN_OR_RETURN(std::string state,
                   qemu::wait_run_state_after_migration(*client_, command_deadline()));
  if (state != "postmigrate") {
    return fail(Errc::kGuest, "QEMU is in state '{}' after saving its devices", state);
  }
  return {};
}

Status DirectSourceGuest::release() {
  phase_ = SourcePhase::kReleased;
  settings_->forget();
  if (options_.after_release == AfterRelease::kLeavePaused) return {};
  Result<qemu::Json> quit = client_->execute("quit", {}, command_deadline());
  if (!quit && quit.error().code != Errc::kPeerLost) return tl::unexpected<Error>(quit.error());
  return {};
}

}  // namespace

Result<std::unique_ptr<QemuSourceGuest>> QemuSourceGuest::open(const QemuOptions& options) {
  auto guest = std::make_unique<DirectSourceGuest>(options);
  RETURN_IF_ERROR(guest->set_up());
  return guest;
}

}  // namespace godwit
