// SPDX-License-Identifier: Apache-2.0
//
// The guardian beside real agents that really die. The "guest" is a file that the guardian writes.
#include "cli/guardian.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/time.h"
#include "engine/base/unique_fd.h"
#include "engine/session/session_directory.h"
#include "tests/support/runtime_directory.h"

namespace godwit::cli {
namespace {

constexpr char kSession[] = "00c0ffee00c0ffee";
constexpr Clock::duration kPatience = seconds(10);

class GuardianTest : public testing::Test {
 protected:
  struct Death {
    bool guest_resumed;
    bool session_left;
  };

  // Runs an agent that opens its session, does `then` and is killed. Returns what is there once its
  // guardian is gone, too.
  Death kill_agent(SessionRole role, const std::function<void(SessionDirectory&)>& then) {
    int pids[2] = {-1, -1};
    CHECK(::pipe(pids) == 0);
    pid_t agent = ::fork();
    if (agent == 0) run_agent(role, then, pids[1]);
    if (kept_ >= 0) ::close(kept_);
    pid_t guardian = -1;
    CHECK(::read(pids[0], &guardian, sizeof guardian) == sizeof guardian);
    ::close(pids[0]);
    ::close(pids[1]);
    UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, guardian, 0)));
    CHECK(handle.valid());
    ::kill(agent, SIGKILL);
    ::waitpid(agent, nullptr, 0);

    pollfd entry{handle.get(), POLLIN, 0};
    EXPECT_EQ(::poll(&entry, 1, 20'000), 1) << "the guardian stayed";
    return {std::filesystem::exists(directory_.beside("resumed")),
            std::filesystem::exists(directory_.path() + "/" + kSession + "/" + to_string(role))};
  }

  test::RuntimeDirectory directory_;
  // A socket that the agent has its guardian keep open.
  int kept_ = -1;
  KeptUntil kept_until_ = KeptUntil::kItMayBreak;

  // A VMM that writes more into the kept socket than that holds. Returns whether the guest was
  // resumed already when it saw the socket's end.
  bool resumed_before_the_end(KeptUntil until) {
    std::array<int, 2> ends{-1, -1};
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
    // A process, as the guardian may have no thread beside it when it is forked.
    const pid_t vmm = ::fork();
    if (vmm == 0) write_and_wait_for_end(ends);
    ::close(ends[1]);
    kept_ = ends[0];
    kept_until_ = until;

    const Death death = kill_agent(SessionRole::kSource, [](SessionDirectory& directory) {
      CHECK(directory.set_state("awaiting-ready"));
    });
    EXPECT_TRUE(death.guest_resumed);

    int status = -1;
    EXPECT_EQ(::waitpid(vmm, &status, 0), vmm);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) <= 1)
        << "what was written was not taken, or the end not seen";
    return WEXITSTATUS(status) == 1;
  }

 private:
  [[noreturn]] void run_agent(SessionRole role, const std::function<void(SessionDirectory&)>& then,
                              int pid_pipe) {
    auto guardian = Guardian::start(
        role,
        [this](const std::string& guest, const std::function<void()>& break_stream) -> Status {
          if (kept_ >= 0) break_while_resuming(break_stream);
          std::ofstream(guest) << "running";
          return {};
        });
    auto directory =
        SessionDirectory::create(kSession, role, {"peer", directory_.beside("resumed")});
    if (!guardian || !directory) _exit(1);
    (*guardian)->watch_over(kSession);
    if (kept_ >= 0) (*guardian)->keep_open(kept_, kept_until_);
    then(**directory);
    pid_t pid = (*guardian)->pid();
    if (::write(pid_pipe, &pid, sizeof pid) != sizeof pid) _exit(1);
    for (;;) ::pause();
  }

  [[noreturn]] void write_and_wait_for_end(const std::array<int, 2>& ends) {
    ::close(ends[0]);
    const std::vector<char> bytes(4 << 20, 'x');
    const bool taken = ::send(ends[1], bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
                       static_cast<ssize_t>(bytes.size());
    std::ofstream(directory_.beside("written")) << "all";
    char more = 0;
    // An error, where something was left unread.
    if (!taken || ::read(ends[1], &more, 1) > 0) _exit(2);
    const bool resumed = std::filesystem::exists(directory_.beside("resumed"));
    std::ofstream(directory_.beside("ended")) << "seen";
    _exit(resumed ? 1 : 0);
  }

  void break_while_resuming(const std::function<void()>& break_stream) {
    wait_for_file("written", kPatience);
    break_stream();
    wait_for_file("ended", kept_until_ == KeptUntil::kItMayBreak ? kPatience : milliseconds(50));
  }

  void wait_for_file(const char* name, Clock::duration max) {
    const Deadline deadline = deadline_in(max);
    while (!std::filesystem::exists(directory_.beside(name)) && Clock::now() < deadline)
      std::this_thread::yield();
  }
};

