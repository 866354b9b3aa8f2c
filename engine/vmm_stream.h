// SPDX-License-Identifier: Apache-2.0
//
// INTERFACE: a connected two-way byte stream of the VMM's, such as the unix socket that it migrates
// into. Bytes are read and written, never looked at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/base/result.h"

namespace godwit {

// Thread: one may read while another writes; shut_down() is for any.
class VmmStream {
 public:
  virtual ~VmmStream() = default;
  VmmStream(const VmmStream&) = delete;
  VmmStream& operator=(const VmmStream&) = delete;

  enum class State : uint8_t {
    kOpen = 1,
    kNotReady = 2,  // nothing to read, no room to write: wait
    kEnded = 3,     // nobody writes what could be read, or reads what is written
  };
  struct Progress {
    State state;
    size_t bytes;  // 0 unless kOpen
  };

  // Neither blocks. Errors: kCancelled after shut_down(); what the system says.
  virtual Result<Progress> read(std::span<std::byte> bytes) = 0;
  virtual Result<Progress> write(std::span<const std::byte> bytes) = 0;

  // Return when the next call has something to say.
  virtual Status wait_readable() = 0;
  virtual Status wait_writable() = 0;

  // The peer's writes fail from now on; its reads see the end.
  virtual void end_reading() = 0;
  virtual void end_writing() = 0;

  virtual void shut_down() = 0;

  // What it is to the kernel, for splice(2) and poll(2). Non-blocking.
  virtual int fd() const = 0;

 protected:
  VmmStream() = default;
};

}  // namespace godwit
