// SPDX-License-Identifier: Apache-2.0
//
// A pre-shared key that is good for one job: made by its first process, known to all, and in no
// file system.
#pragma once

#include <string>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"

namespace godwit::cli {

// 64 random hexadecimal digits.
Result<std::string> new_job_key();

// Holds a key where TLS reads one: in a file, which exists for this process alone, in memory.
class JobKeyFile {
 public:
  static Result<JobKeyFile> make(const std::string& key);

  // Good while this exists.
  std::string path() const;

 private:
  explicit JobKeyFile(UniqueFd file) : file_(std::move(file)) {}

  UniqueFd file_;
};

}  // namespace godwit::cli
