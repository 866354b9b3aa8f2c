// SPDX-License-Identifier: Apache-2.0
#include "transports/loopback/loopback_reconnector.h"

#include <utility>

namespace godwit {

LoopbackReconnection::LoopbackReconnection(FaultsOf faults_of) : faults_of_(std::move(faults_of)) {}

void LoopbackReconnection::stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

Result<std::unique_ptr<ControlChannel>> LoopbackReconnection::Source::next(Deadline) {
  std::lock_guard lock(owner_.mutex_);
  if (owner_.stopped_) return fail(Errc::kCancelled, "stopped");
  LoopbackControlPair pair = make_loopback_control_pair(owner_.faults_of_(++owner_.connections_));
  owner_.waiting_.push_back(std::move(pair.second));
  owner_.changed_.notify_all();
  return std::unique_ptr<ControlChannel>(std::move(pair.first));
}

Result<std::unique_ptr<ControlChannel>> LoopbackReconnection::Destination::next(Deadline deadline) {
  std::unique_lock lock(owner_.mutex_);
  owner_.changed_.wait_until(lock, deadline,
                             [this] { return !owner_.waiting_.empty() || owner_.stopped_; });
  if (owner_.stopped_) return fail(Errc::kCancelled, "stopped");
  if (owner_.waiting_.empty()) return fail(Errc::kTimeout, "the source did not come back");
  std::unique_ptr<ControlChannel> channel = std::move(owner_.waiting_.front());
  owner_.waiting_.pop_front();
  return channel;
}

}  // namespace godwit
