// SPDX-License-Identifier: Apache-2.0
#include "engine/wire/codec.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "engine/base/check.h"

namespace godwit {

static_assert(std::endian::native == std::endian::little,
              "integers are copied as they lie in memory; a big-endian host has to swap them");

template <typename Integer>
void Encoder::integer(Integer value) {
  const auto raw = std::as_bytes(std::span(&value, 1));
  output_.insert(output_.end(), raw.begin(), raw.end());
}

void Encoder::u8(uint8_t value) {
  integer(value);
}
void Encoder::u16(uint16_t value) {
  integer(value);
}
void Encoder::u32(uint32_t value) {
  integer(value);
}
void Encoder::u64(uint64_t value) {
  integer(value);
}
void Encoder::f64(double value) {
  integer(std::bit_cast<uint64_t>(value));
}

void Encoder::string(std::string_view text, size_t bytes_max) {
  text = text.substr(0, std::min(bytes_max, text.size()));
  bytes(std::as_bytes(std::span(text.data(), text.size())));
}

void Encoder::bytes(std::span<const std::byte> content) {
  CHECK(content.size() <= std::numeric_limits<uint32_t>::max());
  u32(static_cast<uint32_t>(content.size()));
  output_.insert(output_.end(), content.begin(), content.end());
}

template <typename Integer>
Integer Decoder::integer(const char* field) {
  Integer value = 0;
  const std::span<const std::byte> raw = take(field, sizeof value);
  if (!raw.empty()) std::memcpy(&value, raw.data(), sizeof value);
  return value;
}

uint8_t Decoder::u8(const char* field) {
  return integer<uint8_t>(field);
}
uint16_t Decoder::u16(const char* field) {
  return integer<uint16_t>(field);
}
uint32_t Decoder::u32(const char* field) {
  return integer<uint32_t>(field);
}
uint64_t Decoder::u64(const char* field) {
  return integer<uint64_t>(field);
}
double Decoder::f64(const char* field) {
  return std::bit_cast<double>(integer<uint64_t>(field));
}

std::string Decoder::string(const char* field, size_t bytes_max) {
  const std::span<const std::byte> raw = bytes(field, bytes_max);
  std::string text(raw.size(), '\0');
  if (!raw.empty()) std::memcpy(text.data(), raw.data(), raw.size());
  return text;
}

std::span<const std::byte> Decoder::bytes(const char* field, size_t bytes_max) {
  const uint32_t size_bytes = u32(field);
  if (size_bytes > bytes_max) {
    reject(field, "is longer than allowed");
    return {};
  }
  return take(field, size_bytes);
}

size_t Decoder::count(const char* field, size_t count_max, size_t element_bytes_min) {
  CHECK(element_bytes_min > 0);
  const uint32_t elements = u32(field);
  if (elements > count_max) {
    reject(field, "has more elements than allowed");
    return 0;
  }
  if (elements > input_.size() / element_bytes_min) {
    reject(field, "has more elements than the message has bytes for");
    return 0;
  }
  return elements;
}

void Decoder::reject(const char* field, const char* reason) {
  if (!ok()) return;
  error_ = fail(Errc::kCorrupt, "message {}: field {} {}", message_, field, reason).value();
  input_ = {};
}

Status Decoder::finish() {
  if (ok() && !input_.empty()) {
    error_ =
        fail(Errc::kCorrupt, "message {}: {} bytes left over at its end", message_, input_.size())
            .value();
  }
  if (!ok()) return tl::unexpected<Error>(*error_);
  return {};
}

std::span<const std::byte> Decoder::take(const char* field, size_t size_bytes) {
  if (!ok()) return {};
  if (size_bytes > input_.size()) {
    reject(field, "is cut off");
    return {};
  }
  const std::span<const std::byte> taken = input_.first(size_bytes);
  input_ = input_.subspan(size_bytes);
  return taken;
}

}  // namespace godwit
