// SPDX-License-Identifier: Apache-2.0
//
// The portable zero scan, and the choice between the versions.
#include "engine/memory/zero_scan.h"

#include <cstring>

#include "engine/base/check.h"
#include "engine/memory/zero_scan_versions.h"

namespace godwit {
namespace {

// The OR of the eight words of [at, at + 64).
uint64_t fold_line(const std::byte* at) {
  uint64_t words[8];
  std::memcpy(words, at, sizeof words);  // any alignment; compiles to plain loads
  return (words[0] | words[1] | words[2] | words[3]) | (words[4] | words[5] | words[6] | words[7]);
}

bool is_zero_portable(const void* start, size_t size_bytes) {
  const std::byte* at = static_cast<const std::byte*>(start);
  const std::byte* const end = at + size_bytes;

  // Page contents that are not zero almost always say so here.
  for (int line = 0; line < 4 && at != end; ++line, at += 64) {
    if (fold_line(at) != 0) return false;
  }

  for (; end - at >= 256; at += 256) {
    const uint64_t first = fold_line(at) | fold_line(at + 64);
    const uint64_t second = fold_line(at + 128) | fold_line(at + 192);
    if ((first | second) != 0) return false;
  }

  for (; at != end; at += 64) {
    if (fold_line(at) != 0) return false;
  }
  return true;
}

using Scan = bool (*)(const void*, size_t);

Scan scan_of(ZeroScanKind kind) {
  switch (kind) {
    case ZeroScanKind::kPortable:
      return is_zero_portable;
    case ZeroScanKind::kAvx2:
      return is_zero_avx2;
    case ZeroScanKind::kAvx512:
      return is_zero_avx512;
  }
  CHECK(false && "a ZeroScanKind outside its enumerators");
}

}  // namespace

bool is_zero(std::span<const std::byte> bytes) {
  static const Scan kScan = scan_of(zero_scan_chosen());
  DCHECK(bytes.size() % 64 == 0);
  return kScan(bytes.data(), bytes.size());
}

bool zero_scan_supported(ZeroScanKind kind) {
  switch (kind) {
    case ZeroScanKind::kPortable:
      return true;
    case ZeroScanKind::kAvx2:
      return __builtin_cpu_supports("avx2") != 0;
    case ZeroScanKind::kAvx512:
      return __builtin_cpu_supports("avx512f") != 0;
  }
  CHECK(false && "a ZeroScanKind outside its enumerators");
}

bool is_zero_with(ZeroScanKind kind, std::span<const std::byte> bytes) {
  CHECK(zero_scan_supported(kind));
  CHECK(bytes.size() % 64 == 0);
  return scan_of(kind)(bytes.data(), bytes.size());
}

ZeroScanKind zero_scan_chosen() {
  if (zero_scan_supported(ZeroScanKind::kAvx512)) return ZeroScanKind::kAvx512;
  if (zero_scan_supported(ZeroScanKind::kAvx2)) return ZeroScanKind::kAvx2;
  return ZeroScanKind::kPortable;
}

}  // namespace godwit
