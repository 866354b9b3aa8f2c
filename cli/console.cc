// SPDX-License-Identifier: Apache-2.0
#include "cli/console.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>

namespace godwit::cli {
namespace {

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace

void write_stdout(std::string_view text) {
  write_all(STDOUT_FILENO, text);
}
void write_stderr(std::string_view text) {
  write_all(STDERR_FILENO, text);
}
void say(std::string_view text) {
  write_stderr(fmt::format("godwit: {}\n", text));
}

}  // namespace godwit::cli
