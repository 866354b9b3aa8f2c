// SPDX-License-Identifier: Apache-2.0
#include "engine/session/session_directory.h"

#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "engine/base/check.h"
#include "tests/support/runtime_directory.h"

namespace godwit {
namespace {

constexpr char kSession[] = "00c0ffee00c0ffee";

class SessionDirectoryTest : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }

  static std::unique_ptr<SessionDirectory> create(SessionRole role = SessionRole::kSource) {
    Result<std::unique_ptr<SessionDirectory>> directory =
        SessionDirectory::create(kSession, role, {"host-b:7471", "/run/guest.qmp"});
    CHECK(directory.has_value());
    return std::move(*directory);
  }

  test::RuntimeDirectory directory_;
};

TEST_F(SessionDirectoryTest, TellsOthersWhatTheAgentSays) {
  std::unique_ptr<SessionDirectory> directory = create();
  ASSERT_TRUE(directory->set_state("precopy"));

  Result<SessionRecord> record = read_session(kSession, SessionRole::kSource);

  ASSERT_TRUE(record) << record.error().text();
  EXPECT_EQ(record->session, kSession);
  EXPECT_EQ(record->state, "precopy");
  EXPECT_EQ(record->peer, "host-b:7471");
  EXPECT_EQ(record->guest, "/run/guest.qmp");
  EXPECT_EQ(record->agent.pid, ::getpid());
  EXPECT_FALSE(record->committed);
  EXPECT_TRUE(is_running(record->agent));
}

