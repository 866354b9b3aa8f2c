// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/migration_settings.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <thread>
#include <utility>

#include "vmm-adapters/qemu/take_back.h"

namespace godwit::qemu {
namespace {

constexpr int64_t kBytesPerSecondMax = int64_t{1} << 40;

constexpr std::string_view kIgnoreShared = "x-ignore-shared";
constexpr std::string_view kMultifd = "multifd";
constexpr std::string_view kPostCopyRam = "postcopy-ram";

bool wanted_on(std::string_view capability, Side side) {
  if (capability == "events") return true;
  // The destination takes its disks (and their locks) when it starts, not when it has loaded: until
  // the commit the source may still resume.
  return capability == "late-block-activate" && side == Side::kDestination;
}

Status set_description_left_out(QmpClient& client, const Json& value, Deadline deadline) {
  RETURN_IF_ERROR(client.execute(
      "qom-set", {{"path", "/machine"}, {"property", "suppress-vmdesc"}, {"value", value}},
      deadline));
  return {};
}

// Returns false where it is left out already, as for machine types before 2.3: their destination
// does not wait for it.
Result<bool> leave_description_out(QmpClient& client, Deadline deadline) {
  ASSIGN_OR_RETURN(
      const Json left_out,
      client.execute("qom-get", {{"path", "/machine"}, {"property", "suppress-vmdesc"}}, deadline));
  if (left_out != Json(false)) return false;
  RETURN_IF_ERROR(set_description_left_out(client, true, deadline));
  return true;
}

}  // namespace

Result<MigrationSettings> MigrationSettings::apply(QmpClient& client, Side side,
                                                   Deadline deadline) {
  MigrationSettings settings;
  bool ignores_shared = false;
  RETURN_IF_ERROR(settings.switch_capabilities(
      client,
      [&](std::string_view name) {
        ignores_shared |= name == kIgnoreShared;
        return name == kIgnoreShared || wanted_on(name, side);
      },
      deadline));
  if (!ignores_shared) {
    static_cast<void>(settings.restore(client, deadline));
    return fail(Errc::kRefused, "this QEMU has no x-ignore-shared: version 4.0 or later has it");
  }
  if (side == Side::kDestination) return settings;
  RETURN_IF_ERROR(
      settings.set_or_restore(client, {{"max-bandwidth", kBytesPerSecondMax}}, deadline));
  // A machine without the property sends its description, which costs a little time.
  const Result<bool> left_out = leave_description_out(client, deadline);
  settings.description_left_out_ = left_out && *left_out;
  return settings;
}

Result<MigrationSettings> MigrationSettings::apply_for_channel(QmpClient& client, Side side,
                                                               const Limits& limits,
                                                               Deadline deadline) {
  MigrationSettings settings;
  RETURN_IF_ERROR(settings.switch_capabilities(
      client, [side](std::string_view name) { return wanted_on(name, side); }, deadline));
  if (side == Side::kDestination) return settings;
  Json parameters = {
      {"max-bandwidth", limits.max_bandwidth_bytes_per_s.value_or(kBytesPerSecondMax)}};
  if (limits.downtime_limit_ms) parameters["downtime-limit"] = *limits.downtime_limit_ms;
  RETURN_IF_ERROR(settings.set_or_restore(client, parameters, deadline));
  return settings;
}

Status MigrationSettings::use_channels(QmpClient& client, size_t count, Deadline deadline) {
  RETURN_IF_ERROR(switch_capabilities(
      client,
      [](std::string_view name) { return name == kMultifd || wanted_on(name, Side::kSource); },
      deadline));
  return set_parameters(client,
                        {{"multifd-channels", count},
                         {"multifd-compression", "none"},
                         {"zero-page-detection", "legacy"}},
                        deadline);
}

Status MigrationSettings::use_one_channel(QmpClient& client, Deadline deadline) {
  return switch_capabilities(
      client, [](std::string_view name) { return wanted_on(name, Side::kSource); }, deadline);
}

Status MigrationSettings::allow_post_copy(QmpClient& client, Side side, const Limits& limits,
                                          Deadline deadline) {
  RETURN_IF_ERROR(switch_capabilities(
      client,
      [side](std::string_view name) { return name == kPostCopyRam || wanted_on(name, side); },
      deadline));
  if (side == Side::kDestination) return {};
  // For what the guest does not wait for; 0: as much as there is.
  return set_parameters(
      client, {{"max-postcopy-bandwidth", limits.max_bandwidth_bytes_per_s.value_or(0)}}, deadline);
}

Status MigrationSettings::switch_capabilities(QmpClient& client,
                                              const std::function<bool(std::string_view)>& wanted,
                                              Deadline deadline) {
  ASSIGN_OR_RETURN(Json capabilities, client.execute("query-migrate-capabilities", {}, deadline));
  Json changes = Json::array();
  Json before = capabilities_before_;
  for (const Json& item : capabilities) {
    const std::string name = string_or(item, "capability", "");
    const bool on = wanted(name);
    if (is_true(item, "state") == on) continue;
    const bool known = std::ranges::any_of(
        before, [&](const Json& other) { return string_or(other, "capability", "") == name; });
    if (!known) before.push_back(item);
    changes.push_back({{"capability", name}, {"state", on}});
  }
  if (changes.empty()) return {};
  // QEMU switches all of them or none.
  RETURN_IF_ERROR(
      client.execute("migrate-set-capabilities", {{"capabilities", changes}}, deadline));
  capabilities_before_ = std::move(before);
  return {};
}

Status MigrationSettings::set_parameters(QmpClient& client, const Json& wanted, Deadline deadline) {
  ASSIGN_OR_RETURN(const Json now, client.execute("query-migrate-parameters", {}, deadline));
  Json changes = Json::object();
  for (const auto& [name, value] : wanted.items()) {
    const Json& before = field(now, name.c_str());
    if (before.is_null() || before == value) continue;
    if (!parameters_before_.contains(name)) parameters_before_[name] = before;
    changes[name] = value;
  }
  if (changes.empty()) return {};
  RETURN_IF_ERROR(client.execute("migrate-set-parameters", changes, deadline));
  return {};
}

// Where it fails, everything is as it was.
Status MigrationSettings::set_or_restore(QmpClient& client, const Json& wanted, Deadline deadline) {
  const Status set = set_parameters(client, wanted, deadline);
  if (!set) static_cast<void>(restore(client, deadline));
  return set;
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
  if (std::exchange(description_left_out_, false)) return send_description(client, deadline);
  return {};
}

void MigrationSettings::forget() {
  capabilities_before_ = Json::array();
  parameters_before_ = Json::object();
  description_left_out_ = false;
}

Status send_description(QmpClient& client, Deadline deadline) {
  return set_description_left_out(client, false, deadline);
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

// QEMU ends its multifd threads after it has called a migration failed, and only if multifd is
// still on then: whoever turns it off in between makes it crash. The last thing that it does is to
// take the migration from the list of what can be yanked.
Status wait_cleaned_up(QmpClient& client, Deadline deadline) {
  while (true) {
    const Result<Json> instances = client.execute("query-yank", {}, deadline);
    // Before 6.0 there is no such list.
    if (!instances && instances.error().code == Errc::kGuest) return {};
    RETURN_IF_ERROR(instances);
    const bool listed = std::ranges::any_of(*instances, [](const Json& instance) {
      return string_or(instance, "type", "") == "migration";
    });
    if (!listed) return {};
    if (Clock::now() > deadline) return fail(Errc::kTimeout, "QEMU does not end its migration");
    std::this_thread::yield();
  }
}

Status settle_migration(QmpClient& client, Deadline deadline,
                        const std::function<void()>& break_stream) {
  client.forget_events();
  const auto break_now = [&] {
    if (break_stream) break_stream();
  };
  while (true) {
    ASSIGN_OR_RETURN(const MigrationStatus migration, query_migration(client, deadline));
    if (is_settled(migration.status)) break;
    if (is_post_copy(migration.status)) {
      break_now();
      RETURN_IF_ERROR(take_back(client, deadline));
      break;
    }
    const Result<Json> cancelled = client.execute("migrate_cancel", {}, deadline);
    if (cancelled) {
      break_now();
      RETURN_IF_ERROR(wait_settled(client, deadline));
      break;
    }
    // It may have gone over to post-copy since it was asked.
    if (cancelled.error().code != Errc::kGuest || Clock::now() > deadline)
      return tl::unexpected<Error>(cancelled.error());
  }
  break_now();
  RETURN_IF_ERROR(wait_run_state_after_migration(client, deadline));
  return {};
}

}  // namespace godwit::qemu
