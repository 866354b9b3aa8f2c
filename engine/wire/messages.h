// SPDX-License-Identifier: Apache-2.0
//
// The messages of the control connection, as plain structs. README.md shows their order.
//
// Every message is one type byte and its fields (codec.h). Decoding checks everything that needs no
// context: limits, enumerators, that nothing is missing or left over. What a message means in the
// current state is for the state machines in engine/migration.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/page_bitmap.h"
#include "engine/transport.h"

namespace godwit {

// Two agents that do not speak the same version refuse each other.
inline constexpr uint32_t kProtocolVersion = 6;

// Limits. A list that is longer must not be sent (CHECK); a text that is longer is cut.
inline constexpr size_t kNameBytesMax = 256;
inline constexpr size_t kAddressBytesMax = 512;
inline constexpr size_t kReasonBytesMax = 1024;
inline constexpr size_t kIdentityEntriesMax = 64;
inline constexpr size_t kIdentityTextBytesMax = 4096;
inline constexpr size_t kBlocksMax = 1024;
inline constexpr uint32_t kLanesMax = 256;
inline constexpr size_t kRailsMax = 64;
inline constexpr size_t kStatePieceBytesMax = 1 << 20;
inline constexpr size_t kVerifyHashesMax = 65536;
inline constexpr size_t kPageWordsMax = 65536;  // 4 Mi pages
inline constexpr size_t kPageRunsMax = 4096;
inline constexpr size_t kBenchMemoriesMax = 8;
inline constexpr uint64_t kBenchMemoryBytesMax = uint64_t{4} << 30;
inline constexpr size_t kBenchSuspicionsMax = 8;
inline constexpr size_t kPeerAddressesMax = 16;
inline constexpr uint32_t kMeasureMsMax = 600'000;

enum class Role : uint8_t { kSource = 1, kDestination = 2 };
enum class Verification : uint8_t { kOff = 1, kOn = 2 };
enum class PayloadChecksum : uint8_t { kNone = 1, kCrc32c = 2 };
// What a connection is for: a migration, the rest of one whose guest was handed over already, a
// byte stream that is only passed on, or to measure the way between the hosts, two or many.
enum class Purpose : uint8_t {
  kMigrate = 1,
  kRejoin = 2,
  kRelay = 3,    // one byte stream, and nothing after it
  kChannel = 4,  // the VMM's own migration stream, and then the hand-over of its guest
  kBench = 5,    // no guest at all
  kMatrix = 6,   // the same, but the host that is connected to measures, towards others
};
// How far the destination of a rejoined session is.
enum class HandOver : uint8_t { kUncommitted = 1, kCommitted = 2 };

// Both ways, first.
struct Hello {
  uint32_t protocol_version = kProtocolVersion;
  std::string software;  // "godwit 0.1.0", for messages to people
  std::string session;   // 16 lower-case hexadecimal digits; the source chooses
  Role role = Role::kSource;
  Purpose purpose = Purpose::kMigrate;

  friend bool operator==(const Hello&, const Hello&) = default;
};

struct BlockDescription {
  std::string name;
  uint64_t size_bytes = 0;       // a multiple of page_size_bytes
  uint64_t page_size_bytes = 0;  // a power of two, at least 4 KiB
  int32_t numa_node = -1;

  friend bool operator==(const BlockDescription&, const BlockDescription&) = default;
};

// A way for pages (engine/rail.h), as the source names its own.
struct OfferedRail {
  std::string name;
  std::string transport;  // Capabilities::name: both ends of a rail have the same
  int32_t numa_node = -1;

  friend bool operator==(const OfferedRail&, const OfferedRail&) = default;
};

// The destination's end of one.
struct AcceptedRail {
  std::string name;
  std::string transport;
  std::string address;  // where its lanes connect to
  int32_t numa_node = -1;
  std::vector<RemoteRegion> regions;  // one per block, in the Offer's order

  friend bool operator==(const AcceptedRail&, const AcceptedRail&);
};

// Source -> destination: the guest, and how it would travel.
struct Offer {
  std::map<std::string, std::string> identity;
  std::vector<BlockDescription> blocks;
  std::vector<OfferedRail> rails;  // 1 .. kRailsMax
  Verification verification = Verification::kOff;
  PayloadChecksum checksum = PayloadChecksum::kCrc32c;

