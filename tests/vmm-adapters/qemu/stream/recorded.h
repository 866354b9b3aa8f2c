// SPDX-License-Identifier: Apache-2.0
//
// What record_streams has recorded.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "vmm-adapters/qemu/stream/stream_parser.h"

namespace godwit::qemu::stream {

// recorded/NAME.gz; a failed expectation and nothing if there is none.
std::vector<std::byte> read_recorded(std::string_view name);

// The names of all that end with `suffix` (".main"), sorted.
std::vector<std::string> recorded_names(std::string_view suffix);

// With what has to be known to read this one.
StreamParser parser_for(std::string_view name);

}  // namespace godwit::qemu::stream
