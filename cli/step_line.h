// SPDX-License-Identifier: Apache-2.0
//
// What a command does at the moment: a line that is written over, on stderr, where somebody looks.
#pragma once

#include <string_view>

namespace godwit::cli {

void show_step(std::string_view step);
void clear_step();

}  // namespace godwit::cli
