// SPDX-License-Identifier: Apache-2.0
//
// PRIVATE to zero_scan*.cc. The versions live in files that are compiled for their own instruction
// set. Those files take raw pointers and include nothing with inline functions: the linker keeps
// one copy of an inline function for the whole program, and it must not be one compiled with
// AVX-512.
#pragma once

#include <stddef.h>

namespace godwit {

// Requires: size_bytes is a multiple of 64.
bool is_zero_avx2(const void* start, size_t size_bytes);
bool is_zero_avx512(const void* start, size_t size_bytes);

}  // namespace godwit
