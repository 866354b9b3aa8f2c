// SPDX-License-Identifier: Apache-2.0
//
// The device state: how far each actor is, how often the VMM saved, the word that it wrote to
// memory when it did so, and seeded padding. A destination checks the word against its memory when
// it loads: memory that is not all in place by then is found out, as a VMM would read wrong virtio
// rings.
#include "vmm-adapters/synthetic/synthetic_machine.h"

#include <algorithm>
#include <cstring>

#include "engine/base/check.h"
#include "engine/wire/codec.h"

namespace godwit {
namespace {

constexpr uint32_t kStateMagic = 0x6777'6d31;
constexpr size_t kExtraStateBytesMax = 64 << 20;

GuestIdentity identity_of(const SyntheticOptions& options) {
  return {{"vmm", "synthetic"},
          {"machine", options.machine},
          {"seed", std::to_string(options.seed)},
          {"virtual_cpus", std::to_string(options.virtual_cpus)},
          {"dma_queue_depth", std::to_string(options.dma_queue_depth)}};
}

std::vector<std::byte> extra_state(const SyntheticOptions& options) {
  std::vector<std::byte> bytes(round_up(options.extra_state_bytes, sizeof(uint64_t)));
  fill_random(bytes, options.seed + 1);
  bytes.resize(options.extra_state_bytes);
  return bytes;
}

}  // namespace

std::vector<std::byte> encode_machine_state(const MachineState& state,
                                            const SyntheticOptions& options) {
  std::vector<std::byte> bytes;
  Encoder encoder(bytes);
  encoder.u32(kStateMagic);
  encoder.u32(static_cast<uint32_t>(state.actors.size()));
  for (const ActorState& actor : state.actors) {
    encoder.u64(actor.random_state);
    encoder.u64(actor.steps);
  }
  encoder.u64(state.saves);
  encoder.bytes(extra_state(options));
  return bytes;
}

Result<MachineState> decode_machine_state(std::span<const std::byte> bytes,
                                          const SyntheticOptions& options) {
  Decoder decoder(bytes, "synthetic device state");
  if (decoder.u32("magic") != kStateMagic) decoder.reject("magic", "is wrong");
  MachineState state;
  state.actors.resize(decoder.count("actors", actor_count(options), sizeof(ActorState)));
  if (state.actors.size() != actor_count(options)) decoder.reject("actors", "are not as many");
  for (ActorState& actor : state.actors) {
    actor.random_state = decoder.u64("actors.random_state");
    actor.steps = decoder.u64("actors.steps");
  }
  state.saves = decoder.u64("saves");
  const std::vector<std::byte> extra = extra_state(options);
  const std::span<const std::byte> received = decoder.bytes("extra", kExtraStateBytesMax);
  if (!std::equal(received.begin(), received.end(), extra.begin(), extra.end()))
    decoder.reject("extra", "is not what the source saved");
  RETURN_IF_ERROR(decoder.finish());
  return state;
}

Result<std::unique_ptr<SyntheticMachine>> SyntheticMachine::open(const SyntheticOptions& options,
                                                                 MachineContent content) {
  CHECK(!options.blocks.empty());
  ASSIGN_OR_RETURN(std::unique_ptr<SyntheticMemory> memory, SyntheticMemory::open(options));
  std::unique_ptr<SyntheticMachine> machine(new SyntheticMachine(options, std::move(memory)));
  machine->fill(content);
  return machine;
}

SyntheticMachine::SyntheticMachine(const SyntheticOptions& options,
                                   std::unique_ptr<SyntheticMemory> memory)
    : options_(options), identity_(identity_of(options)), memory_(std::move(memory)) {
  size_t actor = 0;
  for (; actor < options.virtual_cpus; ++actor)
    virtual_cpus_.push_back(std::make_unique<VirtualCpu>(options_, actor, *memory_));
  if (actor < actor_count(options))
    device_ = std::make_unique<DmaDevice>(options_, actor, *memory_);
}

SyntheticMachine::~SyntheticMachine() {
  if (page_faults_) static_cast<void>(page_faults_->unregister_memory());
}

void SyntheticMachine::keep_page_faults(UniqueFd userfaultfd) {
  CHECK(!page_faults_);
  page_faults_.emplace(std::move(userfaultfd), memory_->agent());
}

void SyntheticMachine::run() {
  if (before_run_) before_run_();
  running_ = true;
  for (auto& cpu : virtual_cpus_) cpu->thread().resume();
  if (device_) device_->thread().resume();
}

void SyntheticMachine::pause() {
  // All at once, then wait for each. The device last: a vCPU may not find it gone.
  for (auto& cpu : virtual_cpus_) cpu->thread().request_pause();
  for (auto& cpu : virtual_cpus_) cpu->thread().pause();
  if (device_) device_->thread().pause();
  running_ = false;
}

MachineState SyntheticMachine::state() const {
  CHECK(!running_);
  MachineState state;
  for (const auto& cpu : virtual_cpus_) state.actors.push_back(cpu->state());
  if (device_) state.actors.push_back(device_->state());
  state.saves = saves_;
  return state;
}

MachineState SyntheticMachine::save() {
  ++saves_;
  const uint64_t word = saved_word(options_, saves_);
  std::memcpy(memory_->guest()[0].memory.data(), &word, sizeof word);
  return state();
}

Status SyntheticMachine::load(const MachineState& state) {
  CHECK(!running_);
  CHECK(state.actors.size() == actor_count(options_));
  uint64_t word = 0;
  std::memcpy(&word, memory_->guest()[0].memory.data(), sizeof word);
  if (state.saves > 0 && word != saved_word(options_, state.saves)) {
    return fail(Errc::kGuest, "memory is not what it was when the devices were saved");
  }

  for (size_t actor = 0; actor < virtual_cpus_.size(); ++actor)
    virtual_cpus_[actor]->restore(state.actors[actor]);
  if (device_) device_->restore(state.actors.back());
  saves_ = state.saves;
  return {};
}

Status SyntheticMachine::attempt(SyntheticOperation operation) {
  if (operation != options_.failing_operation) return {};
  if (failing_calls_++ != options_.failing_call) return {};
  return fail(Errc::kGuest, "the synthetic VMM was told to fail here");
}

void SyntheticMachine::fill(MachineContent content) {
  const PageDirectory directory(options_.blocks);
  for (uint64_t page = 0; page < directory.page_count(); ++page) {
    const PageLocation location = directory.locate(page);
    const std::span<std::byte> bytes = page_at(memory_->guest(), location);
    if (content == MachineContent::kStale) {
      const uint64_t seed = ~initial_page(options_, page).seed;
      if (seed % 100 < options_.stale_percent) fill_random(bytes.first(kBasePageBytes), seed);
      continue;
    }
    const InitialPage initial = initial_page(options_, page);
    if (initial.content == InitialContent::kZero) std::memset(bytes.data(), 0, kBasePageBytes);
    if (initial.content == InitialContent::kRandom) fill_random(bytes, initial.seed);
  }
}

}  // namespace godwit
