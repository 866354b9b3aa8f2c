// SPDX-License-Identifier: Apache-2.0
//
// The stream guard must neither crash nor depend on how its input is cut into pieces. The first
// byte says how; the rest is the stream.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "engine/base/units.h"
#include "vmm-adapters/qemu/stream_guard.h"

using godwit::kMiB;
using godwit::qemu::StreamGuard;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t piece_bytes = size_t{data[0]} + 1;
  std::span<const std::byte> stream = std::as_bytes(std::span(data, size)).subspan(1);

  StreamGuard whole({{"ram0", 16 * kMiB}});
  bool whole_good = whole.feed(stream).has_value();
  StreamGuard cut({{"ram0", 16 * kMiB}});
  bool cut_good = true;
  for (size_t at = 0; cut_good && at < stream.size(); at += piece_bytes) {
    cut_good = cut.feed(stream.subspan(at, std::min(piece_bytes, stream.size() - at))).has_value();
  }
  if (whole_good != cut_good || whole.ram_passed() != cut.ram_passed()) std::abort();
  return 0;
}
