// SPDX-License-Identifier: Apache-2.0
//
// A cursor over a list of iovecs that are sent or received piece by piece: short transfers are the
// rule on sockets, and every sender and receiver here goes on where the last one stopped.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>

#include "engine/base/check.h"

namespace godwit {

// Ownership: the iovecs belong to the caller; advance() changes them.
class IoVectors {
 public:
  IoVectors() = default;
  explicit IoVectors(std::span<iovec> vectors) : vectors_(vectors) {
    for (const iovec& vector : vectors) bytes_left_ += vector.iov_len;
  }

  iovec* first() { return vectors_.data(); }
  size_t count() const { return vectors_.size(); }
  size_t bytes_left() const { return bytes_left_; }

  // Requires: bytes <= bytes_left().
  void advance(size_t bytes) {
    CHECK(bytes <= bytes_left_);
    bytes_left_ -= bytes;
    while (!vectors_.empty() && bytes >= vectors_.front().iov_len) {
      bytes -= vectors_.front().iov_len;
      vectors_ = vectors_.subspan(1);
    }
    if (bytes == 0) return;
    iovec& vector = vectors_.front();
    vector.iov_base = static_cast<std::byte*>(vector.iov_base) + bytes;
    vector.iov_len -= bytes;
  }

 private:
  std::span<iovec> vectors_;
  size_t bytes_left_ = 0;
};

}  // namespace godwit
