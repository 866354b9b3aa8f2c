// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm-adapters/linux/system_calling_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <liburing.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <vector>

#include "engine/base/time.h"
#include "engine/base/units.h"

namespace godwit::test {
namespace {

constexpr auto kPatience = seconds(20);
constexpr uint64_t kWriteOffset = kMiB;

void make_pipe(UniqueFd& read_end, UniqueFd& write_end) {
  int fds[2];
  EXPECT_EQ(pipe2(fds, O_CLOEXEC), 0);
  read_end.reset(fds[0]);
  write_end.reset(fds[1]);
}

int64_t answer_of(ssize_t count) {
  return count >= 0 ? count : -errno;
}

// `fixed`: the page is registered, which pins it, before the read.
int64_t read_by_ring(int fd, std::byte* page, bool fixed) {
  io_uring ring;
  if (int error = io_uring_queue_init(4, &ring, 0); error != 0) return error;
  int64_t result = 0;
  const iovec buffer{page, kTransferBytes};
  if (fixed) result = io_uring_register_buffers(&ring, &buffer, 1);
  if (result == 0) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring);
    if (fixed) {
      io_uring_prep_read_fixed(entry, fd, page, kTransferBytes, 0, 0);
    } else {
      io_uring_prep_read(entry, fd, page, kTransferBytes, 0);
      entry->flags |= IOSQE_ASYNC;
    }
    io_uring_submit(&ring);
    io_uring_cqe* completion = nullptr;
    result = io_uring_wait_cqe(&ring, &completion);
    if (result == 0) result = completion->res;
  }
  io_uring_queue_exit(&ring);
  return result;
}

}  // namespace

SystemCallingProcess::SystemCallingProcess(const TestMemory& memory, const std::string& folder) {
  std::string path = folder + "/godwit-system-calls-XXXXXX";
  buffered_.reset(mkostemp(path.data(), O_CLOEXEC));
  direct_.reset(open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
  EXPECT_TRUE(buffered_.valid() && direct_.valid()) << path;
  unlink(path.c_str());
  const std::vector<char> content(2 * kMiB, kFileByte);
  EXPECT_EQ(write(buffered_.get(), content.data(), content.size()),
            static_cast<ssize_t>(content.size()));
  EXPECT_EQ(fsync(buffered_.get()), 0);
  make_pipe(child_commands_, commands_);
  make_pipe(answers_, child_answers_);
  pid_ = fork();
  if (pid_ == 0) run_child(memory);
  EXPECT_GT(pid_, 0);
}

SystemCallingProcess::~SystemCallingProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
}

void SystemCallingProcess::run_child(const TestMemory& memory) const {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  close(commands_.get());
  while (true) {
    pollfd commands{child_commands_.get(), POLLIN, 0};
    ppoll(&commands, 1, nullptr, nullptr);
    Command command{};
    if (read(child_commands_.get(), &command, sizeof(command)) != sizeof(command)) _exit(0);
    const int64_t answer =
        run(command, &memory.bytes()[command.page * memory.memory()[0].page_size_bytes]);
    if (write(child_answers_.get(), &answer, sizeof(answer)) != sizeof(answer)) _exit(0);
  }
}

int64_t SystemCallingProcess::run(const Command& command, std::byte* page) const {
  switch (command.operation) {
    case Operation::kLoad:
      return static_cast<int64_t>(std::atomic_ref(*page).load(std::memory_order_relaxed));
    case Operation::kRead:
      return answer_of(pread(buffered_.get(), page, kTransferBytes, 0));
    case Operation::kDirectRead:
      return answer_of(pread(direct_.get(), page, kTransferBytes, 0));
    case Operation::kRingRead:
      return read_by_ring(direct_.get(), page, false);
    case Operation::kRingFixedRead:
      return read_by_ring(direct_.get(), page, true);
    case Operation::kDirectWrite:
      return answer_of(pwrite(direct_.get(), page, kTransferBytes, kWriteOffset));
    case Operation::kSend:
      return answer_of(pwrite(buffered_.get(), page, kTransferBytes, kWriteOffset));
  }
  return -EINVAL;
}

void SystemCallingProcess::begin(Operation operation, uint64_t page) const {
  const Command command{operation, page};
  EXPECT_EQ(write(commands_.get(), &command, sizeof(command)),
            static_cast<ssize_t>(sizeof(command)));
}

std::optional<int64_t> SystemCallingProcess::result() const {
  pollfd answers{answers_.get(), POLLIN, 0};
  if (poll(&answers, 1, milliseconds_until(deadline_in(kPatience))) != 1) return std::nullopt;
  int64_t answer = 0;
  EXPECT_EQ(read(answers_.get(), &answer, sizeof(answer)), static_cast<ssize_t>(sizeof(answer)));
  return answer;
}

std::string SystemCallingProcess::written() const {
  std::string bytes(kTransferBytes, '\0');
  EXPECT_EQ(pread(buffered_.get(), bytes.data(), bytes.size(), kWriteOffset),
            static_cast<ssize_t>(bytes.size()));
  return bytes;
}

}  // namespace godwit::test
