// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/qemu_channel_destination.h"

#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "engine/base/check.h"
#include "engine/session/process_identity.h"
#include "vmm-adapters/linux/shared_mapping.h"
#include "vmm-adapters/linux/unix_stream.h"
#include "vmm-adapters/qemu/guest_ram.h"
#include "vmm-adapters/qemu/migration_settings.h"
#include "vmm-adapters/qemu/qemu_page_requests.h"
#include "vmm-adapters/qemu/refusals.h"
#include "vmm-adapters/qemu/take_back.h"

namespace godwit {
namespace {

using qemu::QmpClient;

constexpr Clock::duration kPackageLookEvery = milliseconds(1);

class QemuChannelDestination final : public ChannelDestinationGuest {
 public:
  explicit QemuChannelDestination(const QemuOptions& options) : options_(options) {}
  ~QemuChannelDestination() override;

  Status set_up();

  Result<relay::StreamTarget> open(PostCopyUse post_copy) override;
  MakePageRequests page_requests() override { return qemu::make_page_requests; }
  Result<bool> wait_switched(Deadline deadline) override;
  Status wait_loaded() override;
  Status start() override;
  Status abandon() override;

 private:
  Deadline command_deadline() const { return deadline_in(options_.command_timeout); }
  Status wait_package_loaded();
  Result<std::string> wait_status(Deadline deadline,
                                  const std::function<bool(const std::string&)>& wanted);

  const QemuOptions options_;
  ProcessIdentity vmm_;
  std::unique_ptr<QmpClient> client_;
  std::optional<qemu::GuestRam> ram_;
  std::string memory_note_;
  std::optional<qemu::MigrationSettings> settings_;
  bool opened_ = false;
  bool switched_ = false;               // to post-copy
  std::optional<std::string> settled_;  // its migration's status, once that is over
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

Result<relay::StreamTarget> QemuChannelDestination::open(PostCopyUse post_copy) {
  CHECK(!opened_);
  if (post_copy == PostCopyUse::kPossible) {
    const Status allowed =
        settings_->allow_post_copy(*client_, qemu::Side::kDestination, {}, command_deadline());
    if (!allowed)
      return fail(Errc::kRefused, "the destination cannot take the guest by post-copy: {}",
                  to_string(allowed.error()));
  }
  ASSIGN_OR_RETURN(UniqueFd channel, qemu::give_channel(*client_, command_deadline()));
  opened_ = true;
  client_->forget_events();
  // While QEMU waits, `stop` means: do not start the guest when it is loaded.
  RETURN_IF_ERROR(client_->execute("stop", {}, command_deadline()));
  RETURN_IF_ERROR(
      client_->execute("migrate-incoming", {{"uri", qemu::kChannelUri}}, command_deadline()));
  relay::StreamTarget target;
  ASSIGN_OR_RETURN(target.stream, make_unix_stream(std::move(channel)));
  // Before post-copy QEMU gives memory back, so nothing may be put there past it.
  if (post_copy == PostCopyUse::kPossible) return target;
  if (ram_) target.guest = ram_->memory();
  target.note = memory_note_;
  return target;
}

Result<bool> QemuChannelDestination::wait_switched(Deadline deadline) {
  if (settled_) {
    std::this_thread::sleep_until(deadline);
    return false;
  }
  Result<std::string> status = wait_status(deadline, [](const std::string& word) {
    return qemu::is_post_copy(word) || qemu::is_settled(word);
  });
  if (!status && status.error().code == Errc::kTimeout) return false;
  RETURN_IF_ERROR(status);
  if (qemu::is_settled(*status)) {
    settled_ = std::move(*status);
    return false;
  }
  switched_ = true;
  RETURN_IF_ERROR(wait_package_loaded());
  return true;
}

// QEMU listens for pages first, then loads its devices, and calls the guest paused when it would
// run it, had it not been told to stop.
Status QemuChannelDestination::wait_package_loaded() {
  const Deadline deadline = deadline_in(options_.state_timeout);
  while (true) {
    ASSIGN_OR_RETURN(const qemu::Json status, client_->execute("query-status", {}, deadline));
    const std::string state = qemu::string_or(status, "status", "");
    if (state == "paused") return {};
    if (state != "inmigrate")
      return fail(Errc::kGuest, "the destination QEMU is in state '{}' in post-copy", state);
    if (Clock::now() > deadline)
      return fail(Errc::kTimeout, "the destination QEMU does not load the guest's devices");
    std::this_thread::sleep_for(kPackageLookEvery);
  }
}

Status QemuChannelDestination::wait_loaded() {
  if (!settled_) {
    Result<std::string> status =
        wait_status(deadline_in(options_.state_timeout), [](const std::string& word) {
          return qemu::is_settled(word) || word == "postcopy-paused";
        });
    if (!status && status.error().code != Errc::kPeerLost)
      return tl::unexpected<Error>(status.error());
    settled_ = status ? *status : "";
  }
  if (*settled_ == "postcopy-paused")
    return fail(Errc::kPeerLost, "QEMU's stream ended before all memory was there");
  if (*settled_ != "completed")
    return fail(Errc::kGuest,
                "the destination QEMU could not take the guest and ended: its own error output "
                "says why");
  if (!switched_) return qemu::check_run_state(*client_, "paused", command_deadline());
  // Otherwise the guest's next migration would be one with post-copy.
  static_cast<void>(settings_->restore(*client_, command_deadline()));
  return {};
}

Result<std::string> QemuChannelDestination::wait_status(
    Deadline deadline, const std::function<bool(const std::string&)>& wanted) {
  const auto status_of = [](const qemu::Json& event) {
    return qemu::string_or(qemu::field(event, "data"), "status", "");
  };
  ASSIGN_OR_RETURN(const qemu::Json event, client_->wait_event(
                                               [&](const qemu::Json& each) {
                                                 return qemu::string_or(each, "event", "") ==
                                                            "MIGRATION" &&
                                                        wanted(status_of(each));
                                               },
                                               deadline));
  return status_of(event);
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
