// SPDX-License-Identifier: Apache-2.0
//
// Writing to the terminal without ever failing: a migration does not stop because nobody listens to
// what it says.
#pragma once

#include <string_view>

namespace godwit::cli {

// As they are, unbuffered.
void write_stdout(std::string_view text);
void write_stderr(std::string_view text);

// One line: "godwit: TEXT".
void say(std::string_view text);

}  // namespace godwit::cli
