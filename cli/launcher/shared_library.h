// SPDX-License-Identifier: Apache-2.0
//
// A library that is loaded when it is needed, for what most hosts have no use for.
#pragma once

#include <string>
#include <utility>

#include "engine/base/result.h"

namespace godwit::cli {

// Stays loaded: libraries that start threads do not survive being unloaded.
class SharedLibrary {
 public:
  struct Name {
    const char* file;     // "libpmix.so.2"
    const char* package;  // of Debian, for the error
  };
  // Errors: kRefused, saying what to install.
  static Result<SharedLibrary> load(const Name& name);

  // Sets `function` to the library's function of that name. Errors: kRefused when it has none.
  template <typename Function>
  Status find(const char* name, Function*& function) const {
    ASSIGN_OR_RETURN(void* const address, find_symbol(name));
    // SAFETY: the type is the one that the library's own header declares for the name.
    function = reinterpret_cast<Function*>(address);
    return {};
  }

 private:
  SharedLibrary(void* handle, std::string file) : handle_(handle), file_(std::move(file)) {}
  Result<void*> find_symbol(const char* name) const;

  void* handle_;
  std::string file_;
};

}  // namespace godwit::cli
