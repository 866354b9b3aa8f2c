// SPDX-License-Identifier: Apache-2.0
//
// INTERFACE: the job that this process is one of, and the launcher's key-value exchange, which only
// the processes of the job can read.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/result.h"

namespace godwit::cli {

// Texts that are exchanged: what fits every launcher.
inline constexpr size_t kJobTextBytesMax = 1000;

// Thread: one.
class Job {
 public:
  virtual ~Job() = default;
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  virtual const char* launcher() const = 0;  // "PMIx"
  virtual size_t rank() const = 0;
  virtual size_t size() const = 0;

  // Gives everybody this process's text, and returns everybody's, by rank, when all have called it
  // as often as this one. Requires: printable ASCII without space, ';' and '=', at most
  // kJobTextBytesMax.
  virtual Result<std::vector<std::string>> exchange(const std::string& text) = 0;

 protected:
  Job() = default;
};

// The job that a launcher started this process in. Errors: kRefused when none did, or when it lets
// its processes exchange nothing.
Result<std::unique_ptr<Job>> join_job();

// By one way; join_job() chooses.
Result<std::unique_ptr<Job>> join_pmix_job();
Result<std::unique_ptr<Job>> join_pmi2_job();

}  // namespace godwit::cli
