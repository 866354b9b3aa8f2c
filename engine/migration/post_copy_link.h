// SPDX-License-Identifier: Apache-2.0
//
// What both sides of post-copy see alike: when their connection is lost, and how far fetching is.
#pragma once

#include <optional>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/report.h"
#include "engine/wire/messages.h"

namespace godwit {

// Whether an error of the control link is the end of a connection, which is replaced.
bool is_link_loss(const Error& error);

// Makes of what is known of fetching what the observer is shown. The rate is that of the time since
// the first look: what came before it, with an agent that has died at either end, took its own
// time.
class FetchView {
 public:
  Progress show(const FetchProgress& fetched, Clock::time_point now);

 private:
  std::optional<Clock::time_point> since_;
  uint64_t bytes_before_ = 0;  // fetched by then
  uint64_t bytes_seen_ = 0;    // at the last look
};

}  // namespace godwit
