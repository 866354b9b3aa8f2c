// SPDX-License-Identifier: Apache-2.0
//
// The checksums of a payload where it lies in memory: one CRC32C for every 4 KiB block, each piece
// starting with a new block.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "transports/tcp/frames.h"

namespace godwit {

// Writes 4 bytes per block. Returns how many bytes that were.
uint32_t write_checksums(std::span<const iovec> pieces, std::byte* output);

// Sets the bits of the blocks whose checksum is not what `checksums` says. Returns how many there
// are.
uint32_t find_torn(std::span<const iovec> pieces, std::span<const std::byte> checksums,
                   TornFrame& torn);

// Where block `block` of the pieces starts.
const std::byte* block_start(std::span<const iovec> pieces, uint32_t block);

}  // namespace godwit
