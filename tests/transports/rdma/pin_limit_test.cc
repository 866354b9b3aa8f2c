// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/pin_limit.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "engine/base/units.h"

namespace godwit {
namespace {

// In a process of its own that may pin `limit`, and has no capabilities.
bool holds_unprivileged(uint64_t limit, const std::function<bool()>& check) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit allowed{limit, limit};
    if (::setrlimit(RLIMIT_MEMLOCK, &allowed) != 0) ::_exit(2);
    if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(3);
    ::_exit(check() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(PinLimit, RefusesWhatTheKernelWouldAndNamesTheNumbers) {
  EXPECT_TRUE(holds_unprivileged(8 * kMiB, [] {
    const Result<PinReservation> refused = PinReservation::make(100 * kMiB);
    return !refused && refused.error().code == Errc::kRefused &&
           refused.error().text().find("100 MiB") != std::string_view::npos &&
           refused.error().text().find("8 MiB") != std::string_view::npos &&
           refused.error().text().find("ulimit -l 102400") != std::string_view::npos;
  }));
}

TEST(PinLimit, CountsWhatIsReservedTogether) {
  EXPECT_TRUE(holds_unprivileged(8 * kMiB, [] {
    Result<PinReservation> first = PinReservation::make(5 * kMiB);
    const bool second_is_refused = !PinReservation::make(5 * kMiB);
    if (!first) return false;
    *first = PinReservation();
    return second_is_refused && PinReservation::make(5 * kMiB).has_value();
  }));
}

TEST(PinLimit, IsNoneForThePrivileged) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_TRUE(PinReservation::make(uint64_t{1} << 50).has_value());
}

}  // namespace
}  // namespace godwit
