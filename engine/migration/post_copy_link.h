// SPDX-License-Identifier: Apache-2.0
//
// What both sides of post-copy see alike: when their connection is lost, and how far fetching is.
#pragma once

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/report.h"
#include "engine/wire/messages.h"

namespace godwit {

// Whether an error of the control link is the end of a connection, which is replaced.
bool is_link_loss(const Error& error);

// For the observer; `elapsed` since the switchover.
Progress progress_of(const FetchProgress& fetched, Clock::duration elapsed);

}  // namespace godwit
