// SPDX-License-Identifier: Apache-2.0
//
// PRIVATE to engine/wire. Each message says once which fields it has, in order, with their limits;
// the FieldWriter and the FieldReader walk that one list, so that the two directions cannot
// disagree:
//
//   template <typename Fields>
//   void describe(Fields& fields, OneOf<Refuse> auto& message) {
//     fields.text("reason", message.reason, kReasonBytesMax);
//   }
//
// Limits bind both ends. A list too long to send is our own bug (CHECK); a text comes from outside
// and is cut; whatever breaks a limit or a rule on arrival is the peer's fault (kCorrupt).
#pragma once

#include <cmath>
#include <concepts>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "engine/wire/codec.h"

namespace godwit::wire {

// `Type` is Message or const Message.
template <typename Type, typename Message>
concept OneOf = std::same_as<std::remove_const_t<Type>, Message>;

struct ListLimits {
  size_t count_max;
  size_t element_bytes_min;  // what the smallest element takes on the wire
};

struct MapLimits {
  size_t count_max;
  size_t text_bytes_max;  // of each key and each value
};

class FieldWriter {
 public:
  explicit FieldWriter(std::vector<std::byte>& output) : encoder_(output) {}

  void number(const char*, uint8_t value) { encoder_.u8(value); }
  void number(const char*, uint32_t value) { encoder_.u32(value); }
  void number(const char*, uint64_t value) { encoder_.u64(value); }
  void number(const char*, int32_t value) { encoder_.u32(static_cast<uint32_t>(value)); }

  // A time or a rate: finite, not negative.
  void measure(const char*, double value) {
    CHECK(std::isfinite(value) && value >= 0);
    encoder_.f64(value);
  }

  void text(const char*, const std::string& value, size_t bytes_max) {
    encoder_.string(value, bytes_max);
  }

  void blob(const char*, const std::vector<std::byte>& value, size_t bytes_max) {
    CHECK(value.size() <= bytes_max);
    encoder_.bytes(value);
  }

  // An enum of one byte whose values are 1 .. last.
  template <typename Enum>
  void choice(const char*, Enum value, Enum last) {
    const auto raw = static_cast<uint8_t>(value);
    CHECK(raw >= 1 && raw <= static_cast<uint8_t>(last));
    encoder_.u8(raw);
  }

  // `element(fields, value)` describes one element.
  template <typename Value, typename Element>
  void list(const char*, const std::vector<Value>& values, ListLimits limits, Element element) {
    CHECK(values.size() <= limits.count_max);
    encoder_.u32(static_cast<uint32_t>(values.size()));
    for (const Value& value : values) element(*this, value);
  }

  void map(const char*, const std::map<std::string, std::string>& values, MapLimits limits) {
    CHECK(values.size() <= limits.count_max);
    encoder_.u32(static_cast<uint32_t>(values.size()));
    for (const auto& [key, value] : values) {
      encoder_.string(key, limits.text_bytes_max);
      encoder_.string(value, limits.text_bytes_max);
    }
  }

  // A rule about a field described before. The reader holds the peer to it.
  template <typename Holds>
  void require(const char*, const char*, Holds) {}

 private:
  Encoder encoder_;
};

class FieldReader {
 public:
  explicit FieldReader(Decoder& decoder) : decoder_(decoder) {}

  void number(const char* field, uint8_t& value) { value = decoder_.u8(field); }
  void number(const char* field, uint32_t& value) { value = decoder_.u32(field); }
  void number(const char* field, uint64_t& value) { value = decoder_.u64(field); }
  void number(const char* field, int32_t& value) {
    value = static_cast<int32_t>(decoder_.u32(field));
  }

  void measure(const char* field, double& value) {
    value = decoder_.f64(field);
    if (!std::isfinite(value) || value < 0) decoder_.reject(field, "is not a time");
  }

  void text(const char* field, std::string& value, size_t bytes_max) {
    value = decoder_.string(field, bytes_max);
  }

  void blob(const char* field, std::vector<std::byte>& value, size_t bytes_max) {
    const std::span<const std::byte> content = decoder_.bytes(field, bytes_max);
    value.assign(content.begin(), content.end());
  }

  template <typename Enum>
  void choice(const char* field, Enum& value, Enum last) {
    const uint8_t raw = decoder_.u8(field);
    if (raw < 1 || raw > static_cast<uint8_t>(last)) {
      decoder_.reject(field, "is not a known value");
      return;
    }
    value = static_cast<Enum>(raw);
  }

  template <typename Value, typename Element>
  void list(const char* field, std::vector<Value>& values, ListLimits limits, Element element) {
    values.resize(decoder_.count(field, limits.count_max, limits.element_bytes_min));
    for (Value& value : values) {
      if (!decoder_.ok()) return;
      element(*this, value);
    }
  }

  // Keys come in ascending order, each once: one map has one encoding.
  void map(const char* field, std::map<std::string, std::string>& values, MapLimits limits) {
    constexpr size_t kPairBytesMin = 2 * sizeof(uint32_t);
    const size_t count = decoder_.count(field, limits.count_max, kPairBytesMin);
    for (size_t i = 0; i < count && decoder_.ok(); ++i) {
      std::string key = decoder_.string(field, limits.text_bytes_max);
      std::string value = decoder_.string(field, limits.text_bytes_max);
      if (!values.empty() && key <= values.rbegin()->first)
        decoder_.reject(field, "has keys out of order");
      values.emplace_hint(values.end(), std::move(key), std::move(value));
    }
  }

  // `reason` reads on from "field F ...", e.g. "is zero".
  template <typename Holds>
  void require(const char* field, const char* reason, Holds holds) {
    if (decoder_.ok() && !holds()) decoder_.reject(field, reason);
  }

 private:
  Decoder& decoder_;
};

}  // namespace godwit::wire
