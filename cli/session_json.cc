// SPDX-License-Identifier: Apache-2.0
#include "cli/session_json.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "cli/progress_display.h"
#include "engine/base/check.h"

namespace godwit::cli {
namespace {

using Json = nlohmann::ordered_json;

const char* to_string(AgentState state) {
  switch (state) {
    case AgentState::kRunning:
      return "running";
    case AgentState::kDead:
      return "dead";
  }
  CHECK(false && "an AgentState outside its enumerators");
}

}  // namespace

std::string render_sessions_json(const std::vector<SessionView>& sessions) {
  Json list = Json::array();
  for (const SessionView& view : sessions) {
    const SessionRecord& record = view.record;
    const Progress& progress = record.progress;
    list.push_back({{"session", record.session},
                    {"role", godwit::to_string(record.role)},
                    {"agent", to_string(view.agent)},
                    {"pid", record.agent.pid},
                    {"state", record.state},
                    {"peer", record.peer},
                    {"guest", record.guest},
                    {"committed", record.committed},
                    {"resumable", view.resumable},
                    {"progress",
                     {{"phase", progress.phase},
                      {"round", progress.round},
                      {"bytes_sent", progress.bytes_sent},
                      {"bytes_remaining", progress.bytes_remaining},
                      {"throughput_bytes_per_s", progress.throughput_bytes_per_s},
                      {"dirty_bytes_per_s", progress.dirty_bytes_per_s},
                      {"predicted_downtime_ms", progress.predicted_downtime_ms},
                      {"faults", progress.faults},
                      {"fault_latency_us",
                       {{"p50", progress.fault_p50_us}, {"p99", progress.fault_p99_us}}}}}});
  }
  return list.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

std::string render_sessions_table(const std::vector<SessionView>& sessions) {
  if (sessions.empty()) return "No sessions on this host.\n";
  std::string text = fmt::format("{:<16}  {:<11}  {:<7}  {:<17}  {:<9}  {}\n", "SESSION", "ROLE",
                                 "AGENT", "STATE", "COMMITTED", "PEER");
  for (const SessionView& view : sessions) {
    const SessionRecord& record = view.record;
    text += fmt::format("{:<16}  {:<11}  {:<7}  {:<17}  {:<9}  {}\n", record.session,
                        godwit::to_string(record.role), to_string(view.agent), record.state,
                        record.committed ? "yes" : "no", record.peer);
    bool moving = view.agent == AgentState::kRunning && !record.progress.phase.empty();
    if (moving) text += fmt::format("{:<16}  {}\n", "", format_progress(record.progress));
  }
  return text;
}

}  // namespace godwit::cli
