// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/qemu_recovery.h"

#include "engine/base/wake_event.h"
#include "vmm-adapters/linux/foreign_page_faults.h"
#include "vmm-adapters/qemu/qmp_client.h"
#include "vmm-adapters/qemu/ram_record.h"

namespace godwit {
namespace {

using qemu::QmpClient;

// A paused source has nothing to wait for.
constexpr auto kSourcePatience = seconds(5);

// Of memory that is an ordinary mapping again.
class NoPageFaults final : public PageFaults {
 public:
  explicit NoPageFaults(WakeEvent never) : never_(std::move(never)) {}

  Status arm() override { return fail(Errc::kGuest, "this memory is complete"); }
  int fd() const override { return never_.fd(); }
  Result<size_t> read(std::span<PageFault> /*faults*/) override { return 0; }
  Status install(uint32_t /*block*/, PageRun /*pages*/) override { return {}; }
  Status install_zeroes(uint32_t /*block*/, PageRun /*pages*/) override { return {}; }
  Status wake(uint32_t /*block*/, PageRun /*pages*/) override { return {}; }
  Status disarm() override { return {}; }

 private:
  WakeEvent never_;
};

Result<std::unique_ptr<PageFaults>> adopt_page_faults(
    const GuestMemory& memory, const RecoveredQemuDestination::IsComplete& is_complete) {
  Result<std::unique_ptr<ForeignPageFaults>> adopted = ForeignPageFaults::adopt(memory);
  if (adopted) return std::move(*adopted);
  if (adopted.error().code != Errc::kRefused) return tl::unexpected<Error>(adopted.error());
  ASSIGN_OR_RETURN(const bool complete, is_complete(memory));
  if (!complete) return tl::unexpected<Error>(adopted.error());
  RETURN_IF_ERROR(ForeignPageFaults::disarm_left_over(memory));
  ASSIGN_OR_RETURN(WakeEvent never, WakeEvent::make());
  return std::make_unique<NoPageFaults>(std::move(never));
}

Result<std::string> query_run_state(QmpClient& client, Deadline deadline) {
  ASSIGN_OR_RETURN(qemu::Json status, client.execute("query-status", {}, deadline));
  return qemu::string_or(status, "status", "unknown");
}

}  // namespace

Result<std::unique_ptr<RecoveredQemuSource>> RecoveredQemuSource::open(std::string_view record) {
  ASSIGN_OR_RETURN(const qemu::RamRecord parsed, qemu::parse_ram_record(record));
  ASSIGN_OR_RETURN(qemu::GuestRam ram, qemu::GuestRam::reopen(parsed));
  if (is_running(parsed.vmm)) {
    // A monitor that does not answer is no reason to lose a guest: its memory is here.
    const Deadline deadline = deadline_in(kSourcePatience);
    Result<std::unique_ptr<QmpClient>> client = QmpClient::connect(parsed.qmp_path, deadline);
    if (client) {
      const Result<std::string> state = query_run_state(**client, deadline);
      if (state && *state == "running") {
        return fail(Errc::kRefused,
                    "the guest was set going again in QEMU, process {}: its memory is not what the "
                    "destination wants",
                    parsed.vmm.pid);
      }
    }
  }
  return std::unique_ptr<RecoveredQemuSource>(new RecoveredQemuSource(std::move(ram)));
}

Result<std::unique_ptr<RecoveredQemuDestination>> RecoveredQemuDestination::open(
    std::string_view record, const IsComplete& is_complete) {
  ASSIGN_OR_RETURN(qemu::RamRecord parsed, qemu::parse_ram_record(record));
  if (!is_running(parsed.vmm)) {
    return fail(Errc::kRefused, "the destination QEMU, process {}, is gone, and its guest with it",
                parsed.vmm.pid);
  }
  ASSIGN_OR_RETURN(qemu::GuestRam ram, qemu::GuestRam::reopen(parsed));
  std::unique_ptr<RecoveredQemuDestination> guest(
      new RecoveredQemuDestination(std::move(parsed), std::move(ram)));
  ASSIGN_OR_RETURN(guest->page_faults_, adopt_page_faults(guest->memory(), is_complete));
  return guest;
}

Status RecoveredQemuDestination::ensure_running(Deadline deadline) {
  ASSIGN_OR_RETURN(std::unique_ptr<QmpClient> client,
                   QmpClient::connect(record_.qmp_path, deadline));
  ASSIGN_OR_RETURN(std::string state, query_run_state(*client, deadline));
  if (state == "paused") {
    RETURN_IF_ERROR(client->execute("cont", {}, deadline));
    ASSIGN_OR_RETURN(state, query_run_state(*client, deadline));
  }
  if (state == "running") return {};
  return fail(Errc::kGuest, "the guest in QEMU, process {}, is in state '{}'", record_.vmm.pid,
              state);
}

}  // namespace godwit
