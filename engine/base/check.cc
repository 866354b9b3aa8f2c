// SPDX-License-Identifier: Apache-2.0
#include "engine/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace godwit {

void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "godwit: %s:%d: broken invariant: %s\n", file, line, condition);
  std::abort();
}

}  // namespace godwit
