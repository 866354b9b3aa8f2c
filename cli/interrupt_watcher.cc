// SPDX-License-Identifier: Apache-2.0
#include "cli/interrupt_watcher.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <memory>
#include <utility>

#include "cli/console.h"

namespace godwit::cli {
namespace {

sigset_t interrupt_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGHUP);
  return signals;
}

}  // namespace

void block_interrupt_signals() {
  sigset_t signals = interrupt_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

Result<std::unique_ptr<InterruptWatcher>> InterruptWatcher::start() {
  sigset_t signals = interrupt_signals();
  UniqueFd signal_fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signal_fd.valid()) return fail_errno(errno, "set up the handling of Ctrl-C");
  ASSIGN_OR_RETURN(WakeEvent interrupted_event, WakeEvent::make());
  ASSIGN_OR_RETURN(WakeEvent stop_event, WakeEvent::make());
  return std::unique_ptr<InterruptWatcher>(new InterruptWatcher(
      std::move(signal_fd), std::move(interrupted_event), std::move(stop_event)));
}

InterruptWatcher::InterruptWatcher(UniqueFd signals, WakeEvent interrupted_event,
                                   WakeEvent stop_event)
    : signals_(std::move(signals)),
      interrupted_event_(std::move(interrupted_event)),
      stop_event_(std::move(stop_event)),
      thread_([this] { watch(); }) {}

InterruptWatcher::~InterruptWatcher() {
  stop_event_.raise();
  thread_.join();
}

void InterruptWatcher::set_action(std::function<void()> action) {
  std::lock_guard lock(mutex_);
  action_ = std::move(action);
  if (interrupted_ && action_) action_();
}

bool InterruptWatcher::interrupted() const {
  std::lock_guard lock(mutex_);
  return interrupted_;
}

void InterruptWatcher::watch() {
  std::array<pollfd, 2> entries{pollfd{signals_.get(), POLLIN, 0},
                                pollfd{stop_event_.fd(), POLLIN, 0}};
  for (;;) {
    ::poll(entries.data(), entries.size(), -1);
    if (entries[1].revents != 0) return;
    signalfd_siginfo signal{};
    if (::read(signals_.get(), &signal, sizeof signal) != sizeof signal) continue;

    std::lock_guard lock(mutex_);
    if (std::exchange(interrupted_, true)) {
      write_stderr("\ngodwit: already stopping\n");
      continue;
    }
    write_stderr("\ngodwit: stopping\n");
    interrupted_event_.raise();
    if (action_) action_();
  }
}

Result<std::unique_ptr<InterruptWatcher>> watch_interrupts(const AgentOptions& options) {
  block_interrupt_signals();
  Result<std::unique_ptr<InterruptWatcher>> interrupts = InterruptWatcher::start();
  if (!interrupts) {
    say(to_string(interrupts.error()));
    return interrupts;
  }
  if (options.insecure) say("--insecure: neither encrypted nor authenticated");
  return interrupts;
}

}  // namespace godwit::cli
