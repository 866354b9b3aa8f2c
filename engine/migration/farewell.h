// SPDX-License-Identifier: Apache-2.0
//
// The end of post-copy. The destination has every page, and owns the guest for good; the source has
// to hear of it, since until then it holds memory for a guest that needs none of it any more.
//
//   destination -> source   FetchComplete    all is here
//   source -> destination   Released         I know; written down, I do not come back
//   destination -> source   Released         and I know that, and do not wait for you
//
// Each side repeats its part over new connections for a while when an answer is missing. A
// destination whose source did not come in that time ends all the same, and leaves its session
// behind: whoever takes that up (`godwit resume`) needs neither guest nor pages to say it again. A
// source that has heard, and only misses the last word, ends as well: there is nothing left to
// know.
#pragma once

#include <memory>
#include <string>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/control_channel.h"
#include "engine/migration/control_link.h"

namespace godwit {

struct Farewell {
  std::string session;
  std::string software;
  Clock::duration peer_timeout;
};

// Of the destination. Says it over this connection. Returns whether the source knows.
bool tell_complete(ControlLink& link, const Farewell& farewell);

// Of the destination. Says it to the source of the session whenever that comes, until it knows
// (true) or the deadline. Errors: kCancelled when `reconnector` was stopped.
Result<bool> tell_whoever_comes(ControlReconnector& reconnector, const Farewell& farewell,
                                Deadline deadline);

// Of the source, once it has written down that the destination has everything. Returns whether the
// destination knows that.
bool tell_released(ControlLink& link, const Farewell& farewell);

// Of the source. The same over new connections, until the destination knows or the deadline.
void tell_released_again(ControlReconnector& reconnector, const Farewell& farewell,
                         Deadline deadline);

}  // namespace godwit
