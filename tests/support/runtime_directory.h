// SPDX-License-Identifier: Apache-2.0
//
// Sessions of one test only: a runtime directory of its own, for as long as this lives.
#pragma once

#include <string>

namespace godwit::test {

// Sets GODWIT_RUNTIME_DIR of this process: one at a time.
class RuntimeDirectory {
 public:
  RuntimeDirectory();
  ~RuntimeDirectory();
  RuntimeDirectory(const RuntimeDirectory&) = delete;
  RuntimeDirectory& operator=(const RuntimeDirectory&) = delete;

  // What GODWIT_RUNTIME_DIR names. Made by the code under test.
  std::string path() const { return folder_ + "/run"; }
  // A file beside it, gone with it.
  std::string beside(const std::string& name) const { return folder_ + "/" + name; }

 private:
  std::string folder_;
};

}  // namespace godwit::test
