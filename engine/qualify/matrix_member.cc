// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/matrix_member.h"

#include <algorithm>
#include <cmath>

#include "engine/qualify/bandwidth.h"
#include "engine/qualify/first_touch.h"
#include "engine/qualify/latency.h"
#include "engine/qualify/sweep_plan.h"

namespace godwit::qualify {
namespace {

// All hosts of a round join their peers before any of them measures.
constexpr Clock::duration kOrderMax = seconds(120);

StopRule exactly(uint32_t time_ms) {
  return {.time_min = milliseconds(time_ms), .time_max = milliseconds(time_ms)};
}

Result<PeerMeasured> measure(std::vector<BenchLane>& lanes, const MeasurePeer& order,
                             const Interruption& interruption) {
  PeerMeasured measured;
  if (order.write_ms > 0) {
    const Cell cell{.verb = Verb::kWrite,
                    .size_bytes = kBulkBytes,
                    .lanes = static_cast<uint32_t>(lanes.size()),
                    .depth = depth_for(kBulkBytes)};
    ASSIGN_OR_RETURN(const Bandwidth found,
                     measure_bandwidth(lanes, cell, exactly(order.write_ms), interruption));
    measured.bytes_per_s = found.bytes_per_s;
    measured.half_width_bytes_per_s =
        std::isfinite(found.half_width_bytes_per_s)
            ? std::min(found.half_width_bytes_per_s, found.bytes_per_s)
            : found.bytes_per_s;
    measured.moved_bytes = found.moved_bytes;
  }
  if (order.read_ms > 0) {
    const Cell cell{.verb = Verb::kRead, .size_bytes = kPageBytes};
    ASSIGN_OR_RETURN(const Latency found,
                     measure_latency(lanes.front(), cell, exactly(order.read_ms), interruption));
    measured.reads = found.count;
    measured.read_p50_us = found.p50_us;
    measured.read_p99_us = found.p99_us;
  }
  return measured;
}

}  // namespace

MatrixMember::MatrixMember(Parts parts) : parts_(std::move(parts)) {}

Status MatrixMember::run() {
  while (true) {
    ASSIGN_OR_RETURN(const ControlMessage message, parts_.link.next(Deadline::max()));
    if (std::holds_alternative<Released>(message)) return {};
    const auto* wanted = std::get_if<JoinPeer>(&message);
    if (wanted == nullptr)
      return fail(Errc::kCorrupt, "the peer sent a message out of turn: {}", name_of(message));
    RETURN_IF_ERROR(measure_towards(*wanted));
  }
}

Status MatrixMember::measure_towards(const JoinPeer& wanted) {
  const Result<std::unique_ptr<ControlChannel>> channel = parts_.connect(wanted.addresses);
  if (!channel) return tell_failure(channel.error());
  BenchSession session({.rails = parts_.rails,
                        .control = **channel,
                        .topology = parts_.topology,
                        .software = parts_.software,
                        .session = parts_.session,
                        .peer_timeout = parts_.peer_timeout});
  const Interruption::Hook hook = parts_.interruption.on_raise([&] { session.stop(); });
  std::vector<BenchLane> lanes;
  const Result<PeerJoined> joined = join(session, wanted, lanes);
  if (!joined) return tell_failure(session.give_up(joined.error()));
  RETURN_IF_ERROR(parts_.link.send(*joined));
  ASSIGN_OR_RETURN(const MeasurePeer order,
                   parts_.link.expect<MeasurePeer>(deadline_in(kOrderMax)));
  const Result<PeerMeasured> measured = measure(lanes, order, session.interruption());
  lanes.clear();
  if (!measured) return tell_failure(session.give_up(measured.error()));
  (void)session.close();
  return parts_.link.send(*measured);
}

Result<PeerJoined> MatrixMember::join(BenchSession& session, const JoinPeer& wanted,
                                      std::vector<BenchLane>& lanes) const {
  RETURN_IF_ERROR(session.open(
      {.size_bytes = wanted.memory_bytes, .nodes = {kAnyNode}, .peer_nodes = {kAnyNode}}));
  const std::vector<size_t> paths = session.paths_to_use();
  const LaneSet set{.paths = paths,
                    .lanes = std::max(wanted.lanes, static_cast<uint32_t>(paths.size()))};
  ASSIGN_OR_RETURN(lanes, session.connect(set));
  if (lanes.front().size_bytes < kBulkBytes)
    return fail(Errc::kRefused, "{} lanes need more memory to measure with", set.lanes);
  RETURN_IF_ERROR(touch_all(lanes, session.interruption()));

  PeerJoined joined{.address = session.peer_address(), .transport = {}};
  bool known = true;
  for (const size_t index : paths) {
    const BenchPath& path = session.paths()[index];
    const Rail& rail = parts_.rails[path.rail];
    joined.transport = rail.transport->capabilities().name;
    const uint64_t here =
        parts_.describe_link ? parts_.describe_link(rail, joined.address).line_rate_bits_per_s : 0;
    joined.line_rate_bits_per_s += std::min(here, path.link.line_rate_bits_per_s);
    known = known && here > 0 && path.link.line_rate_bits_per_s > 0;
  }
  if (!known) joined.line_rate_bits_per_s = 0;
  return joined;
}

Status MatrixMember::tell_failure(const Error& error) {
  return parts_.link.send(PeerFailed{to_string(error)});
}

}  // namespace godwit::qualify
