// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/synthetic/synthetic_destination_guest.h"

#include "vmm-adapters/synthetic/synthetic_page_faults.h"

namespace godwit {

Result<std::unique_ptr<SyntheticDestinationGuest>> SyntheticDestinationGuest::open(
    const SyntheticOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<SyntheticMachine> machine,
                   SyntheticMachine::open(options, MachineContent::kStale));
  return std::unique_ptr<SyntheticDestinationGuest>(
      new SyntheticDestinationGuest(std::move(machine)));
}

Status SyntheticDestinationGuest::check_compatible(const GuestIdentity& source) const {
  for (const auto& [key, value] : machine_->identity()) {
    const auto theirs = source.find(key);
    if (theirs == source.end())
      return fail(Errc::kRefused, "the source does not say its {}; here it is '{}'", key, value);
    if (theirs->second != value) {
      return fail(Errc::kRefused, "{} differs: source '{}', here '{}'", key, theirs->second, value);
    }
  }
  return {};
}

Status SyntheticDestinationGuest::prepare() {
  if (state_ != State::kWaiting) return fail(Errc::kGuest, "the machine does not wait for a guest");
  RETURN_IF_ERROR(machine_->attempt(SyntheticOperation::kPrepare));
  state_ = State::kPrepared;
  return {};
}

Status SyntheticDestinationGuest::load_state(std::span<const std::byte> state,
                                             const std::function<void()>& meanwhile) {
  if (state_ != State::kPrepared) return fail(Errc::kGuest, "the machine is not prepared to load");
  RETURN_IF_ERROR(machine_->attempt(SyntheticOperation::kLoadState));
  meanwhile();
  ASSIGN_OR_RETURN(const MachineState decoded, decode_machine_state(state, machine_->options()));
  RETURN_IF_ERROR(machine_->load(decoded));
  state_ = State::kLoaded;
  return {};
}

Result<std::unique_ptr<PageFaults>> SyntheticDestinationGuest::page_faults() {
  return std::make_unique<SyntheticPageFaults>(*machine_);
}

Result<std::unique_ptr<PageFaults>> SyntheticDestinationGuest::adopt_page_faults() {
  auto faults = std::make_unique<SyntheticPageFaults>(*machine_);
  RETURN_IF_ERROR(faults->adopt());
  return faults;
}

Status SyntheticDestinationGuest::start() {
  if (state_ != State::kLoaded) return fail(Errc::kGuest, "the machine has no state to start from");
  if (slow_starts_ < machine_->options().slow_starts) {
    ++slow_starts_;
    return fail(Errc::kTimeout, "the synthetic VMM was told not to answer yet");
  }
  const Status attempted = machine_->attempt(SyntheticOperation::kStart);
  if (!attempted) return fail(Errc::kPeerLost, "{}", to_string(attempted.error()));
  state_ = State::kStarted;
  machine_->run();
  return {};
}

Status SyntheticDestinationGuest::abandon() {
  if (state_ == State::kStarted)
    return fail(Errc::kGuest, "the guest runs here: it cannot be abandoned");
  state_ = State::kAbandoned;
  return {};
}

}  // namespace godwit
