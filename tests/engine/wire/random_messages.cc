// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/wire/random_messages.h"

#include <array>
#include <utility>

namespace godwit {

std::string RandomMessages::text(size_t bytes_max) {
  std::string result(below(bytes_max + 1), '\0');
  for (char& letter : result) letter = static_cast<char>(number());
  return result;
}

template <>
Hello RandomMessages::any() {
  Hello message;
  message.protocol_version = static_cast<uint32_t>(number());
  message.software = text(40);
  for (int i = 0; i < 16; ++i) message.session.push_back("0123456789abcdef"[below(16)]);
  message.role = below(2) == 0 ? Role::kSource : Role::kDestination;
  message.purpose = static_cast<Purpose>(1 + below(5));
  return message;
}

template <>
Offer RandomMessages::any() {
  Offer message;
  const uint64_t entries = below(6);
  for (uint64_t i = 0; i < entries; ++i) message.identity[text(20)] = text(30);
  message.blocks.resize(below(5));
  for (BlockDescription& block : message.blocks) {
    block.name = text(30);
    block.page_size_bytes = uint64_t{4096} << below(19);
    block.size_bytes = block.page_size_bytes * (1 + below(1 << 20));
    block.numa_node = static_cast<int32_t>(below(9)) - 1;
  }
  message.rails.resize(1 + below(4));
  for (OfferedRail& rail : message.rails)
    rail = {text(8), text(8), static_cast<int32_t>(below(9)) - 1};
  message.verification = below(2) == 0 ? Verification::kOff : Verification::kOn;
  message.checksum = below(2) == 0 ? PayloadChecksum::kNone : PayloadChecksum::kCrc32c;
  return message;
}

template <>
Accept RandomMessages::any() {
  Accept message;
  message.rails.resize(1 + below(4));
  for (AcceptedRail& rail : message.rails) {
    rail = {text(8), text(8), text(40), static_cast<int32_t>(below(9)) - 1, {}};
    rail.regions.resize(below(6));
    for (RemoteRegion& region : rail.regions) region = {number(), number(), number()};
  }
  message.block_nodes.resize(below(6));
  for (int32_t& node : message.block_nodes) node = static_cast<int32_t>(below(9)) - 1;
  return message;
}

template <>
Refuse RandomMessages::any() {
  return {text(100)};
}

template <>
CloseLane RandomMessages::any() {
  return {static_cast<uint32_t>(number())};
}

template <>
LaneClosed RandomMessages::any() {
  return {static_cast<uint32_t>(number()), text(100)};
}

template <>
LanesReady RandomMessages::any() {
  return {};
}

template <>
StatePiece RandomMessages::any() {
  StatePiece message;
  message.content.resize(below(300));
  for (std::byte& value : message.content) value = static_cast<std::byte>(number());
  return message;
}

template <>
StateEnd RandomMessages::any() {
  return {number(), number()};
}

template <>
VerifyRequest RandomMessages::any() {
  return {uint64_t{4096} << below(30)};
}

template <>
VerifyHashes RandomMessages::any() {
  VerifyHashes message{static_cast<uint32_t>(number()), number(), {}};
  message.hashes.resize(1 + below(20));
  for (uint64_t& hash : message.hashes) hash = number();
  return message;
}

template <>
VerifyResult RandomMessages::any() {
  return {number(), number(), text(60)};
}

template <>
MemoryComplete RandomMessages::any() {
  return {number(), number()};
}

template <>
Ready RandomMessages::any() {
  return {measure()};
}

template <>
Commit RandomMessages::any() {
  return {};
}

template <>
Running RandomMessages::any() {
  return {measure()};
}

template <>
Returned RandomMessages::any() {
  return {text(100)};
}

template <>
Abort RandomMessages::any() {
  return {static_cast<Errc>(1 + below(8)), text(100)};
}

template <>
Heartbeat RandomMessages::any() {
  return {};
}

template <>
PreparePostCopy RandomMessages::any() {
  PreparePostCopy message;
  message.rails.resize(1 + below(4));
  for (ServedRail& rail : message.rails) {
    rail.transport = text(8);
    rail.regions.resize(below(6));
    for (RemoteRegion& region : rail.regions) region = {number(), number(), number()};
  }
  message.bandwidth_limit_bytes_per_s = number();
  return message;
}

template <>
PostCopyPrepared RandomMessages::any() {
  PostCopyPrepared message;
  message.reason = text(40);
  message.rails = any<Accept>().rails;
  message.hand_over = below(2) == 0 ? HandOver::kUncommitted : HandOver::kCommitted;
  return message;
}

template <>
MissingPages RandomMessages::any() {
  MissingPages message{static_cast<uint32_t>(number()), number(), {}};
  message.words.resize(1 + below(20));
  for (uint64_t& word : message.words) word = number();
  return message;
}

template <>
ZeroPages RandomMessages::any() {
  ZeroPages message{static_cast<uint32_t>(number()), {}};
  message.runs.resize(1 + below(20));
  for (PageRun& run : message.runs) run = {number(), number()};
  return message;
}

template <>
FetchProgress RandomMessages::any() {
  return {number(), number(), number(), measure(), measure(), measure()};
}

template <>
FetchComplete RandomMessages::any() {
  return {};
}

template <>
Released RandomMessages::any() {
  return {};
}

template <>
OpenStream RandomMessages::any() {
  return {any<PreparePostCopy>().rails, static_cast<StreamContent>(1 + below(4)), text(30)};
}

template <>
StreamOpened RandomMessages::any() {
  return {any<Accept>().rails, any<Offer>().blocks, text(40)};
}

template <>
StreamClosed RandomMessages::any() {
  return {};
}

template <>
OpenBench RandomMessages::any() {
  OpenBench message{any<Offer>().rails, uint64_t{4096} * (1 + below(1 << 20)), {}};
  message.memory_nodes.resize(1 + below(kBenchMemoriesMax));
  for (int32_t& node : message.memory_nodes) node = static_cast<int32_t>(below(9)) - 1;
  return message;
}

template <>
BenchOpened RandomMessages::any() {
  BenchOpened message{any<Accept>().rails, {}};
  for (size_t i = 0; i < message.rails.size(); ++i)
    message.links.push_back({text(8), number(), static_cast<uint32_t>(number()), {text(40)}});
  return message;
}

template <>
AskCpuTime RandomMessages::any() {
  return {};
}

template <>
CpuTime RandomMessages::any() {
  return {measure(), measure()};
}

template <>
JoinPeer RandomMessages::any() {
  JoinPeer message{
      {}, uint64_t{4096} * (1 + below(1 << 20)), static_cast<uint32_t>(1 + below(kLanesMax))};
  message.addresses.resize(1 + below(kPeerAddressesMax));
  for (std::string& address : message.addresses) address = text(30);
  return message;
}

template <>
PeerJoined RandomMessages::any() {
  return {text(30), text(8), number()};
}

template <>
MeasurePeer RandomMessages::any() {
  return {static_cast<uint32_t>(below(kMeasureMsMax)), static_cast<uint32_t>(below(kMeasureMsMax))};
}

template <>
PeerMeasured RandomMessages::any() {
  return {measure(), measure(), number(), number(), measure(), measure()};
}

template <>
PeerFailed RandomMessages::any() {
  return {text(40)};
}

template <>
StreamFilled RandomMessages::any() {
  return {number(), static_cast<StreamEnd>(1 + below(2))};
}

template <>
StreamDrained RandomMessages::any() {
  return {number(), static_cast<StreamEnd>(1 + below(2))};
}

template <>
FetchLane RandomMessages::any() {
  return {below(2) == 0 ? FetchKind::kFaults : FetchKind::kBackground,
          static_cast<uint32_t>(number())};
}

template <>
ZeroRuns RandomMessages::any() {
  ZeroRuns message{static_cast<uint32_t>(number()),
                   below(2) == 0 ? PageHistory::kUntouched : PageHistory::kSent,
                   {}};
  message.runs.resize(1 + below(20));
  for (PageRun& run : message.runs) run = {number(), 1 + below(~uint64_t{0})};
  return message;
}

template <>
RoundEnd RandomMessages::any() {
  return {static_cast<uint32_t>(number())};
}

template <>
RoundDone RandomMessages::any() {
  return {static_cast<uint32_t>(number()), number()};
}

ControlMessage RandomMessages::control_message(size_t index) {
  return [&]<size_t... kIndices>(std::index_sequence<kIndices...>) {
    ControlMessage message;
    static_cast<void>(
        ((index == kIndices &&
          (message = any<std::variant_alternative_t<kIndices, ControlMessage>>(), true)) ||
         ...));
    return message;
  }
  (std::make_index_sequence<std::variant_size_v<ControlMessage>>{});
}

LaneMessage RandomMessages::lane_message(size_t index) {
  switch (index) {
    case 0:
      return any<ZeroRuns>();
    case 1:
      return any<RoundEnd>();
    case 2:
      return any<RoundDone>();
    case 3:
      return any<FetchLane>();
    case 4:
      return any<StreamFilled>();
    default:
      return any<StreamDrained>();
  }
}

}  // namespace godwit
