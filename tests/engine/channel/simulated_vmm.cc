// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/channel/simulated_vmm.h"

#include <sys/socket.h>
#include <unistd.h>

#include "vmm-adapters/linux/unix_stream.h"

namespace godwit::test {
namespace {

constexpr size_t kPieces = 20;

bool write_letters(int socket, char letter, size_t count) {
  const std::string letters(count, letter);
  return ::send(socket, letters.data(), letters.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(letters.size());
}

}  // namespace

SimulatedSource::SimulatedSource(Whereabouts& whereabouts) : whereabouts_(whereabouts) {
  relay::SocketPair pair = relay::make_socket_pair();
  stream_ = make_unix_stream(std::move(pair.ours)).value();
  socket_ = std::move(pair.theirs);
}

SimulatedSource::~SimulatedSource() {
  break_stream();
}

void SimulatedSource::break_stream() {
  ::shutdown(socket_.get(), SHUT_RDWR);
}

Result<BegunChannels> SimulatedSource::begin(const WantedChannels&, PostCopyUse) {
  thread_ = std::jthread([this] { migrate(); });
  return BegunChannels{};
}

void SimulatedSource::migrate() {
  bool intact = write_letters(socket_.get(), 'm', 1000);
  switching_.wait(false);
  intact = intact && write_letters(socket_.get(), 'P', 1);
  if (intact) state_ = ChannelProgress::State::kPostCopy;
  state_ = intact ? send_rest() : ChannelProgress::State::kFailed;
  ::shutdown(socket_.get(), SHUT_RDWR);
}

ChannelProgress::State SimulatedSource::send_rest() {
  for (size_t i = 0; i < kPieces; ++i) {
    if (!write_letters(socket_.get(), 'm', 1000)) return ChannelProgress::State::kBroken;
  }
  char said = 0;
  const bool all_there =
      write_letters(socket_.get(), 'E', 1) && ::read(socket_.get(), &said, 1) == 1 && said == 'S';
  return all_there ? ChannelProgress::State::kCompleted : ChannelProgress::State::kBroken;
}

Result<ChannelProgress> SimulatedSource::progress() {
  const ChannelProgress::State state = state_;
  return ChannelProgress{.state = state,
                         .error = "simulated",
                         .ram_bytes = 1000,
                         .round = 1,
                         .in_post_copy = state == ChannelProgress::State::kCompleted};
}

Status SimulatedSource::switch_to_post_copy() {
  whereabouts_.stop_at_source();
  switching_ = true;
  switching_.notify_all();
  return {};
}

Status SimulatedSource::resume() {
  break_stream();
  switching_ = true;
  switching_.notify_all();
  if (thread_.joinable()) thread_.join();
  whereabouts_.run_at_source();
  return {};
}

SimulatedDestination::~SimulatedDestination() {
  (void)abandon();
}

Result<relay::StreamTarget> SimulatedDestination::open(PostCopyUse) {
  relay::SocketPair pair = relay::make_socket_pair();
  socket_ = std::move(pair.theirs);
  thread_ = std::jthread([this] { take(); });
  relay::StreamTarget target;
  ASSIGN_OR_RETURN(target.stream, make_unix_stream(std::move(pair.ours)));
  return target;
}

void SimulatedDestination::take() {
  std::array<char, 4096> letters;
  for (ssize_t count = 1; count > 0 && !complete_;) {
    count = ::read(socket_.get(), letters.data(), letters.size());
    for (ssize_t i = 0; i < count; ++i) {
      const char letter = letters[static_cast<size_t>(i)];
      if (letter == 'P') become(loaded_);
      if (letter == 'E' && write_letters(socket_.get(), 'S', 1)) become(complete_);
    }
  }
  become(ended_);
  ::shutdown(socket_.get(), SHUT_RDWR);
}

void SimulatedDestination::become(bool& fact) {
  const std::lock_guard lock(mutex_);
  fact = true;
  changed_.notify_all();
}

Result<bool> SimulatedDestination::wait_switched(Deadline deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [this] { return loaded_; });
  return loaded_;
}

Status SimulatedDestination::wait_loaded() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ended_; });
  return complete_ ? Status{} : fail(Errc::kPeerLost, "the stream ended too early");
}

Status SimulatedDestination::start() {
  whereabouts_.run_at_destination();
  return {};
}

Status SimulatedDestination::abandon() {
  if (socket_.valid()) ::shutdown(socket_.get(), SHUT_RDWR);
  return {};
}

}  // namespace godwit::test
