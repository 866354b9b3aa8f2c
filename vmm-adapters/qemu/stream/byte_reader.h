// SPDX-License-Identifier: Apache-2.0
//
// Reads big-endian items off a buffer, and appends them to one. A read past the end makes the
// reader short and answers zeroes; the caller throws away what it has read so far and begins again
// when there is more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "vmm-adapters/qemu/stream/wire.h"

namespace godwit::qemu::stream {

class ByteReader {
 public:
  explicit ByteReader(Bytes bytes) : bytes_(bytes) {}

  bool is_short() const { return short_; }
  size_t consumed() const { return at_; }
  size_t left() const { return bytes_.size() - at_; }

  uint8_t u8() { return static_cast<uint8_t>(number(1)); }
  uint16_t be16() { return static_cast<uint16_t>(number(2)); }
  uint32_t be32() { return static_cast<uint32_t>(number(4)); }
  uint64_t be64() { return number(8); }
  Bytes take(uint64_t size) {
    if (short_ || size > left()) {
      short_ = true;
      return {};
    }
    const Bytes taken = bytes_.subspan(at_, size);
    at_ += size;
    return taken;
  }
  std::string_view text(uint64_t size) {
    const Bytes taken = take(size);
    // SAFETY: char may alias any bytes.
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
  // A length in one byte, and so many letters.
  std::string_view counted_text() { return text(u8()); }
  // The next byte, which stays where it is.
  uint8_t peek() {
    if (short_ || left() == 0) {
      short_ = true;
      return 0;
    }
    return static_cast<uint8_t>(bytes_[at_]);
  }

 private:
  uint64_t number(size_t size) {
    uint64_t value = 0;
    for (const std::byte byte : take(size)) value = value << 8 | static_cast<uint64_t>(byte);
    return value;
  }

  Bytes bytes_;
  size_t at_ = 0;
  bool short_ = false;
};

// The counterpart.
class ByteWriter {
 public:
  explicit ByteWriter(std::vector<std::byte>& output) : output_(output) {}

  void u8(uint8_t value) { number(value, 1); }
  void be16(uint16_t value) { number(value, 2); }
  void be32(uint32_t value) { number(value, 4); }
  void be64(uint64_t value) { number(value, 8); }
  void bytes(Bytes content) { output_.insert(output_.end(), content.begin(), content.end()); }
  void text(std::string_view text) { bytes(std::as_bytes(std::span(text))); }
  // Requires: at most 255 letters.
  void counted_text(std::string_view text_of) {
    u8(static_cast<uint8_t>(text_of.size()));
    text(text_of);
  }
  void zeroes(size_t count) { output_.insert(output_.end(), count, std::byte{0}); }

 private:
  void number(uint64_t value, int size) {
    for (int shift = 8 * (size - 1); shift >= 0; shift -= 8) {
      output_.push_back(static_cast<std::byte>(value >> shift & 0xff));
    }
  }

  std::vector<std::byte>& output_;
};

}  // namespace godwit::qemu::stream
