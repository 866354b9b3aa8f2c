// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/qmp_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <span>

#include "engine/base/units.h"
#include "vmm-adapters/linux/unix_stream.h"

namespace godwit::qemu {
namespace {

// A memory map of a large guest is the largest answer, some hundred KiB.
constexpr size_t kLineBytesMax = 16 * kMiB;
constexpr size_t kEventsMax = 4096;

Status wait_ready(std::span<pollfd> poll_fds, Deadline deadline) {
  while (true) {
    int ready = poll(poll_fds.data(), poll_fds.size(), milliseconds_until(deadline));
    if (ready > 0) return {};
    if (ready == 0) return fail(Errc::kTimeout, "QMP: QEMU did not answer in time");
    if (errno != EINTR) return fail_errno(errno, "QMP: poll");
  }
}

// Waits until there is something to read. Returns whether it is of `stream`, where there is one.
Result<bool> wait_readable(int socket, int stream, Deadline deadline) {
  while (true) {
    std::array<pollfd, 2> poll_fds{pollfd{socket, POLLIN, 0}, pollfd{stream, POLLIN, 0}};
    RETURN_IF_ERROR(wait_ready(poll_fds, deadline));
    std::array<std::byte, 1> first;
    if (poll_fds[1].revents != 0 && peek(stream, first, Deadline{}) > 0) return true;
    if (poll_fds[0].revents != 0) return false;
    stream = -1;  // it has ended
  }
}

// Unlike those of other processes, and of earlier connections of this one.
int64_t next_command_id() {
  static std::atomic<int64_t> count{0};
  return (static_cast<int64_t>(getpid()) << 24) + ++count;
}

}  // namespace

Result<std::unique_ptr<QmpClient>> QmpClient::connect(const std::string& path, Deadline deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return fail(Errc::kRefused, "QMP socket path is longer than {} bytes: {}",
                sizeof(address.sun_path) - 1, path);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return fail_errno(errno, "QMP: socket");
  // SAFETY: the sockets API takes every address family through sockaddr.
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return fail_errno(errno, "connect to QEMU's QMP socket {}", path);
  }
  Result<std::unique_ptr<QmpClient>> client = adopt(std::move(socket), deadline);
  if (!client && client.error().code == Errc::kTimeout) {
    return fail(Errc::kTimeout,
                "QMP socket {} accepts but does not greet: is another client connected to it? Give "
                "QEMU a second -qmp socket",
                path);
  }
  return client;
}

Result<std::unique_ptr<QmpClient>> QmpClient::adopt(UniqueFd socket, Deadline deadline) {
  std::unique_ptr<QmpClient> client(new QmpClient(std::move(socket)));
  RETURN_IF_ERROR(client->negotiate(deadline));
  return client;
}

Status QmpClient::negotiate(Deadline deadline) {
  // QEMU sends what it still owed to an earlier connection ahead of its greeting.
  for (bool greeted = false; !greeted;) {
    ASSIGN_OR_RETURN(Json line, receive(deadline));
    greeted = line.contains("QMP");
    const bool owed = line.contains("event") || line.contains("return") || line.contains("error");
    if (!greeted && !owed) return fail(Errc::kCorrupt, "this socket does not speak QMP");
  }
  RETURN_IF_ERROR(execute("qmp_capabilities", Json::object(), deadline));
  return {};
}

Result<Json> QmpClient::execute(std::string_view command, const Json& arguments,
                                Deadline deadline) {
  return execute_with_fd(command, arguments, -1, deadline);
}

Result<Json> QmpClient::execute_with_fd(std::string_view command, const Json& arguments, int fd,
                                        Deadline deadline) {
  ASSIGN_OR_RETURN(const int64_t id, send_command(command, arguments, fd, deadline));
  return wait_answer(command, id, deadline);
}

Status QmpClient::begin(std::string_view command, const Json& arguments, int stream,
                        Deadline deadline) {
  ASSIGN_OR_RETURN(const int64_t id, send_command(command, arguments, -1, deadline));
  RETURN_IF_ERROR(wait_answer(command, id, deadline, stream));
  return {};
}

Result<int64_t> QmpClient::send_command(std::string_view command, const Json& arguments, int fd,
                                        Deadline deadline) {
  if (broken_) return fail(Errc::kPeerLost, "QMP: the connection to QEMU broke before");
  const int64_t id = next_command_id();
  Json request = {{"execute", command}, {"id", id}};
  if (!arguments.is_null() && !arguments.empty()) request["arguments"] = arguments;
  RETURN_IF_ERROR(send_line(request.dump() + "\n", fd, deadline));
  return id;
}