TEST_F(SessionDirectoryTest, IsForItsOwnerOnly) {
  std::unique_ptr<SessionDirectory> directory = create();

  for (const std::string& name :
       {std::string(), std::string(kSession), std::string(kSession) + "/source"}) {
    struct stat status {};
    ASSERT_EQ(::stat(path(name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0700U) << name;
  }
}

TEST_F(SessionDirectoryTest, RefusesARuntimeDirectoryThatOthersCanWriteTo) {
  std::filesystem::create_directory(path(""));
  ASSERT_EQ(::chmod(path("").c_str(), 0777), 0);

  auto directory = SessionDirectory::create(kSession, SessionRole::kSource, {});

  ASSERT_FALSE(directory);
  EXPECT_EQ(directory.error().code, Errc::kRefused);
}

TEST_F(SessionDirectoryTest, IsGoneAfterACleanEnd) {
  create().reset();

  EXPECT_FALSE(std::filesystem::exists(path(kSession)));
}

TEST_F(SessionDirectoryTest, IsRemovedInOneStep) {
  std::unique_ptr<SessionDirectory> directory = create();
  ASSERT_TRUE(directory->keep_command({"send"}));
  const UniqueFd watch(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  ASSERT_GE(::inotify_add_watch(watch.get(), path(kSession).c_str(), IN_ALL_EVENTS), 0);
  ASSERT_GE(::inotify_add_watch(watch.get(), path(std::string(kSession) + "/source").c_str(),
                                IN_DELETE | IN_MOVE_SELF),
            0);

  directory.reset();

  // Nothing in it is deleted before it is out of the way.
  alignas(inotify_event) std::array<char, 4096> events{};
  ASSERT_GT(::read(watch.get(), events.data(), events.size()), 0);
  inotify_event first{};
  std::memcpy(&first, events.data(), sizeof first);
  EXPECT_EQ(first.mask & IN_ALL_EVENTS, static_cast<uint32_t>(IN_MOVED_FROM));
}

TEST_F(SessionDirectoryTest, WhatADeathWhileRemovingLeftIsNoSessionAndIsSwept) {
  const std::string left = path("removed-0123456789abcdef-source");
  std::filesystem::create_directories(left);
  std::ofstream(left + "/command") << "send";
  std::filesystem::create_directories(path("0123456789abcdef"));

  EXPECT_TRUE(list_sessions()->empty());
  std::unique_ptr<SessionDirectory> directory = create();

  EXPECT_FALSE(std::filesystem::exists(left));
  EXPECT_FALSE(std::filesystem::exists(path("0123456789abcdef")));
  EXPECT_TRUE(read_session(kSession, SessionRole::kSource));
}

TEST_F(SessionDirectoryTest, StaysWhenTheCommitsOutcomeIsNotKnown) {
  std::unique_ptr<SessionDirectory> directory = create();
  ASSERT_TRUE(directory->record_commit());
  directory.reset();

  Result<SessionRecord> record = read_session(kSession, SessionRole::kSource);

  ASSERT_TRUE(record);
  EXPECT_TRUE(record->committed);
}

TEST_F(SessionDirectoryTest, IsGoneWhenTheCommitsOutcomeIsKnown) {
  std::unique_ptr<SessionDirectory> directory = create();
  ASSERT_TRUE(directory->record_commit());
  directory->settle();
  directory.reset();

  EXPECT_FALSE(std::filesystem::exists(path(kSession)));
}

TEST_F(SessionDirectoryTest, StaysWhenItIsToldTo) {
  std::unique_ptr<SessionDirectory> directory = create(SessionRole::kDestination);
  directory->keep();
  directory.reset();

  EXPECT_TRUE(read_session(kSession, SessionRole::kDestination));
}

TEST_F(SessionDirectoryTest, BothSidesCanLiveOnOneHost) {
  std::unique_ptr<SessionDirectory> source = create(SessionRole::kSource);
  std::unique_ptr<SessionDirectory> destination = create(SessionRole::kDestination);
  source.reset();

  EXPECT_FALSE(read_session(kSession, SessionRole::kSource));
  EXPECT_TRUE(read_session(kSession, SessionRole::kDestination));
}

TEST_F(SessionDirectoryTest, OneSideCannotBeThereTwice) {
  std::unique_ptr<SessionDirectory> directory = create();

  auto again = SessionDirectory::create(kSession, SessionRole::kSource, {});

  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::kRefused);
  EXPECT_TRUE(read_session(kSession, SessionRole::kSource));
}

TEST_F(SessionDirectoryTest, NameFromAPeerCannotLeaveTheRuntimeDirectory) {
  for (const char* name :
       {"../../etc/godwit0", "", "00C0FFEE00C0FFEE", "00c0ffee00c0ffe", "../0123456789abc"}) {
    auto directory = SessionDirectory::create(name, SessionRole::kSource, {});
    ASSERT_FALSE(directory) << name;
    EXPECT_EQ(directory.error().code, Errc::kCorrupt);
    EXPECT_FALSE(remove_session(name, SessionRole::kSource));
  }
}

TEST_F(SessionDirectoryTest, ProgressIsWrittenAtMostOncePerSecond) {
  std::unique_ptr<SessionDirectory> directory = create();
  Clock::time_point start{};
  auto sent_at = [&](uint64_t bytes, Clock::duration after) {
    Progress progress;
    progress.bytes_sent = bytes;
    CHECK(directory->update_progress(progress, start + after));
    return read_session(kSession, SessionRole::kSource)->progress.bytes_sent;
  };

  EXPECT_EQ(sent_at(1, milliseconds(0)), 1U);
  EXPECT_EQ(sent_at(2, milliseconds(999)), 1U);
  EXPECT_EQ(sent_at(3, milliseconds(1000)), 3U);
}

TEST_F(SessionDirectoryTest, CommitThatCannotBeWrittenIsNotDecided) {
  std::unique_ptr<SessionDirectory> directory = create();
  std::filesystem::remove_all(path(kSession));

  EXPECT_FALSE(directory->record_commit());
  directory.reset();

  EXPECT_FALSE(std::filesystem::exists(path(kSession)));
}

TEST_F(SessionDirectoryTest, ListShowsAllSidesAndWhatIsUnreadable) {
  std::unique_ptr<SessionDirectory> source = create(SessionRole::kSource);
  std::unique_ptr<SessionDirectory> destination = create(SessionRole::kDestination);
  std::filesystem::create_directories(path("0123456789abcdef/source"));
  std::ofstream(path("0123456789abcdef/source/state")) << "godwit-session 1\nsession=";
  std::filesystem::create_directories(path("not a session/source"));

  Result<std::vector<SessionRecord>> list = list_sessions();

  ASSERT_TRUE(list);
  ASSERT_EQ(list->size(), 3U);
  EXPECT_EQ((*list)[0].role, SessionRole::kSource);
  EXPECT_EQ((*list)[1].role, SessionRole::kDestination);
  EXPECT_EQ((*list)[2].session, "0123456789abcdef");
  EXPECT_EQ((*list)[2].state, "unreadable");
}

TEST_F(SessionDirectoryTest, ListIsEmptyWhereNothingEverRan) {
  EXPECT_TRUE(list_sessions()->empty());
}

TEST_F(SessionDirectoryTest, CancelInterruptsTheAgentAndNobodyElse) {
  pid_t child = ::fork();
  if (child == 0) {
    for (;;) ::pause();
  }
  SessionRecord record;
  record.agent = identify_process(child).value();
  SessionRecord impostor = record;
  impostor.agent.start_ticks += 1;

  Status to_impostor = request_cancel(impostor);
  Status to_agent = request_cancel(record);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);

  ASSERT_FALSE(to_impostor);
  EXPECT_EQ(to_impostor.error().code, Errc::kRefused);
  EXPECT_TRUE(to_agent);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
  EXPECT_FALSE(is_running(record.agent));
  EXPECT_FALSE(request_cancel(record));
}

TEST(SessionRecordText, ComesBackAsItWent) {
  SessionRecord record;
  record.session = kSession;
  record.role = SessionRole::kDestination;
  record.agent = {123, 456};
  record.state = "receiving";
  record.peer = "[::1]:7471";
  record.guest = "/run/a guest=1.qmp";
  record.committed = true;
  record.started = true;
  record.progress.phase = "pre-copy";
  record.progress.bytes_sent = 1;
  record.progress.bytes_remaining = 2;
  record.progress.throughput_bytes_per_s = 3.5;
  record.progress.dirty_bytes_per_s = 4.5;
  record.progress.predicted_downtime_ms = 5.5;
  record.progress.round = 6;

  Result<SessionRecord> parsed = parse_session_record(encode_session_record(record));

  ASSERT_TRUE(parsed) << parsed.error().text();
  EXPECT_EQ(encode_session_record(*parsed), encode_session_record(record));
  EXPECT_EQ(parsed->guest, record.guest);
  EXPECT_TRUE(parsed->started);
  EXPECT_EQ(parsed->progress.round, 6U);
}

TEST(SessionRecordText, CutShortAnywhereIsRefused) {
  SessionRecord record;
  record.session = kSession;
  std::string text = encode_session_record(record);

  for (size_t size = 0; size + 1 < text.size(); ++size) {
    Result<SessionRecord> parsed = parse_session_record(text.substr(0, size));
    ASSERT_FALSE(parsed) << size;
    ASSERT_EQ(parsed.error().code, Errc::kCorrupt);
  }
}

TEST(SessionRecordText, ValueCannotSmuggleALineIn) {
  SessionRecord record;
  record.session = kSession;
  record.peer = "host\ncommitted=yes";

  Result<SessionRecord> parsed = parse_session_record(encode_session_record(record));

  ASSERT_TRUE(parsed);
  EXPECT_FALSE(parsed->committed);
  EXPECT_EQ(parsed->peer, "host?committed=yes");
}

TEST(SessionId, IsNewEveryTime) {
  std::string first = new_session_id().value();
  std::string second = new_session_id().value();

  EXPECT_TRUE(is_session_id(first));
  EXPECT_NE(first, second);
}

}  // namespace
}  // namespace godwit
