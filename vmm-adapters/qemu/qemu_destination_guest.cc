// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/qemu_destination_guest.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "engine/base/check.h"
#include "vmm-adapters/linux/foreign_page_faults.h"
#include "vmm-adapters/linux/foreign_userfaultfd.h"
#include "vmm-adapters/linux/shared_mapping.h"
#include "vmm-adapters/qemu/guest_ram.h"
#include "vmm-adapters/qemu/identity.h"
#include "vmm-adapters/qemu/migration_settings.h"
#include "vmm-adapters/qemu/refusals.h"
#include "vmm-adapters/qemu/vcpu_threads.h"

namespace godwit {
namespace {

using qemu::QmpClient;

// Under which QEMU keeps /dev/userfaultfd while it has it.
constexpr const char* kDeviceName = "godwit-userfaultfd";

enum class Phase : uint8_t {
  kWaiting = 1,   // as we found it
  kPrepared = 2,  // touched: only loading or quitting is left
  kLoaded = 3,
  kStarted = 4,
  kAbandoned = 5,
};

class DirectDestinationGuest final : public QemuDestinationGuest {
 public:
  explicit DirectDestinationGuest(const QemuOptions& options) : options_(options) {}
  ~DirectDestinationGuest() override;

  Status set_up();

  const GuestMemory& memory() const override { return ram_->memory(); }
  Status check_compatible(const GuestIdentity& source) const override {
    return qemu::check_identities(source, identity_);
  }
  Status prepare() override;
  Status load_state(std::span<const std::byte> state,
                    const std::function<void()>& meanwhile) override;
  Result<std::unique_ptr<PageFaults>> page_faults() override;
  Status start() override;
  Status abandon() override;
  std::string recovery_record() const override {
    return ram_->recovery_record(vmm_, options_.qmp_path);
  }

 private:
  Deadline command_deadline() const { return deadline_in(options_.command_timeout); }
  Status write_state(std::span<const std::byte> state, Deadline deadline);
  Status explain_failure(const Result<std::string>& status);
  Result<int> lend_device(int device);
  void disarm_left_over();

