// SPDX-License-Identifier: Apache-2.0
#include "cli/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "cli/console.h"

namespace godwit::cli {

Result<OutputFile> OutputFile::open(const std::string& path) {
  OutputFile output;
  output.path_ = path;
  if (!output.wanted() || output.is_stdout()) return output;
  output.file_ = UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!output.file_.valid()) {
    Error error = fail_errno(errno, "open {} for the report", path).value();
    error.code = Errc::kRefused;
    return tl::unexpected<Error>(error);
  }
  return output;
}

bool OutputFile::write(std::string_view text) const {
  if (is_stdout()) write_stdout(text);
  while (file_.valid() && !text.empty()) {
    const ssize_t written = ::write(file_.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      say(to_string(fail_errno(errno, "write {}", path_).value()));
      return false;
    }
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

}  // namespace godwit::cli
