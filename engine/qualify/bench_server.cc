// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/bench_server.h"

#include <algorithm>
#include <utility>

#include "engine/migration/destination_rails.h"
#include "engine/qualify/cpu_clock.h"
#include "engine/qualify/passive_lanes.h"

namespace godwit::qualify {
namespace {

constexpr Clock::duration kFarewellMax = seconds(2);

}  // namespace

BenchServer::BenchServer(Parts parts) : parts_(std::move(parts)) {}

void BenchServer::stop() {
  interruption_.raise(fail(Errc::kCancelled, "stopped by whoever serves").value());
}

Status BenchServer::run() {
  link_ = std::make_unique<ControlLink>(parts_.control, interruption_, parts_.peer_timeout);
  Status served = serve();
  if (!served && !link_->peer_gave_up()) {
    const Error& error = served.error();
    (void)(error.code == Errc::kRefused ? link_->send(Refuse{to_string(error)})
                                        : link_->send(Abort{error.code, to_string(error)}));
  }
  // The other side closes the connection when it has read our last message.
  link_->drain(deadline_in(kFarewellMax));
  return served;
}

Status BenchServer::serve() {
  ASSIGN_OR_RETURN(const Hello hello, link_->expect<Hello>(deadline_in(parts_.peer_timeout)));
  if (hello.protocol_version != kProtocolVersion)
    return fail(Errc::kRefused, "protocol versions differ: the peer ({}) speaks {}, we speak {}",
                hello.software, hello.protocol_version, kProtocolVersion);
  const bool matrix = hello.purpose == Purpose::kMatrix && parts_.take_part;
  if (hello.purpose != Purpose::kBench && !matrix)
    return fail(Errc::kRefused, "this is a bench: it waits for `godwit bench`");
  ASSIGN_OR_RETURN(const BenchAdmission::Place place, parts_.admission.admit(hello));
  held_the_host_ = !place.is_part();
  if (parts_.on_begin) parts_.on_begin(hello, place);
  RETURN_IF_ERROR(link_->send(Hello{.protocol_version = kProtocolVersion,
                                    .software = parts_.software,
                                    .session = hello.session,
                                    .role = Role::kDestination,
                                    .purpose = hello.purpose}));
  return matrix ? parts_.take_part(*link_, interruption_, hello) : serve_bench();
}

Status BenchServer::serve_bench() {
  ASSIGN_OR_RETURN(const OpenBench wanted,
                   link_->expect<OpenBench>(deadline_in(parts_.peer_timeout)));
  return answer(wanted);
}

Status BenchServer::answer(const OpenBench& wanted) {
  GuestMemory blocks;
  for (const int32_t node : wanted.memory_nodes) {
    ASSIGN_OR_RETURN(BenchMemory memory, BenchMemory::make(wanted.memory_bytes, node));
    blocks.push_back(memory.as_block("bench"));
    memories_.push_back(std::move(memory));
  }
  std::vector<std::string> offered;
  for (const OfferedRail& rail : wanted.rails) offered.push_back(rail.transport);
  MigrationReport notes;
  ASSIGN_OR_RETURN(DestinationRails rails, DestinationRails::open(parts_.rails, blocks, offered,
                                                                  notes, RemoteAccess::kReadWrite));
  BenchOpened opened{.rails = rails.accepted, .links = {}};
  for (const AcceptedRail& accepted : rails.accepted) {
    const auto rail = std::ranges::find(parts_.rails, accepted.name, &Rail::name);
    opened.links.push_back(parts_.describe_link ? parts_.describe_link(*rail) : LinkDescription{});
  }
  RETURN_IF_ERROR(link_->send(opened));

  const PassiveLanes lanes(std::move(rails.listeners),
                           [this](uint32_t lane) { return parts_.control.lane_token(lane); });
  while (true) {
    ASSIGN_OR_RETURN(const ControlMessage message, link_->next(Deadline::max()));
    if (std::holds_alternative<Released>(message)) return {};
    if (!std::holds_alternative<AskCpuTime>(message))
      return fail(Errc::kCorrupt, "the peer sent a message out of turn: {}", name_of(message));
    RETURN_IF_ERROR(link_->send(read_cpu_time()));
  }
}

}  // namespace godwit::qualify
