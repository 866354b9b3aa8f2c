// SPDX-License-Identifier: Apache-2.0
#include "engine/base/result.h"

#include <fmt/format.h>

#include <system_error>

#include "engine/base/check.h"

namespace godwit {

const char* to_string(Errc code) {
  switch (code) {
    case Errc::kRefused:
      return "refused";
    case Errc::kPeerLost:
      return "peer lost";
    case Errc::kCorrupt:
      return "corrupt";
    case Errc::kTimeout:
      return "timed out";
    case Errc::kCancelled:
      return "cancelled";
    case Errc::kSystem:
      return "system call failed";
    case Errc::kGuest:
      return "guest operation failed";
    case Errc::kInDoubt:
      return "outcome in doubt";
  }
  CHECK(false && "an Errc outside its enumerators");
}

Error make_error(Errc code, int os_errno, fmt::string_view format, fmt::format_args args) {
  Error error{code, os_errno, {}};
  auto end = fmt::vformat_to_n(error.message.data(), error.message.size() - 1, format, args);
  *end.out = '\0';
  return error;
}

std::string describe_errno(int os_errno) {
  return std::error_code(os_errno, std::generic_category()).message();
}

std::string to_string(const Error& error) {
  if (error.os_errno == 0) return std::string(error.text());
  return fmt::format("{}: {}", error.text(), describe_errno(error.os_errno));
}

}  // namespace godwit