TEST_F(GuardianTest, ReadsWhatComesByTheSocketThatItKeepsUntilThatMayBreak) {
  EXPECT_FALSE(resumed_before_the_end(KeptUntil::kItMayBreak));
}

TEST_F(GuardianTest, ReadsWhatComesByTheSocketThatItKeepsUntilTheGuestIsResumed) {
  EXPECT_TRUE(resumed_before_the_end(KeptUntil::kMigrationIsOver));
}

TEST_F(GuardianTest, ResumesTheGuestOfAKilledSource) {
  Death death = kill_agent(SessionRole::kSource, [](SessionDirectory& directory) {
    CHECK(directory.set_state("saving-state"));
  });

  EXPECT_TRUE(death.guest_resumed);
  EXPECT_FALSE(death.session_left);
}

TEST_F(GuardianTest, TouchesNothingOnceTheSourceHasCommitted) {
  Death death = kill_agent(SessionRole::kSource,
                           [](SessionDirectory& directory) { CHECK(directory.record_commit()); });

  EXPECT_FALSE(death.guest_resumed);
  EXPECT_TRUE(death.session_left);
}

TEST_F(GuardianTest, ForgetsADestinationThatWasNotReady) {
  Death death = kill_agent(SessionRole::kDestination, [](SessionDirectory& directory) {
    CHECK(directory.set_state("loading-state"));
  });

  EXPECT_FALSE(death.guest_resumed);
  EXPECT_FALSE(death.session_left);
}

TEST_F(GuardianTest, KeepsADestinationThatWasReady) {
  Death death = kill_agent(SessionRole::kDestination, [](SessionDirectory& directory) {
    CHECK(directory.set_state("ready"));
  });

  EXPECT_FALSE(death.guest_resumed);
  EXPECT_TRUE(death.session_left);
}

TEST_F(GuardianTest, KeepsADestinationThatWaitsForTheSourcesWord) {
  Death death = kill_agent(SessionRole::kDestination, [](SessionDirectory& directory) {
    CHECK(directory.set_state("reconnecting"));
  });

  EXPECT_FALSE(death.guest_resumed);
  EXPECT_TRUE(death.session_left);
}

TEST_F(GuardianTest, LeavesWithAnAgentThatEndsCleanly) {
  auto guardian = Guardian::start(SessionRole::kSource,
                                  [](const std::string&, const auto&) { return Status(); });
  ASSERT_TRUE(guardian);
  pid_t pid = (*guardian)->pid();
  auto directory = SessionDirectory::create(kSession, SessionRole::kSource, {});
  ASSERT_TRUE(directory);
  (*guardian)->watch_over(kSession);

  guardian->reset();

  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_TRUE(read_session(kSession, SessionRole::kSource));
}

TEST_F(GuardianTest, HurtsNobodyWhenItIsKilledItself) {
  auto guardian = Guardian::start(SessionRole::kSource,
                                  [](const std::string&, const auto&) { return Status(); });
  ASSERT_TRUE(guardian);
  ::kill((*guardian)->pid(), SIGKILL);

  (*guardian)->watch_over(kSession);
  guardian->reset();

  SUCCEED();
}

TEST_F(GuardianTest, HasNoneOfTheAgentsDescriptors) {
  int pipe[2] = {-1, -1};
  ASSERT_EQ(::pipe(pipe), 0);
  auto guardian = Guardian::start(SessionRole::kSource,
                                  [](const std::string&, const auto&) { return Status(); });
  ASSERT_TRUE(guardian);

  // The pipe's end is seen only when nobody else holds the writing side.
  ::close(pipe[1]);
  pollfd entry{pipe[0], POLLIN, 0};
  EXPECT_EQ(::poll(&entry, 1, 20'000), 1);
  EXPECT_NE(entry.revents & POLLHUP, 0);
  ::close(pipe[0]);
}

}  // namespace
}  // namespace godwit::cli