  friend bool operator==(const Offer&, const Offer&) = default;
};

// Destination -> source: come, here is where to write.
struct Accept {
  std::vector<AcceptedRail> rails;   // 1 .. kRailsMax, of transports that were offered
  std::vector<int32_t> block_nodes;  // where each block will lie, in the Offer's order; -1 anywhere

  friend bool operator==(const Accept&, const Accept&) = default;
};

// Either way, instead of an answer: nothing was touched.
struct Refuse {
  std::string reason;

  friend bool operator==(const Refuse&, const Refuse&) = default;
};

// Source -> destination: the lanes that there are at first have come.
struct LanesReady {
  friend bool operator==(const LanesReady&, const LanesReady&) = default;
};

// Source -> destination: this lane is given up, and nothing that it wrote counts. Lanes come
// without being announced: a number is used once, and has a token of its own
// (engine/lane_tickets.h).
struct CloseLane {
  uint32_t lane = 0;

  friend bool operator==(const CloseLane&, const CloseLane&) = default;
};

// Destination -> source: nothing of this lane can reach memory any more. The answer to CloseLane;
// comes by itself when the lane was lost here.
struct LaneClosed {
  uint32_t lane = 0;
  std::string reason;  // empty when the source wanted it

  friend bool operator==(const LaneClosed&, const LaneClosed&) = default;
};

// Source -> destination: device state, piece by piece, in order.
struct StatePiece {
  std::vector<std::byte> content;  // at most kStatePieceBytesMax

  friend bool operator==(const StatePiece&, const StatePiece&) = default;
};

struct StateEnd {
  uint64_t total_bytes = 0;
  uint64_t xxh3 = 0;  // XXH3-64 of all pieces together

  friend bool operator==(const StateEnd&, const StateEnd&) = default;
};

// Source -> destination: hash your memory in chunks of this size.
struct VerifyRequest {
  uint64_t chunk_bytes = 0;  // a power of two, at least 4 KiB

  friend bool operator==(const VerifyRequest&, const VerifyRequest&) = default;
};

// Hashes of consecutive chunks of one block.
struct VerifyHashes {
  uint32_t block = 0;
  uint64_t first_chunk = 0;
  std::vector<uint64_t> hashes;  // 1 .. kVerifyHashesMax

  friend bool operator==(const VerifyHashes&, const VerifyHashes&) = default;
};

struct VerifyResult {
  uint64_t checked_bytes = 0;
  uint64_t mismatches = 0;
  std::string first_mismatch;  // empty when there is none

  friend bool operator==(const VerifyResult&, const VerifyResult&) = default;
};

// Source -> destination: all memory is in place, or named as missing; load the state.
struct MemoryComplete {
  uint64_t pages_written = 0;
  uint64_t zero_pages = 0;

  friend bool operator==(const MemoryComplete&, const MemoryComplete&) = default;
};

// Destination -> source: loaded, could start at once.
struct Ready {
  double load_ms = 0;

  friend bool operator==(const Ready&, const Ready&) = default;
};

// Source -> destination: the guest is yours. From here on the source never runs it again by itself.
struct Commit {
  friend bool operator==(const Commit&, const Commit&) = default;
};

// Destination -> source: it runs here.
struct Running {
  double start_ms = 0;

  friend bool operator==(const Running&, const Running&) = default;
};

// Destination -> source, instead of Running: the guest was never told to run here, and never will
// be. It is the source's again.
struct Returned {
  std::string reason;

  friend bool operator==(const Returned&, const Returned&) = default;
};

// Either way, before the commit: it is over, and the guest stays at the source.
struct Abort {
  Errc code = Errc::kCancelled;
  std::string reason;

  friend bool operator==(const Abort&, const Abort&) = default;
};

// Either way, whenever there was nothing else to say for a while.
struct Heartbeat {
  friend bool operator==(const Heartbeat&, const Heartbeat&) = default;
};

// One rail's end at the source, from which the destination may read guest memory.
struct ServedRail {
  std::string transport;
  std::vector<RemoteRegion> regions;  // one per block, in the Offer's order; none: cannot be used

