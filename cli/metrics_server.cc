// SPDX-License-Identifier: Apache-2.0
#include "cli/metrics_server.h"

#include <fmt/core.h>
#include <httplib.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <string_view>
#include <thread>
#include <utility>

#include "engine/base/thread_priority.h"
#include "engine/base/unique_fd.h"
#include "engine/base/wake_event.h"
#include "transports/address/socket_address.h"

namespace godwit::cli {
namespace {

constexpr char kPath[] = "/metrics";

// One connection. The library's own has a time-out for each read, which a reader that sends a byte
// now and then never meets; this one has a deadline for all of it, and ends when the server does.
class BriefStream final : public httplib::Stream {
 public:
  BriefStream(int socket, int stop_fd)
      : socket_(socket), stop_fd_(stop_fd), deadline_(deadline_in(MetricsServer::kConnectionMax)) {}

  bool is_readable() const override { return wait_for(POLLIN); }
  bool is_writable() const override { return wait_for(POLLOUT); }

  ssize_t read(char* to, size_t size) override {
    if (begin_ == end_) {
      if (!wait_for(POLLIN)) return -1;
      const ssize_t got = ::recv(socket_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
      if (got <= 0) return got;
      begin_ = 0;
      end_ = static_cast<size_t>(got);
    }
    const size_t count = std::min(size, end_ - begin_);
    std::copy_n(buffer_.begin() + static_cast<long>(begin_), count, to);
    begin_ += count;
    return static_cast<ssize_t>(count);
  }

  ssize_t write(const char* from, size_t size) override {
    if (!wait_for(POLLOUT)) return -1;
    return ::send(socket_, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return socket_; }

 private:
  bool wait_for(short events) const {
    std::array<pollfd, 2> waiting{{{socket_, events, 0}, {stop_fd_, POLLIN, 0}}};
    while (true) {
      const int ready = ::poll(waiting.data(), waiting.size(), milliseconds_until(deadline_));
      if (ready < 0 && errno == EINTR) continue;
      return ready > 0 && waiting[1].revents == 0;
    }
  }

  const int socket_;
  const int stop_fd_;
  const Deadline deadline_;
  std::array<char, 4096> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

// The thread that accepts connections serves them, too.
class InPlace final : public httplib::TaskQueue {
 public:
  void enqueue(std::function<void()> serve) override { serve(); }
  void shutdown() override {}
};

bool is_bare_port(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

class MetricsServer::Http final : public httplib::Server {
 public:
  explicit Http(WakeEvent stop) : stop_(std::move(stop)) {
    new_task_queue = [] { return new InPlace; };
    // Not SO_REUSEPORT, the library's default: a second agent would take every other reader.
    set_socket_options([](socket_t socket) {
      const int on = 1;
      (void)::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    });
    set_payload_max_length(0);
  }

  ~Http() override {
    stop_.raise();
    stop();
    if (thread_.joinable()) thread_.join();
  }

  void serve() {
    thread_ = std::thread([this] {
      (void)make_this_thread_give_way();
      (void)listen_after_bind();
    });
    // stop() is heard from then on.
    while (!is_running()) std::this_thread::yield();
  }

 private:
  bool process_and_close_socket(socket_t socket) override {
    const UniqueFd owner(socket);
    BriefStream stream(socket, stop_.fd());
    bool closed = false;
    // What a reader sends must not end the agent.
    try {
      return process_request(stream, /*close_connection=*/true, closed, {});
    } catch (const std::exception&) {
      return false;
    }
  }

  WakeEvent stop_;
  std::thread thread_;
};

Result<std::unique_ptr<MetricsServer>> MetricsServer::start(const std::string& address,
                                                            Collect collect) {
  ASSIGN_OR_RETURN(const std::string whole, parse_metrics_address(address));
  ASSIGN_OR_RETURN(const HostPort parts, parse_host_port(whole));
  // So that a name that does not exist is told from an address that is taken.
  RETURN_IF_ERROR(resolve(parts, AddressUse::kListen));
  ASSIGN_OR_RETURN(WakeEvent stop, WakeEvent::make());
  auto http = std::make_unique<Http>(std::move(stop));
  http->Get(kPath, [collect = std::move(collect)](const httplib::Request& request,
                                                  httplib::Response& response) {
    const Exposition exposition = choose_exposition(request.get_header_value("Accept"));
    response.set_content(render_metrics(collect(), exposition), content_type(exposition));
  });
  int port = std::stoi(parts.port);
  errno = 0;
  if (port == 0) {
    port = http->bind_to_any_port(parts.host);
  } else if (!http->bind_to_port(parts.host, port)) {
    port = -1;
  }
  if (port < 0) {
    return fail(Errc::kRefused, "--metrics: listen on {}: {}; give another address or port", whole,
                errno == 0 ? "not possible" : std::strerror(errno));
  }
  http->serve();
  const std::string host = whole.substr(0, whole.rfind(':'));
  std::string url = fmt::format("http://{}:{}{}", host, port, kPath);
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(http), std::move(url)));
}

MetricsServer::MetricsServer(std::unique_ptr<Http> http, std::string url)
    : http_(std::move(http)), url_(std::move(url)) {}

MetricsServer::~MetricsServer() = default;

Result<std::string> parse_metrics_address(const std::string& address) {
  const std::string whole = is_bare_port(address) ? "127.0.0.1:" + address : address;
  RETURN_IF_ERROR(parse_host_port(whole));
  return whole;
}

}  // namespace godwit::cli
