// SPDX-License-Identifier: Apache-2.0
//
// Where something for programs goes that is known only at the end: a file, stdout, or nowhere.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"

namespace godwit::cli {

class OutputFile {
 public:
  // `path` empty: nowhere, "-": stdout. Opened before anything is done, because afterwards it is
  // too late to find that it cannot be written. Errors: kRefused.
  static Result<OutputFile> open(const std::string& path);

  bool wanted() const { return !path_.empty(); }
  bool is_stdout() const { return path_ == "-"; }

  // Whether all of it was written, if it was wanted; says on stderr when it could not be.
  bool write(std::string_view text) const;

 private:
  std::string path_;
  UniqueFd file_;
};

}  // namespace godwit::cli
