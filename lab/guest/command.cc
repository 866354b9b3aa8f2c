// SPDX-License-Identifier: Apache-2.0
//
// Running one command: see the header.
#include "lab/guest/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace godwit::lab {

namespace {

// Input that the command has not read yet, before we take no more from the caller.
constexpr size_t kInputBytesMax = size_t{1} << 20;

struct Pipe {
  int read_end;
  int write_end;
};

Pipe make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
  return {ends[0], ends[1]};
}

// Becomes the command; or says why not, as a shell would, on the command's own error output.
[[noreturn]] void become(const std::string& request) {
  std::vector<char*> strings;
  std::string bytes = request;
  for (size_t start = 0; start < bytes.size(); start += std::strlen(&bytes[start]) + 1) {
    strings.push_back(&bytes[start]);
  }
  const char* folder = strings[0];
  const auto arguments_begin = strings.begin() + 2;
  const auto arguments_end = arguments_begin + std::atol(strings[1]);
  std::vector<char*> arguments(arguments_begin, arguments_end);
  std::vector<char*> variables(arguments_end, strings.end());
  arguments.push_back(nullptr);
  variables.push_back(nullptr);

  ::setsid();
  ::signal(SIGPIPE, SIG_DFL);
  const char* refused = folder;
  if (::chdir(folder) == 0) {
    refused = arguments[0];
    environ = variables.data();
    ::execvp(arguments[0], arguments.data());
  }
  const int error = errno;
  std::fprintf(stderr, "lab: %s: %s\n", refused, strerrordesc_np(error));
  ::_exit(error == ENOENT ? 127 : 126);
}

}  // namespace

Command::Command(int connection, const std::string& request) : connection_(connection) {
  const Pipe input = make_pipe();
  const Pipe output = make_pipe();
  const Pipe errors = make_pipe();
  process_ = ::fork();
  if (process_ == 0) {
    ::dup2(input.read_end, 0);
    ::dup2(output.write_end, 1);
    ::dup2(errors.write_end, 2);
    become(request);
  }
  for (const int fd : {input.read_end, output.write_end, errors.write_end}) ::close(fd);
  for (const int fd : {input.write_end, output.read_end, errors.read_end}) {
    ::fcntl(fd, F_SETFL, O_NONBLOCK);
  }
  exit_fd_ = static_cast<int>(::syscall(SYS_pidfd_open, process_, 0));
  input_fd_ = input.write_end;
  outputs_[0] = {output.read_end, Kind::kOutput};
  outputs_[1] = {errors.read_end, Kind::kError};
}

Command::~Command() {
  ::close(exit_fd_);
  close_input();
  for (const Output& output : outputs_) ::close(output.fd);
}

void Command::run() {
  Progress progress = Progress::kGoesOn;
  while (progress == Progress::kGoesOn) progress = step();
  if (progress == Progress::kCallerIsGone) signal_all(SIGKILL);
  int status = 0;
  ::waitpid(process_, &status, 0);
  // What is in a shared folder has to be on the host before the machine goes.
  ::sync();
  send_frame(connection_, Kind::kEnded, {reinterpret_cast<const char*>(&status), sizeof status});
}

Command::Progress Command::step() {
  const short input_wanted = input_.size() < kInputBytesMax ? POLLIN : 0;
  pollfd waits[] = {
      {connection_, static_cast<short>(POLLRDHUP | input_wanted), 0},
      {exit_fd_, POLLIN, 0},
      {input_.empty() ? -1 : input_fd_, POLLOUT, 0},
      {outputs_[0].fd, POLLIN, 0},
      {outputs_[1].fd, POLLIN, 0},
  };
  if (::poll(waits, std::size(waits), -1) < 0) return Progress::kGoesOn;

  if ((waits[0].revents & POLLIN) != 0) {
    if (!receive()) return Progress::kCallerIsGone;
  } else if (waits[0].revents != 0) {
    return Progress::kCallerIsGone;
  }
  feed_input();
  // One read takes all that a pipe can hold, which after the command's end is all that it wrote and
  // is not sent yet. The pipe's own end may never come: a process that the command leaves behind
  // may hold it open.
  for (Output& output : outputs_) {
    if (!forward(output)) return Progress::kCallerIsGone;
  }
  return waits[1].revents != 0 ? Progress::kHasEnded : Progress::kGoesOn;
}

bool Command::receive() {
  const std::optional<Frame> frame = receive_frame(connection_);
  if (!frame) return false;
  if (frame->kind == Kind::kInput) {
    input_ += frame->payload;
    input_is_complete_ = frame->payload.empty();
  } else if (frame->kind == Kind::kSignal && frame->payload.size() == 1) {
    signal_all(frame->payload[0]);
  }
  return true;
}

void Command::feed_input() {
  while (!input_.empty() && input_fd_ >= 0) {
    const ssize_t put = ::write(input_fd_, input_.data(), input_.size());
    if (put < 0 && errno == EAGAIN) return;
    if (put < 0) close_input();
    if (put > 0) input_.erase(0, static_cast<size_t>(put));
  }
  // What comes after the command has closed its input goes nowhere, as with any pipe.
  input_.clear();
  if (input_is_complete_) close_input();
}

bool Command::forward(Output& output) {
  if (output.fd < 0) return true;
  char piece[kPieceBytes];
  const ssize_t got = ::read(output.fd, piece, sizeof piece);
  if (got > 0) {
    return send_frame(connection_, output.kind, {piece, static_cast<size_t>(got)});
  }
  if (got == 0) {
    ::close(output.fd);
    output.fd = -1;
  }
  return true;
}

void Command::close_input() {
  if (input_fd_ >= 0) ::close(input_fd_);
  input_fd_ = -1;
}

void Command::signal_all(int number) const {
  ::kill(-process_, number);
}

}  // namespace godwit::lab
