// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/matrix_run.h"

#include <utility>
#include <variant>

namespace godwit::qualify {
namespace {

// Connections are made and memory is filled and pinned in it, by many hosts at once.
constexpr Clock::duration kJoinMax = seconds(30);
// Beyond the time that is measured: what is under way on a slow link has to arrive.
constexpr Clock::duration kMeasureExtraMax = seconds(30);

std::vector<Direction> directions_of(const std::vector<HostPair>& pairs,
                                     const std::vector<size_t>& hosts, size_t round) {
  std::vector<Direction> directions;
  for (const HostPair& pair : pairs) {
    Direction& direction = directions.emplace_back();
    direction.from = hosts[pair.first];
    direction.to = hosts[pair.second];
    direction.round = round;
  }
  return directions;
}

void take_over(const PeerMeasured& measured, Direction& direction) {
  direction.bytes_per_s = measured.bytes_per_s;
  direction.half_width_bytes_per_s = measured.half_width_bytes_per_s;
  direction.confidence = judge(
      {.mean = measured.bytes_per_s, .half_width = measured.half_width_bytes_per_s}, StopRule());
  direction.moved_bytes = measured.moved_bytes;
  direction.reads = measured.reads;
  direction.read_p50_us = measured.read_p50_us;
  direction.read_p99_us = measured.read_p99_us;
}

}  // namespace

MatrixRun::MatrixRun(Parts parts, MatrixOptions options)
    : parts_(std::move(parts)), options_(options) {
  for (const MatrixCandidate& host : parts_.hosts) {
    report_.hosts.push_back({.name = host.name, .lost = host.lost});
    members_.push_back(std::make_unique<Member>());
  }
}

void MatrixRun::stop() {
  const Error stopped = fail(Errc::kCancelled, "stopped").value();
  interruption_.raise(stopped);
  for (const auto& member : members_) member->interruption.raise(stopped);
}

Result<MatrixReport> MatrixRun::run() {
  const Clock::time_point begin = Clock::now();
  greet_all();
  const std::vector<size_t> hosts = present();
  if (hosts.size() >= 2) {
    measure_rounds(hosts);
    tell("everyone at once");
    note_losses();
    const std::vector<size_t> rest = present();
    report_.at_once = measure(directions_of(everyone_at_once(rest.size()), rest, 0),
                              {.write_ms = options_.write_ms, .read_ms = 0});
  }
  note_losses();
  release_all();
  RETURN_IF_ERROR(interruption_.check());
  if (hosts.size() < 2)
    return fail(Errc::kRefused, "fewer than two of {} hosts take part", report_.hosts.size());
  report_.duration_s = to_seconds(Clock::now() - begin);
  return std::move(report_);
}

// All are spoken to before any is listened to, so that several that are silent are waited for once.
void MatrixRun::greet_all() {
  for (const size_t host : present()) {
    Member& member = *members_[host];
    member.link = std::make_unique<ControlLink>(*parts_.hosts[host].channel, member.interruption,
                                                parts_.peer_timeout);
    const Status sent = member.link->send(Hello{.protocol_version = kProtocolVersion,
                                                .software = parts_.software,
                                                .session = parts_.session,
                                                .role = Role::kSource,
                                                .purpose = Purpose::kMatrix});
    if (!sent) lose(host, sent.error());
  }
  const Deadline deadline = deadline_in(parts_.peer_timeout);
  for (const size_t host : present()) {
    const Result<Hello> hello = members_[host]->link->expect<Hello>(deadline);
    if (!hello) {
      lose(host, hello.error());
    } else if (hello->protocol_version != kProtocolVersion || hello->purpose != Purpose::kMatrix) {
      lose(host, fail(Errc::kRefused, "it ({}) speaks protocol version {}, we speak {}",
                      hello->software, hello->protocol_version, kProtocolVersion)
                     .value());
    }
  }
}

std::vector<size_t> MatrixRun::present() const {
  std::vector<size_t> hosts;
  for (size_t host = 0; host < report_.hosts.size(); ++host) {
    if (report_.hosts[host].lost.empty()) hosts.push_back(host);
  }
  return hosts;
}

void MatrixRun::measure_rounds(const std::vector<size_t>& hosts) {
  const MeasurePeer order{.write_ms = options_.write_ms, .read_ms = options_.read_ms};
  const std::vector<std::vector<HostPair>> rounds = tournament_rounds(hosts.size());
  report_.rounds = rounds.size();
  for (size_t round = 1; round <= rounds.size() && !interruption_.raised(); ++round) {
    tell(fmt::format("round {} of {}", round, rounds.size()));
    std::vector<Direction> directions = directions_of(rounds[round - 1], hosts, round);
    for (int way = 0; way < 2; ++way) {
      note_losses();
      for (Direction& direction : measure(directions, order))
        report_.pairs.push_back(std::move(direction));
      for (Direction& direction : directions) std::swap(direction.from, direction.to);
    }
  }
}

std::vector<Direction> MatrixRun::measure(std::vector<Direction> directions,
                                          const MeasurePeer& order) {
  for (Direction& direction : directions) {
    for (const size_t host : {direction.from, direction.to}) {
      if (!report_.hosts[host].lost.empty())
        direction.failure = fmt::format("{} is lost", report_.hosts[host].name);
    }
    if (!direction.measured()) continue;
    send(direction, JoinPeer{.addresses = parts_.hosts[direction.to].addresses,
                             .memory_bytes = options_.memory_bytes,
                             .lanes = options_.lanes});
  }
  const Deadline join_deadline = deadline_in(kJoinMax);
  for (Direction& direction : directions) {
    if (!direction.measured()) continue;
    const auto joined = take_answer<PeerJoined>(direction, join_deadline);
    if (!joined) continue;
    direction.address = joined->address;
    direction.transport = joined->transport;
    direction.line_rate_bytes_per_s = static_cast<double>(joined->line_rate_bits_per_s) / 8;
  }
  for (Direction& direction : directions) {
    if (direction.measured()) send(direction, order);
  }
  const Deadline measure_deadline =
      deadline_in(milliseconds(order.write_ms + order.read_ms) + kMeasureExtraMax);
  for (Direction& direction : directions) {
    if (!direction.measured()) continue;
    if (const auto measured = take_answer<PeerMeasured>(direction, measure_deadline))
      take_over(*measured, direction);
  }
  return directions;
}

template <typename Answer>
std::optional<Answer> MatrixRun::take_answer(Direction& direction, Deadline deadline) {
  Result<ControlMessage> message = members_[direction.from]->link->next(deadline);
  if (message) {
    if (auto* answer = std::get_if<Answer>(&*message)) return std::move(*answer);
    if (const auto* failed = std::get_if<PeerFailed>(&*message)) {
      direction.failure = failed->reason;
      return std::nullopt;
    }
    message = fail(Errc::kCorrupt, "it sent a message out of turn: {}", name_of(*message));
  }
  lose(direction.from, message.error());
  direction.failure = to_string(message.error());
  return std::nullopt;
}

bool MatrixRun::send(Direction& direction, const ControlMessage& message) {
  const Status sent = members_[direction.from]->link->send(message);
  if (sent) return true;
  lose(direction.from, sent.error());
  direction.failure = to_string(sent.error());
  return false;
}

void MatrixRun::lose(size_t host, const Error& error) {
  report_.hosts[host].lost = to_string(error);
  members_[host]->interruption.raise(error);
}

// A host may fall silent while only others are asked.
void MatrixRun::note_losses() {
  for (const size_t host : present()) {
    if (const Status alive = members_[host]->interruption.check(); !alive)
      lose(host, alive.error());
  }
}

// Those that were lost are told as well: they may not know it.
void MatrixRun::release_all() {
  for (size_t host = 0; host < members_.size(); ++host) {
    const auto& link = members_[host]->link;
    if (link == nullptr) continue;
    const Status alive = members_[host]->interruption.check();
    (void)(alive ? link->send(Released{})
                 : link->send(Abort{alive.error().code, to_string(alive.error())}));
  }
}

void MatrixRun::tell(const std::string& step) {
  if (parts_.on_step) parts_.on_step(step);
}

}  // namespace godwit::qualify