  friend bool operator==(const ServedRail&, const ServedRail&);
};

// Source -> destination: the guest will be handed over before all its memory is there. Fetch lanes
// (lane_messages.h) name one of these rails. Comes again in a rejoined session, with other keys.
struct PreparePostCopy {
  std::vector<ServedRail> rails;             // 1 .. kRailsMax
  uint64_t bandwidth_limit_bytes_per_s = 0;  // for what the guest does not wait for; 0 = unlimited

  friend bool operator==(const PreparePostCopy&, const PreparePostCopy&) = default;
};

// Destination -> source: pages can be missing now, and fetch lanes are welcome. With a reason: they
// cannot, and nothing has changed.
struct PostCopyPrepared {
  std::string reason;
  std::vector<AcceptedRail> rails;  // of a rejoined session: where its lanes connect to; else empty
  HandOver hand_over = HandOver::kUncommitted;

  friend bool operator==(const PostCopyPrepared&, const PostCopyPrepared&) = default;
};

// Source -> destination, with the guest paused: pages of one block that the destination does not
// have, 64 to a word, bit n of word n. Words that are not sent are 0.
struct MissingPages {
  uint32_t block = 0;
  uint64_t first_word = 0;
  std::vector<uint64_t> words;  // 1 .. kPageWordsMax

  friend bool operator==(const MissingPages&, const MissingPages&) = default;
};

// Source -> destination: these missing pages are zero, and need not be fetched.
struct ZeroPages {
  uint32_t block = 0;
  std::vector<PageRun> runs;  // 1 .. kPageRunsMax

  friend bool operator==(const ZeroPages&, const ZeroPages&) = default;
};

// Destination -> source, about once per second: how far fetching is.
struct FetchProgress {
  uint64_t outstanding_bytes = 0;
  uint64_t fetched_bytes = 0;
  uint64_t faults = 0;
  double fault_p50_us = 0;
  double fault_p99_us = 0;
  double fault_max_us = 0;

  friend bool operator==(const FetchProgress&, const FetchProgress&) = default;
};

// Destination -> source: the last page is here. The source's memory is not needed any more.
struct FetchComplete {
  friend bool operator==(const FetchComplete&, const FetchComplete&) = default;
};

// The answer of each side to the other's last word: it knows, and does not come back.
struct Released {
  friend bool operator==(const Released&, const Released&) = default;
};

// What the source takes a byte stream for.
enum class StreamContent : uint8_t {
  kBytes = 1,
  kGuest = 2,  // with pages of guest memory, which it can tell from the rest
  // The same, and some of them may come after the guest runs: the VMM that waits has to know.
  kGuestInPostCopy = 3,
  kGuestBesideChannels =
      4,  // it can take apart further channels, too, by which the VMM sends pages
};

// Source -> destination: a byte stream, which the destination passes on to where it belongs.
struct OpenStream {
  std::vector<ServedRail> rails;  // 1 .. kRailsMax; regions: for what comes back, then an Offer's
  StreamContent content = StreamContent::kBytes;
  std::string guest;  // the name by which the destination knows where it goes; empty: there is one

  friend bool operator==(const OpenStream&, const OpenStream&) = default;
};

// Destination -> source: it has somewhere to go. Stream lanes (lane_messages.h) may come.
//
// Pages of these blocks may be put into their memory instead. Each rail has one region for where
// the stream arrives, and then one for each block.
struct StreamOpened {
  std::vector<AcceptedRail> rails;  // 1 .. kRailsMax
  std::vector<BlockDescription> blocks;
  std::string note;  // why there is none, where the source asked for them

  friend bool operator==(const StreamOpened&, const StreamOpened&) = default;
};

// Destination -> source: both directions have ended, and everything was passed on.
struct StreamClosed {
  friend bool operator==(const StreamClosed&, const StreamClosed&) = default;
};

// Who measures -> who serves: these are our rails, and this memory is wanted.
struct OpenBench {
  std::vector<OfferedRail> rails;  // 1 .. kRailsMax
  uint64_t memory_bytes = 0;       // of each; 1 .. kBenchMemoryBytesMax
  // One memory for each: the node that it lies on; -1 anywhere.
  std::vector<int32_t> memory_nodes;  // 1 .. kBenchMemoriesMax

