// SPDX-License-Identifier: Apache-2.0
//
// The zero scan with 64-byte vectors. Compiled with -mavx512f; see zero_scan_versions.h for what
// may not be included here.
#include <immintrin.h>

#include "engine/memory/zero_scan_versions.h"

namespace godwit {
namespace {

inline __m512i load(const char* at) {
  return _mm512_loadu_si512(at);
}

inline bool vector_is_zero(__m512i vector) {
  return _mm512_test_epi64_mask(vector, vector) == 0;
}

}  // namespace

bool is_zero_avx512(const void* start, size_t size_bytes) {
  const char* at = static_cast<const char*>(start);
  const char* const end = at + size_bytes;

  // Page contents that are not zero almost always say so here.
  for (int line = 0; line < 4 && at != end; ++line, at += 64) {
    if (!vector_is_zero(load(at))) return false;
  }

  for (; end - at >= 256; at += 256) {
    const __m512i first = _mm512_or_si512(load(at), load(at + 64));
    const __m512i second = _mm512_or_si512(load(at + 128), load(at + 192));
    if (!vector_is_zero(_mm512_or_si512(first, second))) return false;
  }

  for (; at != end; at += 64) {
    if (!vector_is_zero(load(at))) return false;
  }
  return true;
}

}  // namespace godwit
