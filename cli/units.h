// SPDX-License-Identifier: Apache-2.0
//
// Quantities as people write them. A number without its unit is refused: "30" of what?
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/base/time.h"

namespace godwit::cli {

// "200us", "30ms", "1.5s", "2min".
Result<Clock::duration> parse_duration(std::string_view text);

// Bytes per second from "10Gbit", "800Mbit/s", "1.5GB/s", "500MiB/s". Bits and B are decimal (k, M,
// G, T), iB binary.
Result<uint64_t> parse_rate(std::string_view text);

// "64KiB", "1MiB", "200MB", "8B".
Result<uint64_t> parse_size(std::string_view text);

// "3.02 GiB", "512 KiB".
std::string format_bytes(uint64_t bytes);

// "1.85 GB/s": decimal, as links are sold.
std::string format_rate(double bytes_per_s);

// "12.4 ms", "2.31 s".
std::string format_milliseconds(double ms);

}  // namespace godwit::cli
