// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/synthetic/synthetic_source_guest.h"

#include <algorithm>

namespace godwit {
namespace {

// A VMM hands over its state in pieces of no particular size.
constexpr size_t kPieceBytes = 40'000;

}  // namespace

Result<std::unique_ptr<SyntheticSourceGuest>> SyntheticSourceGuest::open(
    const SyntheticOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<SyntheticMachine> machine,
                   SyntheticMachine::open(options, MachineContent::kInitial));
  std::unique_ptr<SyntheticSourceGuest> guest(new SyntheticSourceGuest(std::move(machine)));
  ASSIGN_OR_RETURN(guest->tracker_,
                   track_own_process(guest->machine_->memory().guest(), guest->discards()));
  guest->machine_->run();
  return guest;
}

Discards SyntheticSourceGuest::discards() const {
  return machine_->options().discard_weight > 0 ? Discards::kPossible : Discards::kNever;
}

Status SyntheticSourceGuest::pause() {
  RETURN_IF_ERROR(machine_->attempt(SyntheticOperation::kPause));
  machine_->pause();
  return {};
}

Status SyntheticSourceGuest::resume() {
  if (released_) return fail(Errc::kGuest, "the guest was released: it lives elsewhere");
  if (!machine_->running()) machine_->run();
  return {};
}

Status SyntheticSourceGuest::save_state(const DeviceStateSink& sink) {
  if (machine_->running()) return fail(Errc::kGuest, "the guest runs: its state cannot be saved");
  RETURN_IF_ERROR(machine_->attempt(SyntheticOperation::kSaveState));
  const std::vector<std::byte> state = encode_machine_state(machine_->save(), machine_->options());
  for (std::span<const std::byte> rest = state; !rest.empty();) {
    const std::span<const std::byte> piece = rest.first(std::min(kPieceBytes, rest.size()));
    RETURN_IF_ERROR(sink(piece));
    rest = rest.subspan(piece.size());
  }
  return {};
}

Status SyntheticSourceGuest::release() {
  if (machine_->running()) return fail(Errc::kGuest, "the guest runs: it cannot be released");
  released_ = true;
  return {};
}

}  // namespace godwit
