// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/unix_stream.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

namespace godwit {
namespace {

constexpr int kBacklog = 64;
constexpr int kSendBufferBytes = 2 << 20;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path))
    return fail(Errc::kRefused, "a socket's path has 1 to {} bytes, and this one {}: {}",
                sizeof(address.sun_path) - 1, path.size(), path);
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Result<UniqueFd> make_socket() {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return fail_errno(errno, "make a unix socket");
  return socket;
}

// SAFETY: the sockets API takes every address family through sockaddr.
const sockaddr* as_sockaddr(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// A socket that a process left behind when it was killed.
Status remove_left_over(const std::string& path, const sockaddr_un& address) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) return {};
  if (!S_ISSOCK(found.st_mode))
    return fail(Errc::kRefused, "{} is there already, and no socket", path);
  ASSIGN_OR_RETURN(const UniqueFd probe, make_socket());
  if (::connect(probe.get(), as_sockaddr(address), sizeof(address)) == 0 || errno != ECONNREFUSED)
    return fail(Errc::kRefused, "somebody listens at {} already", path);
  if (::unlink(path.c_str()) != 0) return fail_errno(errno, "remove the old socket {}", path);
  return {};
}

class UnixStream final : public VmmStream {
 public:
  explicit UnixStream(UniqueFd socket) : socket_(std::move(socket)) {}

  Result<Progress> read(std::span<std::byte> bytes) override {
    while (true) {
      const ssize_t size = ::read(socket_.get(), bytes.data(), bytes.size());
      if (shut_down_.load()) return cancelled();
      if (size > 0) return Progress{State::kOpen, static_cast<size_t>(size)};
      // A writer that went without reading what we wrote resets the connection.
      if (size == 0 || errno == ECONNRESET) return Progress{State::kEnded, 0};
      if (errno == EAGAIN) return Progress{State::kNotReady, 0};
      if (errno != EINTR) return fail_errno(errno, "read from a unix socket");
    }
  }

  Result<Progress> write(std::span<const std::byte> bytes) override {
    while (true) {
      const ssize_t size = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (shut_down_.load()) return cancelled();
      if (size >= 0) return Progress{State::kOpen, static_cast<size_t>(size)};
      if (errno == EPIPE || errno == ECONNRESET) return Progress{State::kEnded, 0};
      if (errno == EAGAIN) return Progress{State::kNotReady, 0};
      if (errno != EINTR) return fail_errno(errno, "write to a unix socket");
    }
  }

  Status wait_readable() override { return wait_for(POLLIN); }
  Status wait_writable() override { return wait_for(POLLOUT); }
  void end_reading() override { ::shutdown(socket_.get(), SHUT_RD); }
  void end_writing() override { ::shutdown(socket_.get(), SHUT_WR); }
  void shut_down() override {
    shut_down_.store(true);
    // Wakes whoever polls as well.
    ::shutdown(socket_.get(), SHUT_RDWR);
  }
  int fd() const override { return socket_.get(); }

 private:
  static tl::unexpected<Error> cancelled() {
    return fail(Errc::kCancelled, "the stream was shut down");
  }

  Status wait_for(int16_t events) const {
    pollfd descriptor{.fd = socket_.get(), .events = events, .revents = 0};
    while (::poll(&descriptor, 1, -1) < 0) {
      if (errno != EINTR) return fail_errno(errno, "wait for a unix socket");
    }
    return {};
  }

  UniqueFd socket_;
  std::atomic<bool> shut_down_{false};
};

}  // namespace

Result<UniqueFd> connect_unix(const std::string& path) {
  ASSIGN_OR_RETURN(const sockaddr_un address, address_of(path));
  ASSIGN_OR_RETURN(UniqueFd socket, make_socket());
  if (::connect(socket.get(), as_sockaddr(address), sizeof(address)) != 0)
    return fail_errno(errno, "connect to {}", path);
  return socket;
}

size_t peek(int socket, std::span<std::byte> first, Deadline deadline) {
  size_t known = 0;
  do {
    pollfd readable{socket, POLLIN, 0};
    if (::poll(&readable, 1, milliseconds_until(deadline)) <= 0) return known;
    const ssize_t size = ::recv(socket, first.data(), first.size(), MSG_PEEK | MSG_DONTWAIT);
    if (size <= 0) return known;
    known = static_cast<size_t>(size);
    // It is readable, though not as far as we want to.
    if (known < first.size()) std::this_thread::sleep_for(milliseconds(1));
  } while (known < first.size() && Clock::now() < deadline);
  return known;
}

Result<pid_t> peer_of(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return fail_errno(errno, "find the process at the other end of a socket");
  return peer.pid;
}

Result<std::unique_ptr<VmmStream>> make_unix_stream(UniqueFd socket) {
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) != 0)
    return fail_errno(errno, "make a socket non-blocking");
  // What is written at a time before its reader has to run. As much as the system lets us have.
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &kSendBufferBytes,
                     sizeof(kSendBufferBytes));
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kSendBufferBytes,
                     sizeof(kSendBufferBytes));
  return std::make_unique<UnixStream>(std::move(socket));
}

Result<std::unique_ptr<UnixListener>> UnixListener::listen(const std::string& path) {
  ASSIGN_OR_RETURN(const sockaddr_un address, address_of(path));
  RETURN_IF_ERROR(remove_left_over(path, address));
  ASSIGN_OR_RETURN(UniqueFd socket, make_socket());
  if (::bind(socket.get(), as_sockaddr(address), sizeof(address)) != 0 ||
      ::listen(socket.get(), kBacklog) != 0)
    return fail_errno(errno, "listen at {}", path);
  ASSIGN_OR_RETURN(WakeEvent stop, WakeEvent::make());
  return std::unique_ptr<UnixListener>(new UnixListener(path, std::move(socket), std::move(stop)));
}

UnixListener::~UnixListener() {
  ::unlink(path_.c_str());
}

Result<UniqueFd> UnixListener::accept(Deadline deadline) {
  std::array<pollfd, 2> descriptors{};
  descriptors[0] = {.fd = socket_.get(), .events = POLLIN, .revents = 0};
  descriptors[1] = {.fd = stop_.fd(), .events = POLLIN, .revents = 0};
  while (true) {
    const int ready = ::poll(descriptors.data(), descriptors.size(), milliseconds_until(deadline));
    if (ready < 0) {
      if (errno == EINTR) continue;
      return fail_errno(errno, "wait at {}", path_);
    }
    if (ready == 0) {
      if (Clock::now() < deadline) continue;
      return fail(Errc::kTimeout, "nobody connects to {}", path_);
    }
    if (descriptors[1].revents != 0) return fail(Errc::kCancelled, "asked to stop");
    UniqueFd socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (socket.valid()) return socket;
    if (errno != EINTR && errno != ECONNABORTED && errno != EAGAIN)
      return fail_errno(errno, "accept at {}", path_);
  }
}

}  // namespace godwit
