// SPDX-License-Identifier: Apache-2.0
//
// The source's part in post-copy: fetch lanes to the destination, which reads guest memory by them.
// Where the transport is one-sided nothing else happens here; where it is not, each lane's thread
// answers the reads. A lane that is lost is opened again, for as long as this object lives.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/thread_priority.h"
#include "engine/precopy/lane_opener.h"
#include "engine/wire/lane_messages.h"

namespace godwit::postcopy {

// Which lanes there are, and for each the rails that it may use, the best first, in the opener's
// numbering.
struct ServedLanes {
  std::vector<std::vector<size_t>> faults;
  std::vector<std::vector<size_t>> background;
};

// Thread: one.
class PageServer {
 public:
  // `opener` outlives the server. Begins to open the lanes.
  PageServer(precopy::LaneOpener& opener, const ServedLanes& lanes);
  ~PageServer();
  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;

  // Waits until there is a lane of each kind. Errors: the last attempt's when there is none in
  // time.
  Status await_lanes(Deadline deadline);

  // How often a lane was lost.
  uint32_t losses() const;

  // Of the threads that answer for faults; the least that one got.
  Urgency urgency() const { return urgency_.get(); }

 private:
  struct Slot {
    FetchKind kind;
    std::vector<size_t> rails;
    std::unique_ptr<Endpoint> endpoint;  // under mutex_; null while there is none
  };

  void run(Slot& slot, const std::stop_token& stop);
  // Opens a lane by the first rail that works.
  Status open(Slot& slot);
  Status open_by(Slot& slot, size_t rail);
  // Until the lane is lost. Returns why.
  static Error serve(Endpoint& endpoint, const std::stop_token& stop);

  precopy::LaneOpener& opener_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<std::unique_ptr<Slot>> slots_;
  Error last_error_{};
  uint32_t losses_ = 0;
  bool ending_ = false;
  LeastUrgency urgency_;
  std::vector<std::jthread> threads_;
};

}  // namespace godwit::postcopy
