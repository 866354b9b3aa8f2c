// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm-adapters/linux/tracked_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <new>

namespace godwit::test {
namespace {

// Of the child, for its signal handler.
std::atomic<uint64_t>* signal_count = nullptr;

void make_pipe(UniqueFd& read_end, UniqueFd& write_end) {
  int fds[2];
  EXPECT_EQ(pipe2(fds, O_CLOEXEC), 0);
  read_end.reset(fds[0]);
  write_end.reset(fds[1]);
}

}  // namespace

TrackedProcess::TrackedProcess(const TestMemory& memory)
    : shared_address_(mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
  new (shared_address_) Shared{};
  make_pipe(child_commands_, commands_);
  make_pipe(answers_, child_answers_);
  pid_ = fork();
  if (pid_ == 0) run_child(memory);
  EXPECT_GT(pid_, 0);
  child_commands_.reset();
  child_answers_.reset();
}

void TrackedProcess::run_child(const TestMemory& memory) const {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  close(commands_.get());
  signal_count = &shared().signals;
  struct sigaction action {};
  action.sa_handler = [](int) { ++*signal_count; };
  sigaction(SIGUSR1, &action, nullptr);
  while (true) {
    pollfd poll{child_commands_.get(), POLLIN, 0};
    timespec millisecond{0, 1'000'000};
    int answer = ppoll(&poll, 1, &millisecond, nullptr);
    bool interrupted = answer == -1 && errno == EINTR;
    if (!interrupted && answer != 0 && answer != 1) shared().wrong_answers++;
    shared().turns++;
    if (answer != 1) continue;
    uint64_t page = 0;
    if (read(child_commands_.get(), &page, sizeof(page)) != sizeof(page)) _exit(0);
    memory.write(page, 77);
    if (write(child_answers_.get(), &page, sizeof(page)) != sizeof(page)) _exit(0);
  }
}

TrackedProcess::~TrackedProcess() {
  if (pid_ > 0) {  // with -1, kill() would reach every process of the machine
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  munmap(shared_address_, sizeof(Shared));
}

void TrackedProcess::write_page(uint64_t page) const {
  uint64_t answer = ~page;
  EXPECT_EQ(write(commands_.get(), &page, sizeof(page)), static_cast<ssize_t>(sizeof(page)));
  EXPECT_EQ(read(answers_.get(), &answer, sizeof(answer)), static_cast<ssize_t>(sizeof(answer)));
  EXPECT_EQ(answer, page);
}

bool TrackedProcess::alive() const {
  return waitpid(pid_, nullptr, WNOHANG) == 0;
}

uint64_t TrackedProcess::descriptor_count() const {
  std::filesystem::directory_iterator entries("/proc/" + std::to_string(pid_) + "/fd");
  return static_cast<uint64_t>(std::distance(begin(entries), end(entries)));
}

ForkedAgent::ForkedAgent(const std::function<void()>& work) {
  UniqueFd child_done;
  make_pipe(done_, child_done);
  pid_ = fork();
  if (pid_ != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  work();
  if (write(child_done.get(), "x", 1) != 1) _exit(1);
  while (true) pause();
}

void ForkedAgent::wait_until_done() const {
  char done = 0;
  EXPECT_EQ(read(done_.get(), &done, 1), 1);
}

void ForkedAgent::kill_now() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

}  // namespace godwit::test
