// SPDX-License-Identifier: Apache-2.0
//
// CPU time of this process, all threads, user and system, in seconds.
#pragma once

#include <sys/resource.h>

namespace godwit {

inline double process_cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto in_seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return in_seconds(usage.ru_utime) + in_seconds(usage.ru_stime);
}

}  // namespace godwit
