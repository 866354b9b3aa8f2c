// SPDX-License-Identifier: Apache-2.0
//
// One describe() per message: its fields in wire order, with their limits and rules.
//
// A wire number is a position in ControlMessage plus one, and never changes its meaning: a new
// message goes to the end of ControlMessage. 0 is no message.
#include "engine/wire/messages.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "engine/wire/fields.h"

namespace godwit {
namespace {

using wire::FieldReader;
using wire::FieldWriter;
using wire::OneOf;

bool is_session_name(const std::string& session) {
  return session.size() == 16 && std::all_of(session.begin(), session.end(), [](char letter) {
           return (letter >= '0' && letter <= '9') || (letter >= 'a' && letter <= 'f');
         });
}

bool is_page_size(uint64_t bytes) {
  return std::has_single_bit(bytes) && bytes >= kBasePageBytes;
}

bool is_bench_memory_size(uint64_t bytes) {
  return bytes > 0 && bytes <= kBenchMemoryBytesMax && bytes % kBasePageBytes == 0;
}

template <typename Fields>
void describe(Fields& fields, OneOf<Hello> auto& message) {
  fields.number("protocol_version", message.protocol_version);
  fields.text("software", message.software, kNameBytesMax);
  fields.text("session", message.session, kNameBytesMax);
  fields.require("session", "is not 16 hexadecimal digits",
                 [&] { return is_session_name(message.session); });
  fields.choice("role", message.role, Role::kDestination);
  fields.choice("purpose", message.purpose, Purpose::kMatrix);
}

template <typename Fields>
void describe(Fields& fields, OneOf<BlockDescription> auto& block) {
  fields.text("blocks.name", block.name, kNameBytesMax);
  fields.number("blocks.size_bytes", block.size_bytes);
  fields.number("blocks.page_size_bytes", block.page_size_bytes);
  fields.number("blocks.numa_node", block.numa_node);
  fields.require("blocks.page_size_bytes", "is not a page size",
                 [&] { return is_page_size(block.page_size_bytes); });
  fields.require("blocks.size_bytes", "is not a number of pages", [&] {
    return block.size_bytes > 0 && block.size_bytes % block.page_size_bytes == 0;
  });
  fields.require("blocks.numa_node", "is not a node", [&] { return block.numa_node >= -1; });
}

template <typename Fields>
void describe(Fields& fields, OneOf<RemoteRegion> auto& region) {
  fields.number("regions.base", region.base);
  fields.number("regions.size_bytes", region.size_bytes);
  fields.number("regions.key", region.key);
}

template <typename Fields>
void describe(Fields& fields, OneOf<OfferedRail> auto& rail) {
  fields.text("rails.name", rail.name, kNameBytesMax);
  fields.text("rails.transport", rail.transport, kNameBytesMax);
  fields.number("rails.numa_node", rail.numa_node);
  fields.require("rails.numa_node", "is not a node", [&] { return rail.numa_node >= -1; });
}

template <typename Fields>
void describe(Fields& fields, OneOf<AcceptedRail> auto& rail) {
  fields.text("rails.name", rail.name, kNameBytesMax);
  fields.text("rails.transport", rail.transport, kNameBytesMax);
  fields.text("rails.address", rail.address, kAddressBytesMax);
  fields.number("rails.numa_node", rail.numa_node);
  fields.require("rails.numa_node", "is not a node", [&] { return rail.numa_node >= -1; });
  fields.list("rails.regions", rail.regions,
              {.count_max = kBlocksMax, .element_bytes_min = sizeof(RemoteRegion)},
              [](auto& list, auto& region) { describe(list, region); });
}

template <typename Fields>
void describe(Fields& fields, OneOf<ServedRail> auto& rail) {
  fields.text("rails.transport", rail.transport, kNameBytesMax);
  fields.list("rails.regions", rail.regions,
              {.count_max = kBlocksMax, .element_bytes_min = sizeof(RemoteRegion)},
              [](auto& list, auto& region) { describe(list, region); });
}

template <typename Fields>
void describe(Fields& fields, OneOf<PageRun> auto& run) {
  fields.number("runs.first_page", run.first_page);
  fields.number("runs.page_count", run.page_count);
}

template <typename Fields>
void describe(Fields& fields, OneOf<LinkDescription> auto& link) {
  fields.text("links.device", link.device, kNameBytesMax);
  fields.number("links.line_rate_bits_per_s", link.line_rate_bits_per_s);
  fields.number("links.mtu_bytes", link.mtu_bytes);
  fields.list("links.suspicions", link.suspicions,
              {.count_max = kBenchSuspicionsMax, .element_bytes_min = 4},
              [](auto& list, auto& text) { list.text("links.suspicions", text, kReasonBytesMax); });
}

constexpr auto kDescribeElement = [](auto& fields, auto& element) { describe(fields, element); };

template <typename Fields>
void describe(Fields& fields, OneOf<Offer> auto& message) {
  fields.map("identity", message.identity, {kIdentityEntriesMax, kIdentityTextBytesMax});
  fields.list("blocks", message.blocks,
              {.count_max = kBlocksMax, .element_bytes_min = 4 + 8 + 8 + 4}, kDescribeElement);
  fields.list("rails", message.rails, {.count_max = kRailsMax, .element_bytes_min = 4 + 4 + 4},
              kDescribeElement);
  fields.require("rails", "is empty", [&] { return !message.rails.empty(); });
  fields.choice("verification", message.verification, Verification::kOn);
  fields.choice("checksum", message.checksum, PayloadChecksum::kCrc32c);
}

template <typename Fields>
void describe(Fields& fields, OneOf<Accept> auto& message) {
  fields.list("block_nodes", message.block_nodes,
              {.count_max = kBlocksMax, .element_bytes_min = sizeof(int32_t)},
              [](auto& list, auto& node) { list.number("block_nodes", node); });
  fields.list("rails", message.rails,
              {.count_max = kRailsMax, .element_bytes_min = 4 + 4 + 4 + 4 + 4}, kDescribeElement);
  fields.require("rails", "is empty", [&] { return !message.rails.empty(); });
}

template <typename Fields>
void describe(Fields& fields, OneOf<Refuse> auto& message) {
  fields.text("reason", message.reason, kReasonBytesMax);
}

template <typename Fields>
void describe(Fields& fields, OneOf<CloseLane> auto& message) {
  fields.number("lane", message.lane);
}

template <typename Fields>
void describe(Fields& fields, OneOf<LaneClosed> auto& message) {
  fields.number("lane", message.lane);
  fields.text("reason", message.reason, kReasonBytesMax);
}

template <typename Fields>
void describe(Fields&, OneOf<LanesReady> auto&) {}

template <typename Fields>
void describe(Fields& fields, OneOf<StatePiece> auto& message) {
  fields.blob("content", message.content, kStatePieceBytesMax);
}

template <typename Fields>
void describe(Fields& fields, OneOf<StateEnd> auto& message) {
  fields.number("total_bytes", message.total_bytes);
  fields.number("xxh3", message.xxh3);
}

template <typename Fields>
void describe(Fields& fields, OneOf<VerifyRequest> auto& message) {
  fields.number("chunk_bytes", message.chunk_bytes);
  fields.require("chunk_bytes", "is not a power of two of at least 4 KiB",
                 [&] { return is_page_size(message.chunk_bytes); });
}

template <typename Fields>
void describe(Fields& fields, OneOf<VerifyHashes> auto& message) {
  fields.number("block", message.block);
  fields.number("first_chunk", message.first_chunk);
  fields.list("hashes", message.hashes,
              {.count_max = kVerifyHashesMax, .element_bytes_min = sizeof(uint64_t)},
              [](auto& list, auto& hash) { list.number("hashes", hash); });
  fields.require("hashes", "is empty", [&] { return !message.hashes.empty(); });
}

template <typename Fields>
void describe(Fields& fields, OneOf<VerifyResult> auto& message) {
  fields.number("checked_bytes", message.checked_bytes);
  fields.number("mismatches", message.mismatches);
  fields.text("first_mismatch", message.first_mismatch, kReasonBytesMax);
}

template <typename Fields>
void describe(Fields& fields, OneOf<MemoryComplete> auto& message) {
  fields.number("pages_written", message.pages_written);
  fields.number("zero_pages", message.zero_pages);
}

template <typename Fields>
void describe(Fields& fields, OneOf<Ready> auto& message) {
  fields.measure("load_ms", message.load_ms);
}

template <typename Fields>
void describe(Fields&, OneOf<Commit> auto&) {}

template <typename Fields>
void describe(Fields& fields, OneOf<Running> auto& message) {
  fields.measure("start_ms", message.start_ms);
}

template <typename Fields>
void describe(Fields& fields, OneOf<Returned> auto& message) {
  fields.text("reason", message.reason, kReasonBytesMax);
}

template <typename Fields>
void describe(Fields& fields, OneOf<Abort> auto& message) {
  fields.choice("code", message.code, Errc::kInDoubt);
  fields.text("reason", message.reason, kReasonBytesMax);
}

template <typename Fields>
void describe(Fields&, OneOf<Heartbeat> auto&) {}

template <typename Fields>
void describe(Fields& fields, OneOf<PreparePostCopy> auto& message) {
  fields.list("rails", message.rails, {.count_max = kRailsMax, .element_bytes_min = 4 + 4},
              kDescribeElement);
  fields.require("rails", "is empty", [&] { return !message.rails.empty(); });
  fields.number("bandwidth_limit_bytes_per_s", message.bandwidth_limit_bytes_per_s);
}

template <typename Fields>
void describe(Fields& fields, OneOf<PostCopyPrepared> auto& message) {
  fields.text("reason", message.reason, kReasonBytesMax);
  fields.list("rails", message.rails,
              {.count_max = kRailsMax, .element_bytes_min = 4 + 4 + 4 + 4 + 4}, kDescribeElement);
  fields.choice("hand_over", message.hand_over, HandOver::kCommitted);
}

template <typename Fields>
void describe(Fields& fields, OneOf<MissingPages> auto& message) {
  fields.number("block", message.block);
  fields.number("first_word", message.first_word);
  fields.list("words", message.words,
              {.count_max = kPageWordsMax, .element_bytes_min = sizeof(uint64_t)},
              [](auto& list, auto& word) { list.number("words", word); });
  fields.require("words", "is empty", [&] { return !message.words.empty(); });
}

template <typename Fields>
void describe(Fields& fields, OneOf<ZeroPages> auto& message) {
  fields.number("block", message.block);
  fields.list("runs", message.runs, {.count_max = kPageRunsMax, .element_bytes_min = 8 + 8},
              kDescribeElement);
  fields.require("runs", "is empty", [&] { return !message.runs.empty(); });
}

template <typename Fields>
void describe(Fields& fields, OneOf<FetchProgress> auto& message) {
  fields.number("outstanding_bytes", message.outstanding_bytes);
  fields.number("fetched_bytes", message.fetched_bytes);
  fields.number("faults", message.faults);
  fields.measure("fault_p50_us", message.fault_p50_us);
  fields.measure("fault_p99_us", message.fault_p99_us);
  fields.measure("fault_max_us", message.fault_max_us);
}

template <typename Fields>
void describe(Fields&, OneOf<FetchComplete> auto&) {}

template <typename Fields>
void describe(Fields&, OneOf<Released> auto&) {}

template <typename Fields>
void describe(Fields& fields, OneOf<OpenStream> auto& message) {
  fields.list("rails", message.rails, {.count_max = kRailsMax, .element_bytes_min = 4 + 4},
              kDescribeElement);
  fields.require("rails", "is empty", [&] { return !message.rails.empty(); });
  fields.choice("content", message.content, StreamContent::kGuestBesideChannels);
  fields.text("guest", message.guest, kNameBytesMax);
}

template <typename Fields>
void describe(Fields& fields, OneOf<StreamOpened> auto& message) {
  fields.list("rails", message.rails,
              {.count_max = kRailsMax, .element_bytes_min = 4 + 4 + 4 + 4 + 4}, kDescribeElement);
  fields.require("rails", "is empty", [&] { return !message.rails.empty(); });
  fields.list("blocks", message.blocks,
              {.count_max = kBlocksMax, .element_bytes_min = 4 + 8 + 8 + 4}, kDescribeElement);
  fields.text("note", message.note, kReasonBytesMax);
}

template <typename Fields>
void describe(Fields&, OneOf<StreamClosed> auto&) {}

template <typename Fields>
void describe(Fields& fields, OneOf<OpenBench> auto& message) {
  fields.list("rails", message.rails, {.count_max = kRailsMax, .element_bytes_min = 4 + 4 + 4},
              kDescribeElement);
  fields.require("rails", "is empty", [&] { return !message.rails.empty(); });
  fields.number("memory_bytes", message.memory_bytes);
  fields.require("memory_bytes", "is not a size",
                 [&] { return is_bench_memory_size(message.memory_bytes); });
  fields.list("memory_nodes", message.memory_nodes,
              {.count_max = kBenchMemoriesMax, .element_bytes_min = sizeof(int32_t)},
              [](auto& list, auto& node) {
                list.number("memory_nodes", node);
                list.require("memory_nodes", "has what is no node", [&] { return node >= -1; });
              });
  fields.require("memory_nodes", "is empty", [&] { return !message.memory_nodes.empty(); });
}

template <typename Fields>
void describe(Fields& fields, OneOf<BenchOpened> auto& message) {
  fields.list("rails", message.rails,
              {.count_max = kRailsMax, .element_bytes_min = 4 + 4 + 4 + 4 + 4}, kDescribeElement);
  fields.require("rails", "is empty", [&] { return !message.rails.empty(); });
  fields.list("links", message.links, {.count_max = kRailsMax, .element_bytes_min = 4 + 8 + 4 + 4},
              kDescribeElement);
  fields.require("links", "is not one for each rail",
                 [&] { return message.links.size() == message.rails.size(); });
}

template <typename Fields>
void describe(Fields&, OneOf<AskCpuTime> auto&) {}

template <typename Fields>
void describe(Fields& fields, OneOf<CpuTime> auto& message) {
  fields.measure("cpu_s", message.cpu_s);
  fields.measure("machine_s", message.machine_s);
}

template <typename Fields>
void describe(Fields& fields, OneOf<JoinPeer> auto& message) {
  fields.list("addresses", message.addresses,
              {.count_max = kPeerAddressesMax, .element_bytes_min = 4},
              [](auto& list, auto& address) { list.text("addresses", address, kAddressBytesMax); });
  fields.require("addresses", "is empty", [&] { return !message.addresses.empty(); });
  fields.number("memory_bytes", message.memory_bytes);
  fields.require("memory_bytes", "is not a size",
                 [&] { return is_bench_memory_size(message.memory_bytes); });
  fields.number("lanes", message.lanes);
  fields.require("lanes", "is not a number of lanes",
                 [&] { return message.lanes > 0 && message.lanes <= kLanesMax; });
}

template <typename Fields>
void describe(Fields& fields, OneOf<PeerJoined> auto& message) {
  fields.text("address", message.address, kAddressBytesMax);
  fields.text("transport", message.transport, kNameBytesMax);
  fields.number("line_rate_bits_per_s", message.line_rate_bits_per_s);
}

template <typename Fields>
void describe(Fields& fields, OneOf<MeasurePeer> auto& message) {
  fields.number("write_ms", message.write_ms);
  fields.number("read_ms", message.read_ms);
  fields.require("write_ms", "is too long", [&] { return message.write_ms <= kMeasureMsMax; });
  fields.require("read_ms", "is too long", [&] { return message.read_ms <= kMeasureMsMax; });
}

template <typename Fields>
void describe(Fields& fields, OneOf<PeerMeasured> auto& message) {
  fields.measure("bytes_per_s", message.bytes_per_s);
  fields.measure("half_width_bytes_per_s", message.half_width_bytes_per_s);
  fields.number("moved_bytes", message.moved_bytes);
  fields.number("reads", message.reads);
  fields.measure("read_p50_us", message.read_p50_us);
  fields.measure("read_p99_us", message.read_p99_us);
}

template <typename Fields>
void describe(Fields& fields, OneOf<PeerFailed> auto& message) {
  fields.text("reason", message.reason, kReasonBytesMax);
}

// Names in the order of ControlMessage.
constexpr const char* kControlNames[] = {"Hello",          "Offer",           "Accept",
                                         "Refuse",         "CloseLane",       "LaneClosed",
                                         "LanesReady",     "StatePiece",      "StateEnd",
                                         "VerifyRequest",  "VerifyHashes",    "VerifyResult",
                                         "MemoryComplete", "Ready",           "Commit",
                                         "Running",        "Returned",        "Abort",
                                         "Heartbeat",      "PreparePostCopy", "PostCopyPrepared",
                                         "MissingPages",   "ZeroPages",       "FetchProgress",
                                         "FetchComplete",  "Released",        "OpenStream",
                                         "StreamOpened",   "StreamClosed",    "OpenBench",
                                         "BenchOpened",    "AskCpuTime",      "CpuTime",
                                         "JoinPeer",       "PeerJoined",      "MeasurePeer",
                                         "PeerMeasured",   "PeerFailed"};
static_assert(std::size(kControlNames) == std::variant_size_v<ControlMessage>);

template <size_t kIndex>
Result<ControlMessage> decode_alternative(std::span<const std::byte> fields_bytes) {
  std::variant_alternative_t<kIndex, ControlMessage> message;
  Decoder decoder(fields_bytes, kControlNames[kIndex]);
  FieldReader fields(decoder);
  describe(fields, message);
  RETURN_IF_ERROR(decoder.finish());
  return ControlMessage(std::move(message));
}

template <size_t... kIndices>
Result<ControlMessage> decode_index(size_t index, std::span<const std::byte> fields_bytes,
                                    std::index_sequence<kIndices...>) {
  using DecodeAlternative = Result<ControlMessage> (*)(std::span<const std::byte>);
  constexpr DecodeAlternative kDecoders[] = {decode_alternative<kIndices>...};
  return kDecoders[index](fields_bytes);
}

}  // namespace

namespace {

bool same_regions(const std::vector<RemoteRegion>& left, const std::vector<RemoteRegion>& right) {
  return std::ranges::equal(left, right, [](const RemoteRegion& a, const RemoteRegion& b) {
    return a.base == b.base && a.size_bytes == b.size_bytes && a.key == b.key;
  });
}

}  // namespace

bool operator==(const ServedRail& left, const ServedRail& right) {
  return left.transport == right.transport && same_regions(left.regions, right.regions);
}

bool operator==(const AcceptedRail& left, const AcceptedRail& right) {
  return left.name == right.name && left.transport == right.transport &&
         left.address == right.address && left.numa_node == right.numa_node &&
         same_regions(left.regions, right.regions);
}

const char* name_of(const ControlMessage& message) {
  return kControlNames[message.index()];
}

std::vector<std::byte> encode(const ControlMessage& message) {
  std::vector<std::byte> output;
  output.push_back(static_cast<std::byte>(message.index() + 1));
  FieldWriter fields(output);
  std::visit([&fields](const auto& alternative) { describe(fields, alternative); }, message);
  return output;
}

Result<ControlMessage> decode(std::span<const std::byte> bytes) {
  if (bytes.empty()) return fail(Errc::kCorrupt, "control message without a type");

  constexpr size_t kTypes = std::variant_size_v<ControlMessage>;
  const auto type = std::to_integer<size_t>(bytes[0]);
  if (type < 1 || type > kTypes)
    return fail(Errc::kCorrupt, "control message of unknown type {}", type);
  return decode_index(type - 1, bytes.subspan(1), std::make_index_sequence<kTypes>{});
}

}  // namespace godwit
