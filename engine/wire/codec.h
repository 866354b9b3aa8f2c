// SPDX-License-Identifier: Apache-2.0
//
// Bytes of a message, little-endian on every machine. The Encoder appends; the Decoder reads what a
// peer sent, and trusts none of it: it never reads past the end, never allocates more than the
// input has bytes for, and takes leftover bytes for an error.
//
// The Decoder remembers its first error and answers zeroes from then on, so that a message is read
// in a straight line and asked once, at finish(), whether that went well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"

namespace godwit {

class Encoder {
 public:
  // Appends to `output`, which may keep its capacity from message to message.
  explicit Encoder(std::vector<std::byte>& output) : output_(output) {}

  void u8(uint8_t value);
  void u16(uint16_t value);
  void u32(uint32_t value);
  void u64(uint64_t value);
  void f64(double value);  // its IEEE 754 bits
  // A string longer than `bytes_max` is cut there: a name or a reason that long comes from outside,
  // and must not make us send what the peer will not take.
  void string(std::string_view text, size_t bytes_max);
  void bytes(std::span<const std::byte> content);

 private:
  template <typename Integer>
  void integer(Integer value);

  std::vector<std::byte>& output_;
};

class Decoder {
 public:
  // Ownership: `input` and `message` (its name, for errors) outlive the decoder.
  Decoder(std::span<const std::byte> input, const char* message)
      : input_(input), message_(message) {}

  uint8_t u8(const char* field);
  uint16_t u16(const char* field);
  uint32_t u32(const char* field);
  uint64_t u64(const char* field);
  double f64(const char* field);
  std::string string(const char* field, size_t bytes_max);
  // The result points into the input.
  std::span<const std::byte> bytes(const char* field, size_t bytes_max);

  // The element count of a list: at most `count_max`, and at most what the bytes that are left can
  // hold when each element takes at least `element_bytes_min`.
  size_t count(const char* field, size_t count_max, size_t element_bytes_min);

  // Makes this input an error, unless it is one already.
  void reject(const char* field, const char* reason);
  bool ok() const { return !error_.has_value(); }

  // kCorrupt, naming the message and the field, when anything was wrong or is left over.
  Status finish();

 private:
  template <typename Integer>
  Integer integer(const char* field);
  std::span<const std::byte> take(const char* field, size_t size_bytes);

  std::span<const std::byte> input_;
  const char* message_;
  std::optional<Error> error_;
};

}  // namespace godwit
