// SPDX-License-Identifier: Apache-2.0
//
// The zero scan with 32-byte vectors. Compiled with -mavx2; see zero_scan_versions.h for what may
// not be included here.
#include <immintrin.h>

#include "engine/memory/zero_scan_versions.h"

namespace godwit {
namespace {

// SAFETY: may_alias vector loads; loadu has no alignment requirement.
inline __m256i load(const char* at) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
}

// All zero in [at, at + 64)?
inline bool line_is_zero(const char* at) {
  const __m256i both = _mm256_or_si256(load(at), load(at + 32));
  return _mm256_testz_si256(both, both) != 0;
}

}  // namespace

bool is_zero_avx2(const void* start, size_t size_bytes) {
  const char* at = static_cast<const char*>(start);
  const char* const end = at + size_bytes;

  // Page contents that are not zero almost always say so here.
  for (int line = 0; line < 4 && at != end; ++line, at += 64) {
    if (!line_is_zero(at)) return false;
  }

  // Wide steps: one test for eight loads keeps the loop at memory speed.
  for (; end - at >= 256; at += 256) {
    const __m256i a = _mm256_or_si256(load(at), load(at + 32));
    const __m256i b = _mm256_or_si256(load(at + 64), load(at + 96));
    const __m256i c = _mm256_or_si256(load(at + 128), load(at + 160));
    const __m256i d = _mm256_or_si256(load(at + 192), load(at + 224));
    const __m256i all = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));
    if (_mm256_testz_si256(all, all) == 0) return false;
  }

  for (; at != end; at += 64) {
    if (!line_is_zero(at)) return false;
  }
  return true;
}

}  // namespace godwit
