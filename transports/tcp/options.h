// SPDX-License-Identifier: Apache-2.0
//
// What can be chosen about a TCP transport.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/time.h"

namespace godwit {

// How payloads leave. Small frames are always copied.
enum class SendMethod : uint8_t {
  kAutomatic = 1,  // what measured fastest: splice
  kCopy = 2,       // sendmsg()
  kSplice = 3,     // vmsplice() and splice(), see payload_pipe.h
  kZeroCopy = 4,   // SEND_ZC from registered buffers, see fixed_buffers.h
};

// Without checksums a page that changed on its way is not noticed (the guest's dirty log has it all
// the same), nor is memory or a NIC that flips bits.
enum class PayloadChecksums : uint8_t { kOff = 1, kOn = 2 };

struct TcpOptions {
  PayloadChecksums checksums = PayloadChecksums::kOn;  // of what this side sends
  SendMethod send_method = SendMethod::kAutomatic;
  // A peer that is silent, or does not take what is sent to it, for this long is lost.
  milliseconds peer_timeout = seconds(10);
  // Empty: the system's; on loopback "cubic", because a system whose default is BBR paces itself
  // there to about half of what the machine can do.
  std::string congestion_control;
  uint32_t send_buffer_bytes = 0;     // 0: the system's
  uint32_t receive_buffer_bytes = 0;  // 0: the system's, which grows by itself
};

}  // namespace godwit
