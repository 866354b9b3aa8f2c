// SPDX-License-Identifier: Apache-2.0
//
// When to stop copying a running guest: a pure function of what is known after a dirty scan.
//
// Every round sends what the round before left dirty. As long as the link is faster than the guest
// writes, what remains shrinks by about the same factor each round, and each further round buys a
// shorter downtime for little time. So the policy does not stop at the first moment when the
// downtime limit would hold, but when another round would no longer help: what remains is next to
// nothing, or it has stopped shrinking. A guest that dirties memory faster than the link carries it
// never gets there; then the limit decides, and where it cannot be kept the migration ends with the
// guest running and the numbers that explain why.
//
// A guest that writes about as fast as the link is helped over that edge: the pause in which it was
// scanned goes on for a while, a *stall*, in which the first part of the round travels. It is as
// long as it takes to have half as much left the next time, and never longer than stall_s_max.
// (VMware calls a like thing "stun during page send".) Measured, 100 MiB rewritten every 30 ms over
// a link that carries them in 25 ms: 52 ms of downtime without stalls, and of the order of 15 ms
// after two or three stalls of at most 10 ms. Where even a few stalls would carry only a small part
// of what remains there is none: the guest would stand still for nothing.
//
// With post-copy allowed no migration fails for what the guest writes, or takes for ever: where the
// limit cannot be kept, where rounds are used up, or where a further round would send too much, the
// guest is handed over with the rest still here.
//
// The decision is made while the guest is paused for the scan, so "switch over" is exact: what
// remains then is what has to be sent, and not a byte more.
#pragma once

#include <cstdint>

namespace godwit::precopy {

struct PolicyLimits {
  double downtime_s_max = 0.3;
  uint32_t rounds_max = 40;       // of memory in all, the first one included
  uint32_t stuck_rounds_max = 4;  // in a row without shrinking, before giving up
  double stall_s_max = 0.010;     // how long the guest may stand still before a round, for its sake
  // Whether what does not get there by itself ends in post-copy. Then what is sent in all stays
  // within this share of the guest's memory, and within so many rounds.
  bool post_copy = false;
  double post_copy_sent_share_max = 1.3;
  uint32_t post_copy_rounds_max = 8;
};

// What is known with the guest paused after the scan that ends round `round`.
struct RoundView {
  uint32_t round;                     // rounds sent so far; 1 after the first
  uint64_t remaining_bytes;           // would have to be sent while the guest is paused
  uint64_t previous_remaining_bytes;  // the same, one round earlier
  uint32_t stuck_rounds;              // in a row before this one, as reported by earlier verdicts
  double bandwidth_bytes_per_s;       // as measured
  double dirty_bytes_per_s;           // by the guest while it last ran
  uint64_t sent_bytes;                // in all rounds so far
  uint64_t memory_bytes;              // of the guest
  double
      fixed_downtime_s;  // pause, scan, device state: what a switchover costs with no memory left
};

enum class Decision : uint8_t {
  kNextRound = 1,   // send what remains; resume the guest after the stall
  kSwitchOver = 2,  // stay paused, send what remains, hand over
  kGiveUp = 3,      // the limit cannot be kept: resume the guest and fail
  kPostCopy = 4,    // one more round while the destination prepares, then switch over at once
};

struct Verdict {
  Decision decision;
  double predicted_downtime_s;  // if it switched over now
  uint32_t stuck_rounds;        // in a row without shrinking, this one included
  double stall_s;               // of the next round
};

Verdict decide(const RoundView& view, const PolicyLimits& limits);

}  // namespace godwit::precopy
