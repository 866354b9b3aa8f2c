// SPDX-License-Identifier: Apache-2.0
//
// A VMM at each end that goes over to post-copy by itself, in bytes: 'm' is memory, 'P' the package
// with which the guest could run there, 'E' the end; 'S', back, says that all has come.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "engine/channel_guest.h"
#include "tests/engine/relay/socket_pair.h"

namespace godwit::test {

// Where the guest runs. Thread: any.
class Whereabouts {
 public:
  void stop_at_source() { set(source_runs_, false); }
  void run_at_source() { set(source_runs_, true); }
  void run_at_destination() { set(destination_runs_, true); }
  bool at_source() const { return get(source_runs_); }
  bool at_destination() const { return get(destination_runs_); }
  bool ever_at_both() const { return get(ever_at_both_); }

 private:
  void set(bool& runs, bool value) {
    const std::lock_guard lock(mutex_);
    runs = value;
    ever_at_both_ |= source_runs_ && destination_runs_;
  }
  bool get(const bool& value) const {
    const std::lock_guard lock(mutex_);
    return value;
  }

  mutable std::mutex mutex_;
  bool source_runs_ = true;
  bool destination_runs_ = false;
  bool ever_at_both_ = false;
};

class SimulatedSource final : public ChannelSourceGuest {
 public:
  explicit SimulatedSource(Whereabouts& whereabouts);
  ~SimulatedSource() override;

  VmmStream& stream() override { return *stream_; }
  MakePageExtractor page_extractor() override { return nullptr; }
  const GuestMemory* memory() const override { return nullptr; }
  const std::string& memory_note() const override { return note_; }
  size_t channels_by_default() const override { return 0; }
  Result<BegunChannels> begin(const WantedChannels& wanted, PostCopyUse post_copy) override;
  Result<ChannelProgress> progress() override;
  Status switch_to_post_copy() override;
  std::optional<Clock::time_point> stopped_at() override { return std::nullopt; }
  Status resume() override;
  Status release() override { return {}; }

  // As when its connection is reset.
  void break_stream();

 private:
  void migrate();
  ChannelProgress::State send_rest();

  Whereabouts& whereabouts_;
  const std::string note_ = "simulated";
  std::unique_ptr<VmmStream> stream_;
  UniqueFd socket_;
  std::atomic<bool> switching_{false};
  std::atomic<ChannelProgress::State> state_{ChannelProgress::State::kRunning};
  std::jthread thread_;
};

class SimulatedDestination final : public ChannelDestinationGuest {
 public:
  explicit SimulatedDestination(Whereabouts& whereabouts) : whereabouts_(whereabouts) {}
  ~SimulatedDestination() override;

  Result<relay::StreamTarget> open(PostCopyUse post_copy) override;
  MakePageRequests page_requests() override { return nullptr; }
  Result<bool> wait_switched(Deadline deadline) override;
  Status wait_loaded() override;
  Status start() override;
  Status abandon() override;

 private:
  void take();
  void become(bool& fact);

  Whereabouts& whereabouts_;
  UniqueFd socket_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool loaded_ = false;
  bool complete_ = false;
  bool ended_ = false;
  std::jthread thread_;
};

}  // namespace godwit::test
