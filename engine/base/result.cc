// SPDX-License-Identifier: Apache-2.0
#include "engine/base/result.h"

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

std::string to_string(const Error& error) {
  if (error.os_errno == 0) return std::string(error.text());
  // std::error_code rather than strerror: the latter is not safe between threads.
  return fmt::format("{}: {}", error.text(),
                     std::error_code(error.os_errno, std::generic_category()).message());
}

}  // namespace godwit
