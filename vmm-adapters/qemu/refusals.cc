// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/refusals.h"

#include <algorithm>
#include <string>

#include "vmm-adapters/qemu/migration_settings.h"

namespace godwit::qemu {
namespace {

struct UnseenWriter {
  std::string_view part_of_type;
  const char* reason;
};

constexpr UnseenWriter kUnseenWriters[] = {
    {"vhost-user", "its back end process writes guest memory by a mapping of its own"},
    {"vfio", "a host device writes guest memory by DMA that the kernel does not see"},
    {"vdpa", "a host device writes guest memory by DMA that the kernel does not see"},
    {"ivshmem", "its memory is shared with other guests or processes"},
    {"virtio-mem", "it changes which memory the guest has"},
    {"vhost-scsi", "the host kernel completes its disk I/O past QEMU's drain"},
};

// Devices given on the command line or plugged in, with a name or without.
Result<std::vector<std::string>> query_device_types(QmpClient& client, Deadline deadline) {
  std::vector<std::string> types;
  for (const char* folder : {"/machine/peripheral", "/machine/peripheral-anon"}) {
    ASSIGN_OR_RETURN(Json children, client.execute("qom-list", {{"path", folder}}, deadline));
    for (const Json& child : children) types.push_back(string_or(child, "type", ""));
  }
  return types;
}

}  // namespace

Status check_device_type(std::string_view type) {
  for (const UnseenWriter& writer : kUnseenWriters) {
    if (type.find(writer.part_of_type) == std::string_view::npos) continue;
    return fail(Errc::kRefused,
                "device '{}' rules this out: {}; unplug it for the move, or use "
                "another --mode",
                type, writer.reason);
  }
  return {};
}

Result<Discards> query_discards(QmpClient& client, Deadline deadline) {
  ASSIGN_OR_RETURN(std::vector<std::string> types, query_device_types(client, deadline));
  bool balloon = std::any_of(types.begin(), types.end(), [](const std::string& type) {
    return type.find("balloon") != std::string::npos;
  });
  return balloon ? Discards::kPossible : Discards::kNever;
}

Status check_followed_devices(QmpClient& client, Deadline deadline) {
  ASSIGN_OR_RETURN(const std::vector<std::string> types, query_device_types(client, deadline));
  for (const std::string& type : types) {
    for (const char* unfollowed : {"vfio", "virtio-mem"}) {
      if (type.find(unfollowed) != std::string::npos)
        return fail(Errc::kRefused, "device '{}' has state of its own among the pages", type);
    }
  }
  return {};
}

Status check_devices(QmpClient& client, Deadline deadline) {
  ASSIGN_OR_RETURN(std::vector<std::string> types, query_device_types(client, deadline));
  for (const std::string& type : types) RETURN_IF_ERROR(check_device_type(type));
  ASSIGN_OR_RETURN(std::string network, client.execute_human("info network", deadline));
  for (const char* type : {"vhost-user", "vhost-vdpa"}) {
    if (network.find(fmt::format("type={}", type)) != std::string::npos) {
      RETURN_IF_ERROR(check_device_type(type));
    }
  }
  Result<Json> confidential = client.execute(
      "qom-get", {{"path", "/machine"}, {"property", "confidential-guest-support"}}, deadline);
  if (confidential && confidential->is_string() && !confidential->get<std::string>().empty()) {
    return fail(Errc::kRefused,
                "this is a confidential guest: its memory cannot be read from outside");
  }
  return {};
}

Status check_foreign_writers(pid_t qemu, const std::vector<FileIdentity>& files) {
  ASSIGN_OR_RETURN(ForeignMappers mappers, find_foreign_mappers(qemu, files));
  if (mappers.found.empty()) return {};
  const ForeignMapper& mapper = mappers.found.front();
  return fail(
      Errc::kRefused,
      "process {} ({}) has guest memory mapped and may write it unseen (vhost-user back end? "
      "another migration?): end it, or use another --mode",
      mapper.pid, mapper.name);
}

Status check_migratable(QmpClient& client, Deadline deadline) {
  ASSIGN_OR_RETURN(Json migration, client.execute("query-migrate", {}, deadline));
  const Json& blocked = field(migration, "blocked-reasons");
  if (blocked.is_array() && !blocked.empty() && blocked[0].is_string()) {
    return fail(Errc::kRefused, "QEMU says that this guest cannot be migrated: {}",
                blocked[0].get<std::string>());
  }
  std::string status = string_or(migration, "status", "none");
  if (is_settled(status)) return {};
  return fail(Errc::kRefused, "QEMU is already migrating this guest (status {}): wait or cancel it",
              status);
}

Status check_run_state(QmpClient& client, std::string_view wanted, Deadline deadline) {
  ASSIGN_OR_RETURN(Json status, client.execute("query-status", {}, deadline));
  std::string state = string_or(status, "status", "unknown");
  if (state == wanted) return {};
  if (wanted == "inmigrate") {
    return fail(Errc::kRefused,
                "the destination QEMU is in state '{}' and does not wait for a guest: "
                "start it with -incoming defer",
                state);
  }
  return fail(Errc::kRefused, "the guest is in state '{}' and not '{}'", state, wanted);
}

}  // namespace godwit::qemu
