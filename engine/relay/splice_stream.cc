// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/splice_stream.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <thread>

#include "engine/base/units.h"

namespace godwit::relay {
namespace {

constexpr int kPipeBytes = 1 * kMiB;

enum class End : uint8_t {
  kEnded = 1,    // there is nothing more to read
  kRefused = 2,  // nobody reads what is written
};

Status wait_for(int fd, int16_t events) {
  pollfd descriptor{.fd = fd, .events = events, .revents = 0};
  while (::poll(&descriptor, 1, -1) < 0) {
    if (errno != EINTR) return fail_errno(errno, "wait for a stream");
  }
  return {};
}

// One direction: from a socket, through a pipe, into another.
class Splicer {
 public:
  static Result<Splicer> make(int from, int to, std::atomic<uint64_t>* counter) {
    std::array<int, 2> fds{};
    if (::pipe2(fds.data(), O_CLOEXEC | O_NONBLOCK) != 0)
      return fail_errno(errno, "make a pipe for a stream");
    Splicer splicer(from, to, UniqueFd(fds[0]), UniqueFd(fds[1]), counter);
    // Beyond what an ordinary user may have in pipes it stays as small as it is.
    (void)::fcntl(fds[1], F_SETPIPE_SZ, kPipeBytes);
    return splicer;
  }

  Result<End> run() {
    while (true) {
      const ssize_t size = ::splice(from_, nullptr, pipe_in_.get(), nullptr, kPipeBytes,
                                    SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (size == 0) return End::kEnded;
      if (size > 0) {
        ASSIGN_OR_RETURN(const bool taken, write(static_cast<size_t>(size)));
        if (!taken) return End::kRefused;
      } else if (errno == EAGAIN) {
        RETURN_IF_ERROR(wait_for(from_, POLLIN));
      } else if (errno != EINTR) {
        return fail_errno(errno, "read a stream");
      }
    }
  }

  uint64_t bytes() const { return bytes_; }

 private:
  Splicer(int from, int to, UniqueFd out, UniqueFd in, std::atomic<uint64_t>* counter)
      : from_(from),
        to_(to),
        pipe_out_(std::move(out)),
        pipe_in_(std::move(in)),
        counter_(counter) {}

  // Whether somebody takes it.
  Result<bool> write(size_t left) {
    while (left > 0) {
      const ssize_t size =
          ::splice(pipe_out_.get(), nullptr, to_, nullptr, left, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (size > 0) {
        left -= static_cast<size_t>(size);
        bytes_ += static_cast<uint64_t>(size);
        count(counter_, static_cast<uint64_t>(size));
      } else if (size < 0 && errno == EAGAIN) {
        RETURN_IF_ERROR(wait_for(to_, POLLOUT));
      } else if (size < 0 && (errno == EPIPE || errno == ECONNRESET)) {
        return false;
      } else if (size == 0 || errno != EINTR) {
        return fail_errno(size == 0 ? EIO : errno, "pass a stream on");
      }
    }
    return true;
  }

  int from_;
  int to_;
  UniqueFd pipe_out_;
  UniqueFd pipe_in_;
  std::atomic<uint64_t>* counter_;
  uint64_t bytes_ = 0;
};

// What comes from the VMM. One that goes without reading what came back resets its socket: an end.
Status send_out(Splicer& splicer, VmmStream& stream, const UniqueFd& outgoing) {
  Result<End> end = splicer.run();
  if (!end && end.error().os_errno == ECONNRESET) end = End::kEnded;
  RETURN_IF_ERROR(end);
  if (*end == End::kRefused) stream.end_reading();
  ::shutdown(outgoing.get(), SHUT_WR);
  return {};
}

// What goes to it.
Status take_in(Splicer& splicer, VmmStream& stream, const UniqueFd& incoming) {
  const Result<End> end = splicer.run();
  if (!end && end.error().os_errno == ECONNRESET)
    return fail(Errc::kPeerLost, "the other host's relay has gone");
  RETURN_IF_ERROR(end);
  if (*end == End::kEnded) stream.end_writing();
  // Whoever still sends is told by a reset.
  ::shutdown(incoming.get(), SHUT_RDWR);
  return {};
}

}  // namespace

Result<StreamTraffic> splice(VmmStream& stream, UniqueFd outgoing, UniqueFd incoming,
                             Interruption& interruption, StreamCounters* counters) {
  ASSIGN_OR_RETURN(Splicer out, Splicer::make(stream.fd(), outgoing.get(), sent_of(counters)));
  ASSIGN_OR_RETURN(Splicer in, Splicer::make(incoming.get(), stream.fd(), received_of(counters)));
  const Interruption::Hook wake = interruption.on_raise([&] {
    stream.shut_down();
    ::shutdown(outgoing.get(), SHUT_RDWR);
    ::shutdown(incoming.get(), SHUT_RDWR);
  });
  {
    const std::jthread sending([&] {
      if (const Status sent = send_out(out, stream, outgoing); !sent)
        interruption.raise(sent.error());
    });
    if (const Status taken = take_in(in, stream, incoming); !taken)
      interruption.raise(taken.error());
  }
  RETURN_IF_ERROR(interruption.check());
  return StreamTraffic{.sent_bytes = out.bytes(), .received_bytes = in.bytes()};
}

}  // namespace godwit::relay
