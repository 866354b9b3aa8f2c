// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/migration_settings.h"

#include <sys/socket.h>

#include <cerrno>
#include <string_view>
#include <thread>
#include <utility>

namespace godwit::qemu {
namespace {

constexpr int64_t kBytesPerSecondMax = int64_t{1} << 40;

bool wanted_on(std::string_view capability, Side side) {
  if (capability == "x-ignore-shared" || capability == "events") return true;
  // The destination takes its disks (and their locks) when it starts, not when it has loaded: until
  // the commit the source may still resume.
  return capability == "late-block-activate" && side == Side::kDestination;
}

}  // namespace

Result<MigrationSettings> MigrationSettings::apply(QmpClient& client, Side side,
                                                   Deadline deadline) {
  MigrationSettings settings;
  ASSIGN_OR_RETURN(Json capabilities, client.execute("query-migrate-capabilities", {}, deadline));
  Json changes = Json::array();
  bool ignores_shared = false;
  for (const Json& item : capabilities) {
    std::string name = string_or(item, "capability", "");
    ignores_shared |= name == "x-ignore-shared";
    bool wanted = wanted_on(name, side);
    if (is_true(item, "state") == wanted) continue;
    settings.capabilities_before_.push_back(item);
    changes.push_back({{"capability", name}, {"state", wanted}});
  }
  if (!ignores_shared) {
    return fail(Errc::kRefused, "this QEMU has no x-ignore-shared: version 4.0 or later has it");
  }
  ASSIGN_OR_RETURN(Json parameters, client.execute("query-migrate-parameters", {}, deadline));
  int64_t bandwidth = integer_or(parameters, "max-bandwidth", kBytesPerSecondMax);
  if (!changes.empty()) {
    RETURN_IF_ERROR(
        client.execute("migrate-set-capabilities", {{"capabilities", changes}}, deadline));
  }
  if (side == Side::kSource && bandwidth != kBytesPerSecondMax) {
    settings.parameters_before_["max-bandwidth"] = bandwidth;
    Result<Json> set =
        client.execute("migrate-set-parameters", {{"max-bandwidth", kBytesPerSecondMax}}, deadline);
    if (!set) {
      static_cast<void>(settings.restore(client, deadline));
      return tl::unexpected<Error>(set.error());
    }
  }
  return settings;
}

Status MigrationSettings::restore(QmpClient& client, Deadline deadline) {
  Json capabilities = std::exchange(capabilities_before_, Json::array());
  Json parameters = std::exchange(parameters_before_, Json::object());
  if (!capabilities.empty()) {
    RETURN_IF_ERROR(
        client.execute("migrate-set-capabilities", {{"capabilities", capabilities}}, deadline));
  }
  if (!parameters.empty()) {
    RETURN_IF_ERROR(client.execute("migrate-set-parameters", parameters, deadline));
  }
  return {};
}

void MigrationSettings::forget() {
  capabilities_before_ = Json::array();
  parameters_before_ = Json::object();
}

Result<UniqueFd> give_channel(QmpClient& client, Deadline deadline) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
    return fail_errno(errno, "socketpair for the migration channel");
  }
  UniqueFd ours(fds[0]);
  UniqueFd theirs(fds[1]);
  RETURN_IF_ERROR(
      client.execute_with_fd("getfd", {{"fdname", kChannelName}}, theirs.get(), deadline));
  return ours;
}

Result<MigrationStatus> query_migration(QmpClient& client, Deadline deadline) {
  ASSIGN_OR_RETURN(Json answer, client.execute("query-migrate", {}, deadline));
  return MigrationStatus{string_or(answer, "status", "none"), string_or(answer, "error-desc", "")};
}

bool is_settled(std::string_view status) {
  return status == "completed" || status == "failed" || status == "cancelled" || status == "none";
}

Result<std::string> wait_settled(QmpClient& client, Deadline deadline) {
  auto settled = [](const Json& event) {
    return string_or(event, "event", "") == "MIGRATION" &&
           is_settled(string_or(field(event, "data"), "status", ""));
  };
  ASSIGN_OR_RETURN(Json event, client.wait_event(settled, deadline));
  return string_or(field(event, "data"), "status", "");
}

Result<std::string> wait_run_state_after_migration(QmpClient& client, Deadline deadline) {
  while (true) {
    ASSIGN_OR_RETURN(Json answer, client.execute("query-status", {}, deadline));
    std::string state = string_or(answer, "status", "unknown");
    if (state != "finish-migrate") return state;
    if (Clock::now() > deadline) return fail(Errc::kTimeout, "QEMU does not finish its migration");
    std::this_thread::yield();
  }
}

Status settle_migration(QmpClient& client, Deadline deadline) {
  client.forget_events();
  ASSIGN_OR_RETURN(MigrationStatus migration, query_migration(client, deadline));
  if (!is_settled(migration.status)) {
    RETURN_IF_ERROR(client.execute("migrate_cancel", {}, deadline));
    RETURN_IF_ERROR(wait_settled(client, deadline));
  }
  RETURN_IF_ERROR(wait_run_state_after_migration(client, deadline));
  return {};
}

}  // namespace godwit::qemu
