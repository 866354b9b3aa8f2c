// SPDX-License-Identifier: Apache-2.0
//
// CHECK aborts on a broken invariant of ours, also in release builds. Never use it on anything that
// a peer, a guest, the kernel or a user supplied: that is Errc::kCorrupt or kSystem.
// DCHECK is for hot loops and is compiled out with NDEBUG.
#pragma once

namespace godwit {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}

#define CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::godwit::check_failed(#condition, __FILE__, __LINE__))

#ifdef NDEBUG
#define DCHECK(condition) static_cast<void>(sizeof(!(condition)))
#else
#define DCHECK(condition) CHECK(condition)
#endif
