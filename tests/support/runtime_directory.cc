// SPDX-License-Identifier: Apache-2.0
#include "tests/support/runtime_directory.h"

#include <cstdlib>
#include <filesystem>

#include "engine/base/check.h"

namespace godwit::test {

RuntimeDirectory::RuntimeDirectory() : folder_("/tmp/godwit-test-XXXXXX") {
  CHECK(::mkdtemp(folder_.data()) != nullptr);
  ::setenv("GODWIT_RUNTIME_DIR", path().c_str(), 1);
}

RuntimeDirectory::~RuntimeDirectory() {
  ::unsetenv("GODWIT_RUNTIME_DIR");
  std::filesystem::remove_all(folder_);
}

}  // namespace godwit::test
