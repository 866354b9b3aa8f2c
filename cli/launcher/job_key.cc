// SPDX-License-Identifier: Apache-2.0
#include "cli/launcher/job_key.h"

#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace godwit::cli {

Result<std::string> new_job_key() {
  std::array<unsigned char, 32> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    return fail_errno(errno, "get {} random bytes", bytes.size());
  std::string digits;
  for (const unsigned char byte : bytes) digits += fmt::format("{:02x}", byte);
  return digits;
}

Result<JobKeyFile> JobKeyFile::make(const std::string& key) {
  UniqueFd file(::memfd_create("godwit-job-key", MFD_CLOEXEC));
  // A key that others might read is not taken.
  if (!file.valid() || ::fchmod(file.get(), S_IRUSR | S_IWUSR) != 0 ||
      ::write(file.get(), key.data(), key.size()) != static_cast<ssize_t>(key.size()))
    return fail_errno(errno, "keep the key of the job in memory");
  return JobKeyFile(std::move(file));
}

std::string JobKeyFile::path() const {
  return fmt::format("/proc/self/fd/{}", file_.get());
}

}  // namespace godwit::cli
