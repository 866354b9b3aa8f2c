// SPDX-License-Identifier: Apache-2.0
//
// The threads that register what the peer asks for, while lanes go on: which memory there is, by
// the number that the peer knows it by, and what has been asked.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/base/unique_fd.h"
#include "transports/rdma/key_exchange.h"
#include "transports/rdma/pinned_chunks.h"

namespace godwit {

// Where the answers for one lane wait until its own thread sends them.
// Thread: any.
class KeyMailbox {
 public:
  static Result<std::shared_ptr<KeyMailbox>> make();

  void put(const KeyMessage& answer);
  // Moves what is there to the end of `answers`.
  void take(std::vector<KeyMessage>& answers);
  bool empty() const { return count_.load(std::memory_order_acquire) == 0; }
  int fd() const { return event_.get(); }  // readable while there is something

 private:
  explicit KeyMailbox(UniqueFd event) : event_(std::move(event)) {}

  UniqueFd event_;
  std::atomic<size_t> count_{0};
  std::mutex mutex_;
  std::vector<KeyMessage> answers_;
};

// Thread: any.
class Registrar {
 public:
  Registrar();
  ~Registrar();
  Registrar(const Registrar&) = delete;
  Registrar& operator=(const Registrar&) = delete;

  // Makes the memory known to the peer under the number that is returned: an unguessable one.
  Result<uint64_t> publish(std::weak_ptr<PinnedChunks> chunks);

  // Registers a chunk and puts the answer into `mailbox`: ENOENT when there is no such chunk.
  void want(const KeyMessage& question, std::shared_ptr<KeyMailbox> mailbox);

 private:
  struct Task {
    KeyMessage question;
    std::shared_ptr<PinnedChunks> chunks;
    std::shared_ptr<KeyMailbox> mailbox;
  };

  void work(const std::stop_token& stop);

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<uint64_t, std::weak_ptr<PinnedChunks>> published_;
  std::deque<Task> tasks_;
  std::vector<std::jthread> threads_;
};

}  // namespace godwit
