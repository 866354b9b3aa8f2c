// SPDX-License-Identifier: Apache-2.0
#include "cli/own_command.h"

#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iterator>

namespace godwit::cli {
namespace {

constexpr const char* kAdded[] = {"--resume-session", "--resume-listen"};

}  // namespace

Result<std::vector<std::string>> own_command() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::vector<std::string> arguments;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\0', at), text.size());
    arguments.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (arguments.empty()) return fail_errno(errno, "read /proc/self/cmdline");
  arguments.erase(arguments.begin());
  for (const char* added : kAdded) {
    for (size_t i = 0; i + 1 < arguments.size();) {
      if (arguments[i] == added) {
        arguments.erase(arguments.begin() + static_cast<long>(i),
                        arguments.begin() + static_cast<long>(i) + 2);
      } else {
        ++i;
      }
    }
  }
  return arguments;
}

Status become(const std::vector<std::string>& arguments) {
  std::string program = "godwit";
  std::vector<std::string> copy = arguments;
  std::vector<char*> pointers{program.data()};
  for (std::string& argument : copy) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  ::execv("/proc/self/exe", pointers.data());
  return fail_errno(errno, "start the agent again");
}

}  // namespace godwit::cli
