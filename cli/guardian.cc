// SPDX-License-Identifier: Apache-2.0
#include "cli/guardian.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/time.h"
#include "engine/session/session_directory.h"
#include "vmm-adapters/linux/stream_drain.h"

namespace godwit::cli {
namespace {

constexpr std::string_view kGoodbye = "goodbye";
constexpr std::string_view kKeepStream = "keep open until it may break";
constexpr std::string_view kKeepChannel = "keep open until the guest is resumed";

// A VMM takes a moment to notice that the agent's connection is gone before it takes another.
constexpr int kAttempts = 100;
constexpr milliseconds kAttemptPeriod{100};
constexpr seconds kAgentEndMax{1};

// Away from the agent's terminal, signals and descriptors: only the socket is kept, as
// descriptor 3.
void detach(int socket) {
  constexpr int kSocket = 3;
  ::setsid();
  for (int signal_number : {SIGINT, SIGTERM, SIGHUP}) ::signal(signal_number, SIG_IGN);
  ::prctl(PR_SET_NAME, "godwit-guardian");
  if (socket != kSocket) ::dup2(socket, kSocket);
  ::close_range(kSocket + 1, ~0U, 0);
  int nothing = ::open("/dev/null", O_RDWR);
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(nothing, fd);
  if (nothing > kSocket) ::close(nothing);
  if (::chdir("/") != 0) _exit(1);
}

// A message that may have one descriptor with it.
struct Envelope {
  std::array<char, 64> text{};
  iovec vector{text.data(), text.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};

  Envelope() {
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
  }
  UniqueFd take_descriptor() {
    const cmsghdr* const first = CMSG_FIRSTHDR(&header);
    if (first == nullptr || first->cmsg_type != SCM_RIGHTS) return {};
    int descriptor = -1;
    std::memcpy(&descriptor, CMSG_DATA(first), sizeof descriptor);
    return UniqueFd(descriptor);
  }
};

// What the agent left behind without a goodbye; no session when there is nothing.
struct Legacy {
  std::string session;
  UniqueFd stream;
  std::vector<UniqueFd> channels;
};
Legacy await_death() {
  constexpr int kSocket = 3;
  Legacy legacy;
  for (;;) {
    Envelope message;
    const ssize_t size = ::recvmsg(kSocket, &message.header, MSG_CMSG_CLOEXEC);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return legacy;
    const std::string_view text(message.text.data(), static_cast<size_t>(size));
    if (text == kGoodbye) return {};
    if (text == kKeepStream) {
      legacy.stream = message.take_descriptor();
    } else if (text == kKeepChannel) {
      legacy.channels.push_back(message.take_descriptor());
    } else {
      legacy.session = text;
    }
  }
}

void tell_system_log(const std::string& text) {
  ::openlog("godwit", LOG_PID, LOG_DAEMON);
  ::syslog(LOG_WARNING, "%s", text.c_str());
}

void settle(const std::string& session, SessionRole role, const ResumeGuest& resume_guest) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Result<SessionRecord> record = read_session(session, role);
    if (!record) return;  // the agent had tidied up already
    // The socket's end comes a little before the process's.
    const bool ended = await_end(record->agent, deadline_in(kAgentEndMax));
    Result<AfterDeath> outcome = ended ? settle_after_death(*record, resume_guest)
                                       : fail(Errc::kTimeout, "the agent is still there");
    if (outcome) {
      tell_system_log(fmt::format("the agent of session {} ({}) died; {}", session, to_string(role),
                                  *outcome == AfterDeath::kGuestRuns ? "its guest runs again"
                                  : *outcome == AfterDeath::kForgotten
                                      ? "nothing of it is left"
                                      : "the outcome is in doubt"));
      return;
    }
    if (attempt + 1 == kAttempts) {
      tell_system_log(
          fmt::format("the agent of session {} died, and its guest could not be made "
                      "to run: {}",
                      session, to_string(outcome.error())));
    }
    std::this_thread::sleep_for(kAttemptPeriod);
  }
}

void settle(Legacy legacy, SessionRole role, const ResumeKeptGuest& resume_guest) {
  std::optional<StreamDrain> stream_drain;
  std::vector<StreamDrain> channel_drains;
  settle(legacy.session, role, [&](const std::string& guest) {
    if (legacy.stream.valid() && !stream_drain) stream_drain.emplace(legacy.stream.get());
    if (channel_drains.empty())
      for (const UniqueFd& channel : legacy.channels) channel_drains.emplace_back(channel.get());
    return resume_guest(guest, [&] {
      stream_drain.reset();
      ::shutdown(legacy.stream.get(), SHUT_RDWR);
      legacy.stream.reset();
    });
  });
}

}  // namespace

Result<std::unique_ptr<Guardian>> Guardian::start(SessionRole role,
                                                  const ResumeKeptGuest& resume_guest) {
  std::array<int, 2> sockets{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.data()) != 0) {
    return fail_errno(errno, "make a socket for the guardian");
  }
  UniqueFd ours(sockets[0]);
  UniqueFd theirs(sockets[1]);
  pid_t pid = ::fork();
  if (pid < 0) return fail_errno(errno, "fork the guardian");
  if (pid == 0) {
    detach(theirs.release());
    Legacy legacy = await_death();
    if (!legacy.session.empty()) settle(std::move(legacy), role, resume_guest);
    _exit(0);
  }
  return std::unique_ptr<Guardian>(new Guardian(std::move(ours), pid));
}

Guardian::Guardian(UniqueFd socket, pid_t pid) : socket_(std::move(socket)), pid_(pid) {}

Guardian::~Guardian() {
  ::send(socket_.get(), kGoodbye.data(), kGoodbye.size(), MSG_NOSIGNAL);
  socket_.reset();
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Guardian::keep_open(int socket, KeptUntil until) {
  const std::string_view text = until == KeptUntil::kItMayBreak ? kKeepStream : kKeepChannel;
  Envelope message;
  message.vector = {const_cast<char*>(text.data()), text.size()};
  cmsghdr* const first = CMSG_FIRSTHDR(&message.header);
  first->cmsg_level = SOL_SOCKET;
  first->cmsg_type = SCM_RIGHTS;
  first->cmsg_len = CMSG_LEN(sizeof socket);
  std::memcpy(CMSG_DATA(first), &socket, sizeof socket);
  ::sendmsg(socket_.get(), &message.header, MSG_NOSIGNAL);
}

void Guardian::watch_over(const std::string& session) {
  ::send(socket_.get(), session.data(), session.size(), MSG_NOSIGNAL);
}

}  // namespace godwit::cli
