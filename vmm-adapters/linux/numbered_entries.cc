// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/numbered_entries.h"

#include <dirent.h>

#include <cerrno>
#include <charconv>
#include <memory>
#include <string_view>

namespace godwit {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};

}  // namespace

Status for_each_number(const std::string& path, const std::function<void(pid_t)>& visit) {
  std::unique_ptr<DIR, CloseDirectory> directory(opendir(path.c_str()));
  if (directory == nullptr) return fail_errno(errno, "open {}", path);
  // NOLINTNEXTLINE(concurrency-mt-unsafe): safe on a stream of our own
  while (const dirent* entry = readdir(directory.get())) {
    std::string_view name = entry->d_name;
    pid_t number = 0;
    auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error == std::errc() && end == name.data() + name.size()) visit(number);
  }
  return {};
}

}  // namespace godwit
