// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/qemu_channel_destination.h"

#include <optional>
#include <string>
#include <utility>

#include "engine/base/check.h"
#include "engine/session/process_identity.h"
#include "vmm-adapters/linux/shared_mapping.h"
#include "vmm-adapters/linux/unix_stream.h"
#include "vmm-adapters/qemu/guest_ram.h"
#include "vmm-adapters/qemu/migration_settings.h"
#include "vmm-adapters/qemu/refusals.h"

namespace godwit {
namespace {

using qemu::QmpClient;

class QemuChannelDestination final : public ChannelDestinationGuest {
 public:
  explicit QemuChannelDestination(const QemuOptions& options) : options_(options) {}
  ~QemuChannelDestination() override;

  Status set_up();

  Result<relay::StreamTarget> open() override;
  Status wait_loaded() override;
  Status start() override;
  Status abandon() override;

 private:
  Deadline command_deadline() const { return deadline_in(options_.command_timeout); }

  const QemuOptions options_;
  ProcessIdentity vmm_;
  std::unique_ptr<QmpClient> client_;
  std::optional<qemu::GuestRam> ram_;
  std::string memory_note_;
  std::optional<qemu::MigrationSettings> settings_;
  bool opened_ = false;
};

Status QemuChannelDestination::set_up() {
  ASSIGN_OR_RETURN(client_, QmpClient::connect(options_.qmp_path, command_deadline()));
  RETURN_IF_ERROR(qemu::check_run_state(*client_, "inmigrate", command_deadline()));
  RETURN_IF_ERROR(qemu::check_migratable(*client_, command_deadline()));
  ASSIGN_OR_RETURN(const pid_t pid,
                   options_.pid ? Result<pid_t>(*options_.pid) : client_->peer_pid());
  ASSIGN_OR_RETURN(vmm_, identify_process(pid));
  Result<qemu::GuestRam> ram =
      qemu::GuestRam::open(*client_, pid, qemu::RamChoice::kShared, command_deadline());
  if (ram) {
    ram_ = std::move(*ram);
    RETURN_IF_ERROR(map_present_pages(ram_->memory()));
  } else {
    memory_note_ = "pages stay in the stream: " + to_string(ram.error());
  }
  ASSIGN_OR_RETURN(settings_, qemu::MigrationSettings::apply_for_channel(
                                  *client_, qemu::Side::kDestination, {}, command_deadline()));
  return {};
}

QemuChannelDestination::~QemuChannelDestination() {
  if (settings_ && !opened_ && client_->usable())
    static_cast<void>(settings_->restore(*client_, command_deadline()));
}

Result<relay::StreamTarget> QemuChannelDestination::open() {
  CHECK(!opened_);
  ASSIGN_OR_RETURN(UniqueFd channel, qemu::give_channel(*client_, command_deadline()));
  opened_ = true;
  client_->forget_events();
  // While QEMU waits, `stop` means: do not start the guest when it is loaded.
  RETURN_IF_ERROR(client_->execute("stop", {}, command_deadline()));
  RETURN_IF_ERROR(
      client_->execute("migrate-incoming", {{"uri", qemu::kChannelUri}}, command_deadline()));
  relay::StreamTarget target;
  ASSIGN_OR_RETURN(target.stream, make_unix_stream(std::move(channel)));
  if (ram_) target.guest = ram_->memory();
  target.note = memory_note_;
  return target;
}

Status QemuChannelDestination::wait_loaded() {
  const Result<std::string> status =
      qemu::wait_settled(*client_, deadline_in(options_.state_timeout));
  if (!status && status.error().code != Errc::kPeerLost)
    return tl::unexpected<Error>(status.error());
  if (!status || *status != "completed")
    return fail(Errc::kGuest,
                "the destination QEMU could not take the guest and ended: its own error output "
                "says why");
  return qemu::check_run_state(*client_, "paused", command_deadline());
}

Status QemuChannelDestination::start() {
  if (!is_running(vmm_))
    return fail(Errc::kPeerLost, "the destination QEMU is gone, before the guest ran in it");
  const Result<qemu::Json> told = client_->execute("cont", {}, command_deadline());
  // It may have run for a moment: whoever reads this code may not take it for "never".
  if (!told && told.error().code == Errc::kPeerLost)
    return fail(Errc::kGuest, "the destination QEMU ended when it was told to run the guest: {}",
                to_string(told.error()));
  RETURN_IF_ERROR(told);
  return qemu::check_run_state(*client_, "running", command_deadline());
}

Status QemuChannelDestination::abandon() {
  if (!opened_) return {};
  const Result<qemu::Json> quit = client_->execute("quit", {}, command_deadline());
  if (!quit && quit.error().code != Errc::kPeerLost) return tl::unexpected<Error>(quit.error());
  return {};
}

}  // namespace

Result<std::unique_ptr<ChannelDestinationGuest>> open_qemu_channel_destination(
    const QemuOptions& options) {
  auto guest = std::make_unique<QemuChannelDestination>(options);
  RETURN_IF_ERROR(guest->set_up());
  return guest;
}

}  // namespace godwit
