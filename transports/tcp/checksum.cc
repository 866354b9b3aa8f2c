// SPDX-License-Identifier: Apache-2.0
#include "transports/tcp/checksum.h"

#include <isa-l/crc.h>

namespace godwit {

uint32_t crc32c(std::span<const std::byte> bytes) {
  // SAFETY: ISA-L's signature lacks a const; it only reads. Every span here is below 2 GiB.
  auto* start = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data()));
  return crc32_iscsi(start, static_cast<int>(bytes.size()), 0xffffffffU) ^ 0xffffffffU;
}

}  // namespace godwit
