// SPDX-License-Identifier: Apache-2.0
#include "engine/session/process_identity.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <string>
#include <string_view>

#include "engine/base/unique_fd.h"

namespace godwit {
namespace {

struct ProcessStat {
  char run_state;
  uint64_t start_ticks;
};

// "PID (name) S ppid ...": the name may hold blanks and brackets, so fields are counted behind the
// last bracket. The start time is field 22, the state field 3.
Result<ProcessStat> parse_stat(std::string_view text) {
  size_t bracket = text.rfind(')');
  if (bracket == std::string_view::npos || bracket + 2 >= text.size()) {
    return fail(Errc::kCorrupt, "/proc/PID/stat has no process name");
  }
  std::string_view rest = text.substr(bracket + 2);
  ProcessStat stat{rest[0], 0};
  for (int field = 3; field < 22; ++field) {
    size_t blank = rest.find(' ');
    if (blank == std::string_view::npos) {
      return fail(Errc::kCorrupt, "/proc/PID/stat ends before the start time");
    }
    rest.remove_prefix(blank + 1);
  }
  auto parsed = std::from_chars(rest.data(), rest.data() + rest.size(), stat.start_ticks);
  if (parsed.ec != std::errc()) return fail(Errc::kCorrupt, "/proc/PID/stat: bad start time");
  return stat;
}

Result<ProcessStat> read_stat(pid_t pid) {
  std::string path = fmt::format("/proc/{}/stat", pid);
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return fail_errno(errno, "open {}", path);

  std::array<char, 1024> text{};
  ssize_t size = ::read(file.get(), text.data(), text.size());
  if (size < 0) return fail_errno(errno, "read {}", path);
  return parse_stat({text.data(), static_cast<size_t>(size)});
}

}  // namespace

Result<ProcessIdentity> identify_process(pid_t pid) {
  ASSIGN_OR_RETURN(ProcessStat stat, read_stat(pid));
  return ProcessIdentity{pid, stat.start_ticks};
}

bool is_running(const ProcessIdentity& process) {
  Result<ProcessStat> stat = read_stat(process.pid);
  return stat && stat->start_ticks == process.start_ticks && stat->run_state != 'Z' &&
         stat->run_state != 'X';
}

bool await_end(const ProcessIdentity& process, Deadline deadline) {
  // Opened before the look at it, so that it is this process's or nobody's.
  UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  while (is_running(process)) {
    if (!handle.valid() || Clock::now() >= deadline) return false;
    pollfd ended{handle.get(), POLLIN, 0};
    ::poll(&ended, 1, milliseconds_until(deadline));
  }
  return true;
}

Status send_signal(const ProcessIdentity& process, int signal_number) {
  // The descriptor holds on to the process, so it is the checked one that gets the signal.
  UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  if (!handle.valid() || !is_running(process)) {
    return fail(Errc::kRefused, "process {} is not running any more", process.pid);
  }
  if (::syscall(SYS_pidfd_send_signal, handle.get(), signal_number, nullptr, 0) != 0) {
    return fail_errno(errno, "send signal {} to process {}", signal_number, process.pid);
  }
  return {};
}

}  // namespace godwit
