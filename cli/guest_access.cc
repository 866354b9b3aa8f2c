// SPDX-License-Identifier: Apache-2.0
#include "cli/guest_access.h"

#include "engine/base/time.h"
#include "vmm-adapters/qemu/migration_settings.h"
#include "vmm-adapters/qemu/qemu_channel_destination.h"
#include "vmm-adapters/qemu/qemu_channel_source.h"
#include "vmm-adapters/qemu/qemu_destination_guest.h"
#include "vmm-adapters/qemu/qemu_source_guest.h"
#include "vmm-adapters/qemu/qmp_client.h"
#include "vmm-adapters/qemu/take_back.h"

namespace godwit::cli {
namespace {

constexpr seconds kQmpPatience{5};

QemuOptions make_qemu_options(const AgentOptions& options) {
  QemuOptions result;
  result.qmp_path = options.qmp;
  if (options.pid != 0) result.pid = options.pid;
  return result;
}

// With this capability on, any other migration of this QEMU would leave its memory out; without its
// description the destination would not take it.
Status take_settings_back(qemu::QmpClient& client, Deadline deadline) {
  qemu::Json off = {{"capability", "x-ignore-shared"}, {"state", false}};
  RETURN_IF_ERROR(client.execute("migrate-set-capabilities",
                                 {{"capabilities", qemu::Json::array({off})}}, deadline));
  // The same of these, with which QEMU would not migrate into a single connection, or not to a host
  // that has them off.
  if (qemu::wait_cleaned_up(client, deadline)) {
    for (const char* capability : {"multifd", "postcopy-ram"}) {
      off["capability"] = capability;
      static_cast<void>(client.execute("migrate-set-capabilities",
                                       {{"capabilities", qemu::Json::array({off})}}, deadline));
    }
  }
  // A machine that has no such property sends it anyway.
  static_cast<void>(qemu::send_description(client, deadline));
  // Not an error when it is not there: QEMU has used it up, or never got it.
  static_cast<void>(client.execute("closefd", {{"fdname", qemu::kChannelName}}, deadline));
  return {};
}

}  // namespace

Result<std::unique_ptr<SourceGuest>> open_source_guest(const AgentOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<SourceGuest> guest,
                   QemuSourceGuest::open(make_qemu_options(options)));
  return guest;
}

Result<std::unique_ptr<DestinationGuest>> open_destination_guest(const AgentOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<DestinationGuest> guest,
                   QemuDestinationGuest::open(make_qemu_options(options)));
  return guest;
}

Result<std::unique_ptr<ChannelSourceGuest>> open_channel_source(
    const AgentOptions& options, const ChannelLimits& limits,
    std::function<void(int socket, KeptUntil until)> keep_open) {
  qemu::MigrationSettings::Limits qemu_limits{
      .downtime_limit_ms = duration_cast<milliseconds>(limits.downtime).count()};
  if (limits.bandwidth_bytes_per_s != 0)
    qemu_limits.max_bandwidth_bytes_per_s = static_cast<int64_t>(limits.bandwidth_bytes_per_s);
  QemuOptions qemu_options = make_qemu_options(options);
  qemu_options.keep_open = std::move(keep_open);
  return open_qemu_channel_source(qemu_options, qemu_limits);
}

Result<std::unique_ptr<ChannelDestinationGuest>> open_channel_destination(
    const AgentOptions& options) {
  return open_qemu_channel_destination(make_qemu_options(options));
}

Status resume_guest(const std::string& qmp, const std::function<void()>& break_stream) {
  Deadline deadline = deadline_in(kQmpPatience);
  ASSIGN_OR_RETURN(std::unique_ptr<qemu::QmpClient> client,
                   qemu::QmpClient::connect(qmp, deadline));
  // The dead agent may have left QEMU migrating into a channel that nobody reads.
  RETURN_IF_ERROR(qemu::settle_migration(*client, deadline, break_stream));
  ASSIGN_OR_RETURN(qemu::Json status, client->execute("query-status", {}, deadline));
  // First the guest, then the tidying up.
  if (qemu::string_or(status, "status", "") != "running")
    RETURN_IF_ERROR(qemu::go_on(*client, deadline));
  return take_settings_back(*client, deadline);
}

}  // namespace godwit::cli
