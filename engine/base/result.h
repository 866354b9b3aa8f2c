// SPDX-License-Identifier: Apache-2.0
//
// Errors are values. Whatever the world can do wrong (a peer, the kernel, the user, the VMM) comes
// back as a Result<T>; whatever only we can do wrong is a CHECK (check.h).
//
// An Error says what was attempted, on what, and what the system said. It is trivially copyable and
// owns no heap, so it can be stored, compared and passed between threads at any moment, also when
// memory is short.
#pragma once

#include <fmt/core.h>

#include <array>
#include <cstring>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <type_traits>
#include <utility>

namespace godwit {

// What kind of failure, as far as a caller's reaction depends on it.
enum class Errc : int {
  kRefused = 1,    // found incompatible or unsupported before anything was touched; exit code 4
  kPeerLost = 2,   // the connection or the peer is gone
  kCorrupt = 3,    // the peer, or a file, said something that cannot be true
  kTimeout = 4,    // a deadline passed
  kCancelled = 5,  // the user asked to stop
  kSystem = 6,     // a system call failed; os_errno says why
  kGuest = 7,      // the VMM refused or failed an operation
  kInDoubt = 8,    // committed, but the outcome is not known here; exit code 3
};

const char* to_string(Errc code);

struct Error {
  Errc code;
  int os_errno;  // 0 when the failure did not come from a system call
  std::array<char, 376> message;

  std::string_view text() const { return message.data(); }
};
static_assert(std::is_trivially_copyable_v<Error>);

// "register 2 MiB at node 1: Cannot allocate memory"
std::string to_string(const Error& error);

// "Cannot allocate memory". Unlike strerror, safe between threads.
std::string describe_errno(int os_errno);

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

// The formatting of every fail() below: here once, instead of a formatter in each file that can
// fail.
Error make_error(Errc code, int os_errno, fmt::string_view format, fmt::format_args args);

// Builds an Error in place of a Result's value. The text is cut where it is too long.
//   return fail(Errc::kRefused, "RAM block '{}' is not shared", name);
template <typename... Args>
tl::unexpected<Error> fail(Errc code, fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Error>(make_error(code, 0, format, fmt::make_format_args(args...)));
}

// The same for a failed system call: `os_errno` is usually errno.
//   return fail_errno(errno, "mmap {} bytes of {}", size, path);
template <typename... Args>
tl::unexpected<Error> fail_errno(int os_errno, fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Error>(
      make_error(Errc::kSystem, os_errno, format, fmt::make_format_args(args...)));
}

}  // namespace godwit

#define GODWIT_CONCAT_INNER(a, b) a##b
#define GODWIT_CONCAT(a, b) GODWIT_CONCAT_INNER(a, b)

// Returns from the enclosing function when `expr` (a Status or Result) failed.
#define RETURN_IF_ERROR(expr)                                                          \
  do {                                                                                 \
    auto&& godwit_status = (expr);                                                     \
    if (!godwit_status) return tl::unexpected<::godwit::Error>(godwit_status.error()); \
  } while (false)

// ASSIGN_OR_RETURN(int fd, open_it()): declares or assigns the value, or returns the error.
#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_INNER(GODWIT_CONCAT(godwit_result_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_INNER(result, lhs, expr)                      \
  auto result = (expr);                                                \
  if (!result) return tl::unexpected<::godwit::Error>(result.error()); \
  lhs = std::move(*result)
