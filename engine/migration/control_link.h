// SPDX-License-Identifier: Apache-2.0
//
// The control channel with life in it: a thread reads and decodes messages as they come, another
// says that we are still here, and silence or an end of the peer interrupts the migration wherever
// it stands.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/control_channel.h"
#include "engine/migration/interruption.h"
#include "engine/wire/messages.h"

namespace godwit {

// Thread: send() from any; next(), answer(), expect() and drain() from one.
class ControlLink {
 public:
  // Sees a message before anybody else, in the link's own thread. Returns whether it was for it;
  // next() does not return it then. Must not block.
  using Aside = std::function<bool(const ControlMessage&)>;

  // Ownership: `channel` and `interruption` outlive the link. A lost peer is raised in
  // `interruption`.
  ControlLink(ControlChannel& channel, Interruption& interruption, Clock::duration peer_timeout,
              Aside aside = {});
  ~ControlLink();
  ControlLink(const ControlLink&) = delete;
  ControlLink& operator=(const ControlLink&) = delete;

  Status send(const ControlMessage& message);

  // The next message that is not a heartbeat. An Abort or Refuse from the peer comes back as the
  // error that it carries. Errors: also what the interruption holds, and kTimeout.
  Result<ControlMessage> next(Deadline deadline);

  // next(), which no interruption ends: where what the peer says decides about the guest.
  Result<ControlMessage> answer(Deadline deadline);

  // next(), which has to be an M.
  template <typename M>
  Result<M> expect(Deadline deadline) {
    ASSIGN_OR_RETURN(ControlMessage message, next(deadline));
    if (auto* wanted = std::get_if<M>(&message)) return std::move(*wanted);
    return fail(Errc::kCorrupt, "the peer sent a message out of turn: {} instead of {}",
                name_of(message), name_of(ControlMessage(M{})));
  }

  // Whether the peer has said Abort or Refuse: then it knows that this migration is over.
  bool peer_gave_up() const { return peer_gave_up_.load(std::memory_order_acquire); }

  // What the peer has to say about why it gave up, waiting for that until `deadline` or until the
  // connection ends. A lane breaks a moment before the words for it arrive here.
  std::optional<Error> reason_of_peer(Deadline deadline);

  // Waits until the peer has closed the connection, so that the last message sent is not lost with
  // a reset, or until the deadline.
  void drain(Deadline deadline);

 private:
  // Requires: one has come, or none will.
  Result<ControlMessage> take_message();
  void read_messages();
  void send_heartbeats(const std::stop_token& stop);
  void end_with(const Error& error);

  ControlChannel& channel_;
  Interruption& interruption_;
  const Clock::duration peer_timeout_;
  const Aside aside_;

  std::mutex send_mutex_;

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<ControlMessage> messages_;
  std::optional<Error> peer_reason_;
  std::atomic<bool> peer_gave_up_{false};
  std::optional<Error> ended_;  // why no further message will come

  Interruption::Hook wake_;
  std::jthread heartbeat_;
  std::jthread reader_;
};

}  // namespace godwit