  friend bool operator==(const OpenBench&, const OpenBench&) = default;
};

// What a rail is joined to, as its host knows it; empty and 0 where that is not known.
struct LinkDescription {
  std::string device;
  uint64_t line_rate_bits_per_s = 0;
  uint32_t mtu_bytes = 0;
  std::vector<std::string> suspicions;  // what may hold it back; at most kBenchSuspicionsMax

  friend bool operator==(const LinkDescription&, const LinkDescription&) = default;
};

// Who serves -> who measures: lanes may come, whose messages all come back.
struct BenchOpened {
  std::vector<AcceptedRail> rails;     // 1 .. kRailsMax; one region for each memory
  std::vector<LinkDescription> links;  // one for each rail

  friend bool operator==(const BenchOpened&, const BenchOpened&) = default;
};

// Who measures -> who serves: how much CPU time have you used by now?
struct AskCpuTime {
  friend bool operator==(const AskCpuTime&, const AskCpuTime&) = default;
};

struct CpuTime {
  double cpu_s = 0;      // by this process since its start
  double machine_s = 0;  // by everybody on that host, since it runs; 0 unknown

  friend bool operator==(const CpuTime&, const CpuTime&) = default;
};

// Who coordinates a matrix -> a host: prepare to measure towards the host that serves there.
struct JoinPeer {
  std::vector<std::string> addresses;  // "HOST:PORT", 1 .. kPeerAddressesMax; any will do
  uint64_t memory_bytes = 0;           // at each end; 1 .. kBenchMemoryBytesMax
  uint32_t lanes = 1;                  // 1 .. kLanesMax

  friend bool operator==(const JoinPeer&, const JoinPeer&) = default;
};

// The host's answer: lanes are there, and all memory is pinned.
struct PeerJoined {
  std::string address;                // the one that was taken
  std::string transport;              // Capabilities::name
  uint64_t line_rate_bits_per_s = 0;  // of the slower ends of all rails together; 0 unknown

  friend bool operator==(const PeerJoined&, const PeerJoined&) = default;
};

// Who coordinates -> a host that has joined its peer: now, for so long. 0: not at all.
struct MeasurePeer {
  uint32_t write_ms = 0;  // at most kMeasureMsMax
  uint32_t read_ms = 0;   // the same

  friend bool operator==(const MeasurePeer&, const MeasurePeer&) = default;
};

// The host's answer, when it has left its peer. Of what was not measured: 0.
struct PeerMeasured {
  double bytes_per_s = 0;             // of writes
  double half_width_bytes_per_s = 0;  // of the 95 % confidence interval; at most bytes_per_s
  uint64_t moved_bytes = 0;
  uint64_t reads = 0;  // of 4 KiB, one after the other
  double read_p50_us = 0;
  double read_p99_us = 0;

  friend bool operator==(const PeerMeasured&, const PeerMeasured&) = default;
};

// The host's answer instead of PeerJoined or PeerMeasured: it could not, and has left its peer.
struct PeerFailed {
  std::string reason;

  friend bool operator==(const PeerFailed&, const PeerFailed&) = default;
};

using ControlMessage =
    std::variant<Hello, Offer, Accept, Refuse, CloseLane, LaneClosed, LanesReady, StatePiece,
                 StateEnd, VerifyRequest, VerifyHashes, VerifyResult, MemoryComplete, Ready, Commit,
                 Running, Returned, Abort, Heartbeat, PreparePostCopy, PostCopyPrepared,
                 MissingPages, ZeroPages, FetchProgress, FetchComplete, Released, OpenStream,
                 StreamOpened, StreamClosed, OpenBench, BenchOpened, AskCpuTime, CpuTime, JoinPeer,
                 PeerJoined, MeasurePeer, PeerMeasured, PeerFailed>;

// "Offer", for messages to people.
const char* name_of(const ControlMessage& message);

std::vector<std::byte> encode(const ControlMessage& message);

// Errors: kCorrupt, naming the message and the field.
Result<ControlMessage> decode(std::span<const std::byte> bytes);

}  // namespace godwit
