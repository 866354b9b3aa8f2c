// SPDX-License-Identifier: Apache-2.0
//
// Reading QEMU's JSON without exceptions: a field that is absent or of another type is an error
// value, or the default that the caller names.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/base/result.h"

namespace godwit::qemu {

using Json = nlohmann::json;

inline std::string string_or(const Json& object, const char* key, const std::string& otherwise) {
  if (!object.is_object()) return otherwise;
  auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : otherwise;
}

inline int64_t integer_or(const Json& object, const char* key, int64_t otherwise) {
  if (!object.is_object()) return otherwise;
  auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<int64_t>() : otherwise;
}

inline bool is_true(const Json& object, const char* key) {
  if (!object.is_object()) return false;
  auto found = object.find(key);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

// The field, or null.
inline const Json& field(const Json& object, const char* key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  auto found = object.find(key);
  return found != object.end() ? *found : kNull;
}

}  // namespace godwit::qemu
