// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/bench_session.h"

#include <algorithm>
#include <utility>

#include "engine/migration/rail_ends.h"
#include "engine/numa/rail_placement.h"

namespace godwit::qualify {
namespace {

// The other end makes its memory resident meanwhile.
constexpr Clock::duration kOpenMax = seconds(60);
constexpr Clock::duration kConnectMax = seconds(5);
constexpr Clock::duration kReasonMax = milliseconds(500);

}  // namespace

BenchSession::BenchSession(Parts parts) : parts_(std::move(parts)) {}

void BenchSession::stop() {
  interruption_.raise(fail(Errc::kCancelled, "stopped").value());
}

Status BenchSession::open(const Memory& memory) {
  link_ = std::make_unique<ControlLink>(parts_.control, interruption_, parts_.peer_timeout);
  RETURN_IF_ERROR(greet());
  OpenBench wanted{.rails = {}, .memory_bytes = memory.size_bytes, .memory_nodes = {}};
  wanted.memory_nodes.assign(memory.peer_nodes.begin(), memory.peer_nodes.end());
  for (const Rail& rail : parts_.rails)
    wanted.rails.push_back({.name = rail.name,
                            .transport = rail.transport->capabilities().name,
                            .numa_node = rail.numa_node});
  RETURN_IF_ERROR(link_->send(wanted));
  for (const int node : memory.nodes) {
    ASSIGN_OR_RETURN(BenchMemory made, BenchMemory::make(memory.size_bytes, node));
    memories_.push_back(std::move(made));
  }
  ASSIGN_OR_RETURN(const BenchOpened opened, link_->expect<BenchOpened>(deadline_in(kOpenMax)));
  return join_rails(opened, memory);
}

Status BenchSession::greet() {
  RETURN_IF_ERROR(link_->send(Hello{.protocol_version = kProtocolVersion,
                                    .software = parts_.software,
                                    .session = parts_.session,
                                    .role = Role::kSource,
                                    .purpose = Purpose::kBench}));
  ASSIGN_OR_RETURN(const Hello hello, link_->expect<Hello>(deadline_in(parts_.peer_timeout)));
  if (hello.protocol_version != kProtocolVersion)
    return fail(Errc::kRefused,
                "protocol versions differ: the other end ({}) speaks {}, we speak {}",
                hello.software, hello.protocol_version, kProtocolVersion);
  if (hello.purpose != Purpose::kBench) return fail(Errc::kRefused, "nobody serves a bench there");
  return {};
}

Status BenchSession::join_rails(const BenchOpened& opened, const Memory& memory) {
  const std::vector<size_t> ends = choose_rail_ends(parts_.rails, opened.rails);
  for (size_t rail = 0; rail < ends.size(); ++rail) {
    if (ends[rail] == kNoRailEnd) continue;
    const AcceptedRail& peer = opened.rails[ends[rail]];
    const bool fits = std::ranges::all_of(peer.regions, [&](const RemoteRegion& region) {
      return region.size_bytes == memory.size_bytes;
    });
    if (!fits || peer.regions.size() != memory.peer_nodes.size())
      return fail(Errc::kCorrupt, "the other end has not the memory that was asked for");
    std::vector<std::unique_ptr<MemoryRegion>> regions;
    for (const BenchMemory& ours : memories_) {
      ASSIGN_OR_RETURN(
          std::unique_ptr<MemoryRegion> region,
          parts_.rails[rail].transport->register_memory(ours.bytes(), RemoteAccess::kNone));
      regions.push_back(std::move(region));
    }
    regions_.push_back(std::move(regions));
    paths_.push_back({.rail = rail, .peer = peer, .link = opened.links[ends[rail]]});
  }
  if (paths_.empty()) return fail(Errc::kRefused, "the other end has none of our rails");
  return {};
}

std::vector<size_t> BenchSession::paths_to_use() const {
  std::vector<size_t> always;
  std::vector<size_t> last_resort;
  for (size_t path = 0; path < paths_.size(); ++path) {
    const bool last = parts_.rails[paths_[path].rail].use == RailUse::kLastResort;
    (last ? last_resort : always).push_back(path);
  }
  return always.empty() ? last_resort : always;
}

Result<std::vector<BenchLane>> BenchSession::connect(const LaneSet& wanted) {
  std::vector<BenchLane> lanes;
  const uint64_t memory_bytes = memories_[wanted.memory].bytes().size();
  // Whole operations, so that parts of every size begin and end with a page.
  const uint64_t part_bytes = memory_bytes / wanted.lanes / kOperationBytesMax * kOperationBytesMax;
  const std::vector<numa::CpuList> cpus = place(wanted);
  for (uint32_t number = 0; number < wanted.lanes; ++number) {
    const size_t path = wanted.paths[number % wanted.paths.size()];
    ASSIGN_OR_RETURN(std::unique_ptr<Endpoint> endpoint, connect_lane(paths_[path]));
    lanes.push_back({.owner = std::make_unique<OwnedEndpoint>(std::move(endpoint), cpus[number]),
                     .local = regions_[path][wanted.memory].get(),
                     .remote = paths_[path].peer.regions[wanted.peer_memory],
                     .offset_bytes = number * part_bytes,
                     .size_bytes = part_bytes});
  }
  return lanes;
}

std::vector<numa::CpuList> BenchSession::place(const LaneSet& wanted) const {
  std::vector<numa::CpuList> cpus(wanted.lanes);
  // Where everything is equally near, the scheduler knows better which core is free.
  if (parts_.topology.nodes.size() < 2) return cpus;
  std::vector<int> nodes;
  for (uint32_t lane = 0; lane < wanted.lanes; ++lane) {
    const size_t path = wanted.paths[lane % wanted.paths.size()];
    nodes.push_back(parts_.rails[paths_[path].rail].numa_node);
  }
  const std::vector<numa::LanePlacement> places = numa::place_lanes(parts_.topology, nodes);
  for (uint32_t lane = 0; lane < wanted.lanes; ++lane) cpus[lane] = places[lane].cpus;
  return cpus;
}

Result<std::unique_ptr<Endpoint>> BenchSession::connect_lane(const BenchPath& path) {
  const uint32_t lane = lanes_made_++;
  ASSIGN_OR_RETURN(const auto token, parts_.control.lane_token(lane));
  return parts_.rails[path.rail].transport->connect(path.peer.address, {token, lane},
                                                    deadline_in(kConnectMax));
}

Result<CpuTime> BenchSession::peer_cpu_time() {
  RETURN_IF_ERROR(link_->send(AskCpuTime{}));
  return link_->expect<CpuTime>(deadline_in(parts_.peer_timeout));
}

Status BenchSession::close() {
  RETURN_IF_ERROR(interruption_.check());
  return link_->send(Released{});
}

Error BenchSession::give_up(const Error& error) {
  const std::optional<Error> reason = link_->reason_of_peer(deadline_in(kReasonMax));
  if (!link_->peer_gave_up()) (void)link_->send(Abort{error.code, to_string(error)});
  return reason.value_or(interruption_.cause_of(error));
}

}  // namespace godwit::qualify