  QemuOptions options_;
  pid_t pid_ = -1;
  ProcessIdentity vmm_;  // the same
  UniqueFd process_;     // a pidfd: readable once QEMU has ended
  std::unique_ptr<QmpClient> client_;
  std::optional<qemu::GuestRam> ram_;
  GuestIdentity identity_;
  qemu::Version version_{};
  std::optional<qemu::MigrationSettings> settings_;
  UniqueFd channel_;
  Phase phase_ = Phase::kWaiting;
  bool page_faults_given_ = false;
  bool told_to_run_ = false;
};

bool process_lives(int pidfd) {
  pollfd ended{pidfd, POLLIN, 0};
  return poll(&ended, 1, 0) == 0;
}

Status DirectDestinationGuest::set_up() {
  ASSIGN_OR_RETURN(client_, QmpClient::connect(options_.qmp_path, command_deadline()));
  if (options_.pid) {
    pid_ = *options_.pid;
  } else {
    ASSIGN_OR_RETURN(pid_, client_->peer_pid());
  }
  ASSIGN_OR_RETURN(vmm_, identify_process(pid_));
  process_.reset(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  if (!process_.valid()) return fail_errno(errno, "pidfd_open of QEMU, process {}", pid_);
  RETURN_IF_ERROR(qemu::check_run_state(*client_, "inmigrate", command_deadline()));
  RETURN_IF_ERROR(qemu::check_migratable(*client_, command_deadline()));
  RETURN_IF_ERROR(qemu::check_devices(*client_, command_deadline()));
  RETURN_IF_ERROR(probe_process_access(pid_));
  ASSIGN_OR_RETURN(
      ram_, qemu::GuestRam::open(*client_, pid_, qemu::RamChoice::kMoved, command_deadline()));
  RETURN_IF_ERROR(qemu::check_foreign_writers(pid_, ram_->files()));
  ASSIGN_OR_RETURN(identity_, qemu::query_identity(*client_, command_deadline()));
  RETURN_IF_ERROR(map_present_pages(ram_->memory()));
  // All that can be taken back is done early, so that the switchover does not wait for it.
  ASSIGN_OR_RETURN(version_, qemu::query_version(*client_, command_deadline()));
  ASSIGN_OR_RETURN(settings_, qemu::MigrationSettings::apply(*client_, qemu::Side::kDestination,
                                                             command_deadline()));
  ASSIGN_OR_RETURN(channel_, qemu::give_channel(*client_, command_deadline()));
  return {};
}

DirectDestinationGuest::~DirectDestinationGuest() {
  if (phase_ == Phase::kWaiting) disarm_left_over();
  if (settings_ && phase_ == Phase::kWaiting && client_->usable()) {
    static_cast<void>(settings_->restore(*client_, command_deadline()));
  }
}

Status DirectDestinationGuest::prepare() {
  CHECK(phase_ == Phase::kWaiting);
  phase_ = Phase::kPrepared;
  // While QEMU waits, `stop` means: do not start the guest when it is loaded.
  RETURN_IF_ERROR(client_->execute("stop", {}, command_deadline()));
  qemu::Json incoming = {{"uri", qemu::kChannelUri}};
  if (version_ >= qemu::Version{9, 1, 0}) incoming["exit-on-error"] = false;
  RETURN_IF_ERROR(client_->execute("migrate-incoming", incoming, command_deadline()));
  return {};
}

Status DirectDestinationGuest::write_state(std::span<const std::byte> state, Deadline deadline) {
  while (!state.empty()) {
    ssize_t count = send(channel_.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      state = state.subspan(static_cast<size_t>(count));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return fail_errno(errno, "write device state to QEMU");
    pollfd poll_fd{channel_.get(), POLLOUT, 0};
    if (poll(&poll_fd, 1, milliseconds_until(deadline)) == 0) {
      return fail(Errc::kTimeout, "QEMU does not take its device state");
    }
  }
  return {};
}

// QEMU exits when loading fails, except from 9.1 on where it was told to stay and say why.
Status DirectDestinationGuest::explain_failure(const Result<std::string>& status) {
  if (!status && status.error().code != Errc::kPeerLost) {
    return tl::unexpected<Error>(status.error());
  }
  Result<qemu::MigrationStatus> migration = qemu::query_migration(*client_, command_deadline());
  if (!migration || migration->error.empty()) {
    return fail(Errc::kGuest,
                "the destination QEMU could not load the devices and ended: its own "
                "error output says why");
  }
  return fail(Errc::kGuest, "the destination QEMU could not load the devices: {}",
              migration->error);
}

Status DirectDestinationGuest::load_state(std::span<const std::byte> state,
                                          const std::function<void()>& meanwhile) {
  CHECK(phase_ == Phase::kPrepared);
  const Deadline deadline = deadline_in(options_.state_timeout);
  Status written = write_state(state, deadline);
  shutdown(channel_.get(), SHUT_WR);
  meanwhile();
  Result<std::string> status = qemu::wait_settled(*client_, deadline);
  bool loaded = status && *status == "completed";
  if (!loaded) return explain_failure(status);
  RETURN_IF_ERROR(written);
  RETURN_IF_ERROR(qemu::check_run_state(*client_, "paused", command_deadline()));
  phase_ = Phase::kLoaded;
  return {};
}

Result<std::unique_ptr<PageFaults>> DirectDestinationGuest::page_faults() {
  page_faults_given_ = true;
  ForeignPageFaults::DeviceLoan loan;
  loan.lend = [this](int device) { return lend_device(device); };
  loan.take_back = [this] {
    static_cast<void>(client_->execute("closefd", {{"fdname", kDeviceName}}, command_deadline()));
  };
  // Only for the report of who waited.
  const Result<std::vector<pid_t>> vcpus = qemu::query_vcpu_threads(*client_, command_deadline());
  return std::make_unique<ForeignPageFaults>(ram_->memory(), std::move(loan),
                                             vcpus.value_or(std::vector<pid_t>()));
}

Result<int> DirectDestinationGuest::lend_device(int device) {
  RETURN_IF_ERROR(
      client_->execute_with_fd("getfd", {{"fdname", kDeviceName}}, device, command_deadline()));
  ASSIGN_OR_RETURN(const std::vector<int> numbers, find_descriptors(pid_, kUserfaultfdDevice));
  if (numbers.empty()) {
    return fail(Errc::kGuest, "QEMU, process {}, does not have the descriptor it was given", pid_);
  }
  return numbers.front();
}

// Page faults that were armed and are nobody's any more. QEMU, whose guest will not come, shall not
// wait for its pages.
void DirectDestinationGuest::disarm_left_over() {
  if (!page_faults_given_) return;
  Result<std::unique_ptr<ForeignPageFaults>> left = ForeignPageFaults::adopt(memory());
  if (left) static_cast<void>((*left)->disarm());
}

Status DirectDestinationGuest::start() {
  CHECK(phase_ == Phase::kLoaded);
  if (!process_lives(process_.get())) {
    if (told_to_run_) return fail(Errc::kGuest, "the destination QEMU is gone");
    return fail(Errc::kPeerLost, "the destination QEMU is gone, before the guest ran in it");
  }
  if (!client_->usable()) {  // an earlier call had no answer in time
    client_->disconnect();
    ASSIGN_OR_RETURN(client_, QmpClient::connect(options_.qmp_path, command_deadline()));
  }
  told_to_run_ = true;
  const Result<qemu::Json> told = client_->execute("cont", {}, command_deadline());
  // It may have run for a moment: whoever reads this code may not take it for "never".
  if (!told && told.error().code == Errc::kPeerLost) {
    return fail(Errc::kGuest, "the destination QEMU ended when it was told to run the guest: {}",
                to_string(told.error()));
  }
  RETURN_IF_ERROR(told);
  RETURN_IF_ERROR(qemu::check_run_state(*client_, "running", command_deadline()));
  phase_ = Phase::kStarted;
  return {};
}

Status DirectDestinationGuest::abandon() {
  CHECK(phase_ != Phase::kStarted);
  bool touched = phase_ == Phase::kPrepared || phase_ == Phase::kLoaded;
  phase_ = Phase::kAbandoned;
  disarm_left_over();
  if (!touched) return {};
  // A QEMU that took (part of) a guest's state cannot wait for another one.
  Result<qemu::Json> quit = client_->execute("quit", {}, command_deadline());
  if (!quit && quit.error().code != Errc::kPeerLost) return tl::unexpected<Error>(quit.error());
  return {};
}

}  // namespace

Result<std::unique_ptr<QemuDestinationGuest>> QemuDestinationGuest::open(
    const QemuOptions& options) {
  auto guest = std::make_unique<DirectDestinationGuest>(options);
  RETURN_IF_ERROR(guest->set_up());
  return guest;
}

}  // namespace godwit
