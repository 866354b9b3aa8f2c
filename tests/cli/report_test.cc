// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "cli/report_json.h"
#include "cli/report_text.h"
#include "cli/session_json.h"

namespace godwit::cli {
namespace {

using Json = nlohmann::json;

MigrationReport completed_report() {
  MigrationReport report;
  report.session = "00c0ffee00c0ffee";
  report.status = MigrationStatus::kCompleted;
  report.mode = "direct";
  report.transport = "tcp";
  report.downtime_ms = 12.5;
  report.ram_bytes = 4ULL << 30;
  report.bytes_sent = 3ULL << 30;
  report.rounds.push_back({RoundKind::kLive, 10, 40960, 1.5, 0});
  report.rounds.push_back({RoundKind::kFinal, 2, 8192, 0.5, 4});
  report.verify = VerifyReport{4ULL << 30, 0};
  return report;
}

TEST(ReportJson, HasTheDocumentedFieldsAlways) {
  const std::set<std::string> documented = {"schema",         "session",
                                            "role",           "status",
                                            "mode",           "transport",
                                            "transport_note", "rails",
                                            "security",       "insecure",
                                            "downtime_ms",    "predicted_downtime_ms",
                                            "timeline",       "downtime_start_ms",
                                            "total_ms",       "setup_ms",
                                            "ram_bytes",      "bytes_sent",
                                            "placed_bytes",   "pages_sent",
                                            "zero_pages",     "torn_pages",
                                            "hole_bytes",     "device_state_bytes",
                                            "rounds",         "throughput_bytes_per_s",
                                            "cpu_seconds",    "post_copy",
                                            "post_copy_note", "verify",
                                            "error"};

  for (const MigrationReport& report : {completed_report(), MigrationReport()}) {
    Json json = Json::parse(render_report_json(report, SessionRole::kSource));
    std::set<std::string> names;
    for (const auto& item : json.items()) names.insert(item.key());
    EXPECT_EQ(names, documented);
  }
}

TEST(ReportJson, CarriesTheFigures) {
  Json json = Json::parse(render_report_json(completed_report(), SessionRole::kSource));

  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["role"], "source");
  EXPECT_EQ(json["status"], "completed");
  EXPECT_EQ(json["downtime_ms"], 12.5);
  EXPECT_EQ(json["ram_bytes"], 4ULL << 30);
  EXPECT_EQ(json["rounds"][1]["kind"], "final");
  EXPECT_EQ(json["rounds"][1]["pause_ms"], 4);
  EXPECT_EQ(json["verify"]["mismatches"], 0);
  EXPECT_TRUE(json["error"].is_null());
  EXPECT_TRUE(json["post_copy"].is_null());
}

TEST(ReportJson, CarriesTheErrorInWordsAndCode) {
  MigrationReport report;
  report.status = MigrationStatus::kFailed;
  report.error = fail(Errc::kPeerLost, "lost \"host-b\" \xff").value();

  Json json = Json::parse(render_report_json(report, SessionRole::kDestination));

  EXPECT_EQ(json["status"], "failed");
  EXPECT_EQ(json["role"], "destination");
  EXPECT_EQ(json["error"]["code"], "peer-lost");
  EXPECT_EQ(json["error"]["text"], "lost \"host-b\" \xef\xbf\xbd");
  EXPECT_TRUE(json["verify"].is_null());
}

MigrationReport post_copy_report() {
  MigrationReport report = completed_report();
  report.post_copy.emplace();
  report.post_copy->vcpu_stall_ms = {1.5, 0, 4};
  report.post_copy->other_stall_ms = 2;
  report.post_copy->fault_urgency = "real-time";
  return report;
}

TEST(ReportJson, SaysForHowLongVcpusWaited) {
  const Json json = Json::parse(render_report_json(post_copy_report(), SessionRole::kDestination));

  EXPECT_EQ(json["post_copy"]["vcpu_stall_ms"], (std::vector<double>{1.5, 0, 4}));
  EXPECT_EQ(json["post_copy"]["other_stall_ms"], 2);
  EXPECT_EQ(json["post_copy"]["fault_urgency"], "real-time");
}

TEST(ReportText, SaysForHowLongVcpusWaited) {
  const std::string text = render_report_text(post_copy_report(), SessionRole::kDestination, "a");

  EXPECT_NE(text.find("vCPU 2 the most"), std::string::npos) << text;
  EXPECT_NE(text.find("other threads"), std::string::npos);
}

TEST(ReportText, SaysWhoGoesOnWithPostCopyThatIsNotFinished) {
  MigrationReport report = post_copy_report();
  report.status = MigrationStatus::kInDoubt;
  const auto says = [&report](const char* words) {
    return render_report_text(report, SessionRole::kSource, "b").find(words) != std::string::npos;
  };

  EXPECT_TRUE(says("godwit resume"));
  report.mode = "channel";
  EXPECT_FALSE(says("godwit resume"));
  EXPECT_TRUE(says("docs/channel.md"));
}

TEST(ReportText, NamesTheMissingPriorityOnlyWhereItIsMissing) {
  MigrationReport report = post_copy_report();
  const auto names_it = [&report] {
    return render_report_text(report, SessionRole::kDestination, "a").find("CAP_SYS_NICE") !=
           std::string::npos;
  };

  EXPECT_FALSE(names_it());
  report.post_copy->fault_urgency = "ordinary";
  EXPECT_TRUE(names_it());
}

TEST(ReportText, SaysWhereTheGuestIs) {
  MigrationReport report = completed_report();
  EXPECT_NE(render_report_text(report, SessionRole::kSource, "host-b:7471")
                .find("runs on host-b:7471 now"),
            std::string::npos);

  for (MigrationStatus status :
       {MigrationStatus::kFailed, MigrationStatus::kCancelled, MigrationStatus::kRefused}) {
    report.status = status;
    EXPECT_NE(render_report_text(report, SessionRole::kSource, "b").find("The guest runs on here."),
              std::string::npos);
    EXPECT_NE(render_report_text(report, SessionRole::kDestination, "b")
                  .find("The guest runs on the source."),
              std::string::npos);
  }
}

TEST(ReportText, SaysInDoubtWhatItNeedsAndDoesNotClaimWhereTheGuestRuns) {
  MigrationReport report = completed_report();
  report.status = MigrationStatus::kInDoubt;
  for (SessionRole role : {SessionRole::kSource, SessionRole::kDestination}) {
    std::string text = render_report_text(report, role, "host-b:7471");
    EXPECT_NE(text.find("Session 00c0ffee00c0ffee is kept"), std::string::npos);
    EXPECT_EQ(text.find("runs on"), std::string::npos);
  }
}

TEST(ExitCodes, FollowTheStatus) {
  EXPECT_EQ(static_cast<int>(exit_code_of(MigrationStatus::kCompleted)), 0);
  EXPECT_EQ(static_cast<int>(exit_code_of(MigrationStatus::kFailed)), 1);
  EXPECT_EQ(static_cast<int>(exit_code_of(MigrationStatus::kCancelled)), 1);
  EXPECT_EQ(static_cast<int>(exit_code_of(MigrationStatus::kInDoubt)), 3);
  EXPECT_EQ(static_cast<int>(exit_code_of(MigrationStatus::kRefused)), 4);
  EXPECT_EQ(status_of(fail(Errc::kRefused, "x").value()), MigrationStatus::kRefused);
  EXPECT_EQ(status_of(fail(Errc::kPeerLost, "x").value()), MigrationStatus::kFailed);
}

TEST(SessionsJson, IsAListWithTheAgentsState) {
  SessionRecord record;
  record.session = "00c0ffee00c0ffee";
  record.role = SessionRole::kSource;
  record.state = "precopy";
  record.progress.bytes_sent = 42;

  Json json = Json::parse(render_sessions_json({{record, AgentState::kDead, true}}));

  ASSERT_EQ(json.size(), 1U);
  EXPECT_EQ(json[0]["session"], "00c0ffee00c0ffee");
  EXPECT_EQ(json[0]["role"], "source");
  EXPECT_EQ(json[0]["agent"], "dead");
  EXPECT_EQ(json[0]["state"], "precopy");
  EXPECT_EQ(json[0]["resumable"], true);
  EXPECT_EQ(json[0]["progress"]["bytes_sent"], 42);
  EXPECT_EQ(Json::parse(render_sessions_json({})), Json::array());
}

}  // namespace
}  // namespace godwit::cli
