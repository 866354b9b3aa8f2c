// SPDX-License-Identifier: Apache-2.0
//
// QMP, QEMU's control protocol: one JSON object per line over a unix socket; commands are answered
// in order, events come in between and are kept until somebody waits for them.
//
// Thread: one at a time.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/base/unique_fd.h"
#include "vmm-adapters/qemu/json_access.h"

namespace godwit::qemu {

class QmpClient {
 public:
  // Connects and negotiates. QEMU serves one client per socket: while another one is connected the
  // greeting does not come, and the message says so.
  static Result<std::unique_ptr<QmpClient>> connect(const std::string& path, Deadline deadline);
  static Result<std::unique_ptr<QmpClient>> adopt(UniqueFd socket, Deadline deadline);

  // Runs a command. Errors: kGuest with QEMU's own words; kPeerLost when QEMU is gone; kTimeout,
  // after which the client is unusable (the answer may still come and would be taken for
  // another's).
  Result<Json> execute(std::string_view command, const Json& arguments, Deadline deadline);

  // The same, handing over a descriptor with it ("getfd").
  Result<Json> execute_with_fd(std::string_view command, const Json& arguments, int fd,
                               Deadline deadline);

  // The same for a command that makes QEMU write to the other end of `stream`. Returns when it has
  // begun to, too, and passes over the answer later: it takes QEMU's main loop, and a thread that
  // waits with QEMU's lock for `stream` to be read keeps that from running.
  Status begin(std::string_view command, const Json& arguments, int stream, Deadline deadline);

  // Returns the output of a command of the human monitor.
  Result<std::string> execute_human(std::string_view command_line, Deadline deadline);

  // Returns the first event that satisfies `wanted`, from those that came already or come yet, and
  // forgets it and all older ones.
  Result<Json> wait_event(const std::function<bool(const Json&)>& wanted, Deadline deadline);

  // False after a time-out or a lost connection: only a new client can say more, and QEMU takes it
  // only when this one has disconnected.
  bool usable() const { return !broken_; }
  void disconnect() {
    socket_.reset();
    broken_ = true;
  }

  // When the last event of this name was, of those that came and were not waited for; by QEMU's
  // own stamp.
  std::optional<Clock::time_point> time_of_event(std::string_view name) const;

  // Whether one of those events satisfies `wanted`.
  bool has_event(const std::function<bool(const Json&)>& wanted) const {
    return std::ranges::any_of(events_, wanted);
  }

  // Forgets the events that came so far.
  void forget_events() { events_.clear(); }

  // Process that listens at the other end, as the kernel knows it.
  Result<pid_t> peer_pid() const;

 private:
  explicit QmpClient(UniqueFd socket) : socket_(std::move(socket)) {}

  Status negotiate(Deadline deadline);
  Status send_line(const std::string& line, int fd, Deadline deadline);
  Result<int64_t> send_command(std::string_view command, const Json& arguments, int fd,
                               Deadline deadline);
  // An object, or null where `stream` has something to read before one has come.
  Result<Json> receive(Deadline deadline, int stream = -1);
  Result<Json> wait_answer(std::string_view command, int64_t id, Deadline deadline,
                           int stream = -1);

  UniqueFd socket_;
  std::string received_;
  size_t searched_ = 0;  // received_ has no newline before this
  std::deque<Json> events_;
  bool broken_ = false;
};

}  // namespace godwit::qemu
