// SPDX-License-Identifier: Apache-2.0
//
// One connected socket, as bytes, with or without TLS around them. Never waits: whoever uses it
// polls the descriptor, outside of any lock.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/base/result.h"

namespace godwit::control {

enum class IoState : uint8_t {
  kMoved = 1,     // some bytes moved
  kWaitReadable,  // again when the descriptor is readable
  kWaitWritable,  // again when the descriptor is writable, with the same bytes
  kEnded,         // the peer has closed, or the connection broke: nothing more will move
};

struct IoStep {
  IoState state;
  size_t bytes;  // kMoved only
};

// Thread: one at a time.
// Errors: kCorrupt when the bytes are not what the peer can have sent; the stream is dead then.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  ByteStream(const ByteStream&) = delete;
  ByteStream& operator=(const ByteStream&) = delete;

  virtual Result<IoStep> read_some(std::span<std::byte> bytes) = 0;
  virtual Result<IoStep> write_some(std::span<const std::byte> bytes) = 0;

  // See ControlChannel::lane_token().
  virtual Result<std::array<std::byte, 32>> lane_token(uint32_t lane) = 0;

  // Tells the peer that no more will come, if that is possible at once.
  virtual void say_goodbye() = 0;

  virtual int fd() const = 0;

 protected:
  ByteStream() = default;
};

}  // namespace godwit::control
