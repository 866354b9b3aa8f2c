// SPDX-License-Identifier: Apache-2.0
//
// Frames: see the header.
#include "lab/guest/frames.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace godwit::lab {

namespace {

// Returns false at the end of the stream.
bool read_all(int fd, char* bytes, size_t count) {
  while (count > 0) {
    const ssize_t got = ::read(fd, bytes, count);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes += got;
    count -= static_cast<size_t>(got);
  }
  return true;
}

}  // namespace

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(put));
  }
  return true;
}

bool send_frame(int fd, Kind kind, std::string_view payload) {
  const uint32_t length = static_cast<uint32_t>(payload.size());
  std::string bytes(1, static_cast<char>(kind));
  // The lab is x86-64 on both sides: little-endian as it lies in memory.
  bytes.append(reinterpret_cast<const char*>(&length), sizeof length);
  bytes.append(payload);
  return write_all(fd, bytes);
}

std::optional<Frame> receive_frame(int fd) {
  char kind = 0;
  uint32_t length = 0;
  char length_bytes[sizeof length];
  if (!read_all(fd, &kind, 1) || !read_all(fd, length_bytes, sizeof length_bytes)) return {};
  std::memcpy(&length, length_bytes, sizeof length);
  Frame frame{static_cast<Kind>(kind), std::string(length, '\0')};
  if (!read_all(fd, frame.payload.data(), length)) return {};
  return frame;
}

}  // namespace godwit::lab