Result<Json> QmpClient::wait_answer(std::string_view command, int64_t id, Deadline deadline,
                                    int stream) {
  while (true) {
    Result<Json> object = receive(deadline, stream);
    if (!object) {
      broken_ = true;  // also after a time-out: a late answer must not be taken for another one's
      return object;
    }
    if (object->is_null()) return object;
    if (object->contains("event")) {
      if (events_.size() == kEventsMax) events_.pop_front();
      events_.push_back(std::move(*object));
      continue;
    }
    // The answer of a command that was not waited for. QEMU sends those of an earlier connection to
    // its next one.
    if (integer_or(*object, "id", id) != id) continue;
    if (const Json& error = field(*object, "error"); error.is_object()) {
      return fail(Errc::kGuest, "QEMU refused {}: {}", command,
                  string_or(error, "desc", "no reason given"));
    }
    if (!object->contains("return")) {
      return fail(Errc::kCorrupt, "QMP: {} was answered with neither a result nor an error",
                  command);
    }
    return std::move((*object)["return"]);
  }
}

Result<std::string> QmpClient::execute_human(std::string_view command_line, Deadline deadline) {
  ASSIGN_OR_RETURN(Json answer,
                   execute("human-monitor-command", {{"command-line", command_line}}, deadline));
  if (!answer.is_string()) {
    return fail(Errc::kCorrupt, "QMP: monitor command '{}' gave no text", command_line);
  }
  return answer.get<std::string>();
}

Result<Json> QmpClient::wait_event(const std::function<bool(const Json&)>& wanted,
                                   Deadline deadline) {
  while (true) {
    while (!events_.empty()) {
      Json event = std::move(events_.front());
      events_.pop_front();
      if (wanted(event)) return event;
    }
    if (broken_) return fail(Errc::kPeerLost, "QMP: the connection to QEMU broke before");
    ASSIGN_OR_RETURN(Json object, receive(deadline));
    if (object.contains("event")) events_.push_back(std::move(object));
  }
}

std::optional<Clock::time_point> QmpClient::time_of_event(std::string_view name) const {
  const auto found = std::find_if(events_.rbegin(), events_.rend(), [&](const Json& event) {
    return string_or(event, "event", "") == name;
  });
  if (found == events_.rend()) return std::nullopt;
  const Json& stamp = field(*found, "timestamp");
  const std::chrono::system_clock::time_point when(
      seconds(integer_or(stamp, "seconds", 0)) +
      microseconds(integer_or(stamp, "microseconds", 0)));
  const auto age = std::chrono::system_clock::now() - when;
  return Clock::now() - duration_cast<Clock::duration>(age);
}

Status QmpClient::send_line(const std::string& line, int fd, Deadline deadline) {
  size_t sent = 0;
  while (sent < line.size()) {
    iovec bytes{const_cast<char*>(line.data()) + sent, line.size() - sent};
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    if (fd >= 0 && sent == 0) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    }
    ssize_t count = sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      sent += static_cast<size_t>(count);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) {
      broken_ = true;
      return fail(Errc::kPeerLost, "QMP: QEMU closed the connection ({})", describe_errno(errno));
    }
    pollfd writable{socket_.get(), POLLOUT, 0};
    RETURN_IF_ERROR(wait_ready(std::span(&writable, 1), deadline));
  }
  return {};
}

Result<Json> QmpClient::receive(Deadline deadline, int stream) {
  while (true) {
    size_t newline = received_.find('\n', searched_);
    if (newline != std::string::npos) {
      Json object = Json::parse(
          received_.begin(), received_.begin() + static_cast<ptrdiff_t>(newline), nullptr, false);
      received_.erase(0, newline + 1);
      searched_ = 0;
      if (!object.is_object()) return fail(Errc::kCorrupt, "QMP: a line that is no JSON object");
      return object;
    }
    searched_ = received_.size();
    if (searched_ > kLineBytesMax) {
      broken_ = true;
      return fail(Errc::kCorrupt, "QMP: a line longer than {} MiB", kLineBytesMax / kMiB);
    }
    ASSIGN_OR_RETURN(const bool stream_is_readable, wait_readable(socket_.get(), stream, deadline));
    if (stream_is_readable) return Json();
    std::array<char, 16 * kKiB> chunk;
    ssize_t count = recv(socket_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (count > 0) {
      received_.append(chunk.data(), static_cast<size_t>(count));
    } else if (count == 0 || (errno != EINTR && errno != EAGAIN)) {
      broken_ = true;
      return fail(Errc::kPeerLost, "QMP: QEMU closed the connection");
    }
  }
}

Result<pid_t> QmpClient::peer_pid() const {
  return peer_of(socket_.get());
}

}  // namespace godwit::qemu
