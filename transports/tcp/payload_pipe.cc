// SPDX-License-Identifier: Apache-2.0
#include "transports/tcp/payload_pipe.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

namespace godwit {
namespace {

constexpr int kPipeBytes = 1 << 20;
constexpr size_t kVectorsMax = 256;

// splice() has no MSG_NOSIGNAL, and a library has no say in what SIGPIPE does in this process. So
// the signal is held back on this thread while splicing, and taken away if it was our doing.
class SigpipeHeldBack {
 public:
  SigpipeHeldBack() {
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    sigemptyset(&sigpipe_);
    sigaddset(&sigpipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
  }
  ~SigpipeHeldBack() {
    if (broken_ && !was_pending_) {
      const timespec no_time{};
      sigtimedwait(&sigpipe_, nullptr, &no_time);
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SigpipeHeldBack(const SigpipeHeldBack&) = delete;
  SigpipeHeldBack& operator=(const SigpipeHeldBack&) = delete;

  void socket_is_broken() { broken_ = true; }

 private:
  sigset_t sigpipe_;
  sigset_t before_;
  bool was_pending_ = false;
  bool broken_ = false;
};

}  // namespace

Result<PayloadPipe> PayloadPipe::open() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "pipe2");
  PayloadPipe pipe;
  pipe.read_end_.reset(ends[0]);
  pipe.write_end_.reset(ends[1]);
  // A smaller pipe (fs.pipe-user-pages-soft is used up) is slower, not wrong.
  static_cast<void>(::fcntl(ends[1], F_SETPIPE_SZ, kPipeBytes));
  return pipe;
}

Result<PayloadPipe::Outcome> PayloadPipe::push(IoVectors& payload, int socket) {
  while (payload.bytes_left() > 0 || piped_bytes_ > 0) {
    if (payload.bytes_left() > 0) {
      ssize_t taken = ::vmsplice(write_end_.get(), payload.first(),
                                 std::min(payload.count(), kVectorsMax), SPLICE_F_NONBLOCK);
      if (taken > 0) {
        payload.advance(static_cast<size_t>(taken));
        piped_bytes_ += static_cast<size_t>(taken);
      } else if (piped_bytes_ == 0 && errno != EINTR) {
        return Outcome::kMemoryRefused;
      }
    }
    ASSIGN_OR_RETURN(Outcome outcome, drain(payload, socket));
    if (outcome == Outcome::kSocketFull) return outcome;
  }
  return Outcome::kDone;
}

Result<PayloadPipe::Outcome> PayloadPipe::drain(IoVectors& payload, int socket) {
  SigpipeHeldBack sigpipe;
  while (piped_bytes_ > 0) {
    unsigned flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
    if (payload.bytes_left() > 0) flags |= SPLICE_F_MORE;
    ssize_t moved = ::splice(read_end_.get(), nullptr, socket, nullptr, piped_bytes_, flags);
    if (moved > 0) {
      piped_bytes_ -= static_cast<size_t>(moved);
      continue;
    }
    if (moved < 0 && errno == EINTR) continue;
    if (moved < 0 && errno == EAGAIN) return Outcome::kSocketFull;
    const int os_errno = moved < 0 ? errno : EPIPE;
    if (os_errno == EPIPE) sigpipe.socket_is_broken();
    return fail_errno(os_errno, "splice {} bytes into a socket", piped_bytes_);
  }
  return Outcome::kDone;
}

}  // namespace godwit
