// SPDX-License-Identifier: Apache-2.0
//
// Keeps a stranger from making OpenSSL allocate: it grows its buffer to the size that a handshake
// message *announces*, up to 128 KiB for a ClientHello, before the message is there. So the bytes
// of a client that is not authenticated yet pass through here first. A handshake message in clear
// (that is, a ClientHello) must be small and fill its record, as those of all real clients do; and
// all together must stay small.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/base/result.h"

namespace godwit::control {

class RecordGuard {
 public:
  // Looks at the next bytes of the stream. Errors: kCorrupt, and the connection has to end.
  Status inspect(std::span<const std::byte> bytes);

 private:
  Status inspect_handshake_header() const;

  std::array<uint8_t, 9> header_{};  // record type, version, length; handshake type, length
  size_t header_bytes_ = 0;
  size_t skip_bytes_ = 0;  // of the current record
  size_t total_bytes_ = 0;
};

}  // namespace godwit::control
