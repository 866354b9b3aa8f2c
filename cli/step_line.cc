// SPDX-License-Identifier: Apache-2.0
#include "cli/step_line.h"

#include <fmt/core.h>
#include <unistd.h>

#include "cli/console.h"

namespace godwit::cli {

void show_step(std::string_view step) {
  if (::isatty(STDERR_FILENO) != 0) write_stderr(fmt::format("\r\x1b[K{}", step));
}

void clear_step() {
  if (::isatty(STDERR_FILENO) != 0) write_stderr("\r\x1b[K");
}

}  // namespace godwit::cli
