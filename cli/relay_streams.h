// SPDX-License-Identifier: Apache-2.0
//
// The streams that a relay carries at the moment, each in a thread of its own.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <thread>

#include "cli/agent_metrics.h"
#include "engine/base/result.h"
#include "engine/relay/stream_traffic.h"

namespace godwit::cli {

// Thread: any.
class RelayStreams {
 public:
  // One stream, ready to be carried. Destroyed when it has ended.
  class Stream {
   public:
    virtual ~Stream() = default;
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    virtual Result<relay::StreamTraffic> carry() = 0;
    virtual void stop() = 0;  // thread: any
    virtual std::string name() const = 0;
    virtual const relay::StreamCounters& counters() const = 0;

   protected:
    Stream() = default;
  };

  // `on_idle` is called whenever the last of the streams has ended. `metrics` outlives this.
  RelayStreams(RelayMetrics& metrics, std::function<void()> on_idle)
      : metrics_(metrics), on_idle_(std::move(on_idle)) {}
  // Waits for those that there are.
  ~RelayStreams();

  // Says on stderr what became of it.
  void start(std::unique_ptr<Stream> stream);

  // Those that there are, and those that come.
  void stop();

  // How many did not end well.
  uint64_t failures() const;

 private:
  struct Running {
    std::unique_ptr<Stream> stream;
    std::jthread thread;
    bool ended = false;
  };
  void run(Running& running);
  void reap();

  RelayMetrics& metrics_;
  const std::function<void()> on_idle_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Running> running_;
  bool stopped_ = false;
  uint64_t failures_ = 0;
};

}  // namespace godwit::cli
