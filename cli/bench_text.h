// SPDX-License-Identifier: Apache-2.0
//
// What a bench found, as tables for people.
#pragma once

#include <string>

#include "cli/bench_measure.h"

namespace godwit::cli {

std::string render_bench_text(const BenchOutcome& outcome);

// "64 KiB": of a transfer.
std::string format_transfer_size(uint32_t size_bytes);

}  // namespace godwit::cli
