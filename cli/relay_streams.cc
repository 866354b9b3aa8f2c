// SPDX-License-Identifier: Apache-2.0
#include "cli/relay_streams.h"

#include <algorithm>

#include "cli/console.h"
#include "cli/units.h"
#include "engine/base/time.h"

namespace godwit::cli {
namespace {

std::string describe_placed(const relay::StreamTraffic& traffic) {
  if (traffic.placed_bytes == 0 && traffic.note.empty()) return "";
  const std::string placed =
      fmt::format("; {} of pages placed", format_bytes(traffic.placed_bytes));
  return traffic.note.empty() ? placed : fmt::format("{}, then not ({})", placed, traffic.note);
}

std::string describe_pages(const relay::StreamTraffic& traffic) {
  if (traffic.answered_pages == 0) return describe_placed(traffic);
  return fmt::format("; {} pages asked for were read from the source", traffic.answered_pages);
}

}  // namespace

RelayStreams::~RelayStreams() {
  std::list<Running> last;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] {
      return std::ranges::all_of(running_, [](const Running& running) { return running.ended; });
    });
    last.swap(running_);
  }
}

void RelayStreams::start(std::unique_ptr<Stream> stream) {
  reap();
  std::lock_guard lock(mutex_);
  if (stopped_) stream->stop();
  Running& running = running_.emplace_back();
  running.stream = std::move(stream);
  running.thread = std::jthread([this, &running] { run(running); });
}

void RelayStreams::stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  for (const Running& running : running_) {
    if (running.stream != nullptr) running.stream->stop();
  }
}

uint64_t RelayStreams::failures() const {
  std::lock_guard lock(mutex_);
  return failures_;
}

void RelayStreams::run(Running& running) {
  const Clock::time_point begin = Clock::now();
  const relay::StreamCounters& counters = running.stream->counters();
  metrics_.stream_began(counters);
  const Result<relay::StreamTraffic> traffic = running.stream->carry();
  metrics_.stream_ended(counters, traffic);
  const std::string name = running.stream->name();
  if (traffic) {
    say(fmt::format("{}: ended after {:.2f} s; {} out, {} in{}", name,
                    to_seconds(Clock::now() - begin), format_bytes(traffic->sent_bytes),
                    format_bytes(traffic->received_bytes), describe_pages(*traffic)));
  } else {
    say(fmt::format("{}: broke after {:.2f} s: {}", name, to_seconds(Clock::now() - begin),
                    to_string(traffic.error())));
  }
  std::unique_ptr<Stream> ended;
  bool idle = false;
  {
    std::lock_guard lock(mutex_);
    ended = std::move(running.stream);
  }
  // Its socket is closed before anybody hears that it has ended.
  ended.reset();
  {
    std::lock_guard lock(mutex_);
    if (!traffic) ++failures_;
    running.ended = true;
    idle = std::ranges::all_of(running_, [](const Running& other) { return other.ended; });
    if (idle) on_idle_();
    changed_.notify_all();
  }
}

// Without the lock: a thread that has said that it ended may still want it.
void RelayStreams::reap() {
  std::list<Running> ended;
  {
    std::lock_guard lock(mutex_);
    for (auto running = running_.begin(); running != running_.end();) {
      const auto next = std::next(running);
      if (running->ended) ended.splice(ended.end(), running_, running);
      running = next;
    }
  }
}

}  // namespace godwit::cli
