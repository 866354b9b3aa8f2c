// SPDX-License-Identifier: Apache-2.0
#include "cli/launcher/shared_library.h"

#include <dlfcn.h>

namespace godwit::cli {

Result<SharedLibrary> SharedLibrary::load(const Name& name) {
  // Global, since what it loads by itself may need its symbols.
  void* handle = ::dlopen(name.file, RTLD_NOW | RTLD_GLOBAL);
  if (handle != nullptr) return SharedLibrary(handle, name.file);
  return fail(Errc::kRefused, "the launcher needs {} here: install {} ({})", name.file,
              name.package, ::dlerror());  // NOLINT(concurrency-mt-unsafe): one thread loads
}

Result<void*> SharedLibrary::find_symbol(const char* name) const {
  void* address = ::dlsym(handle_, name);
  if (address != nullptr) return address;
  return fail(Errc::kRefused, "{} is too old: it has no {}", file_, name);
}

}  // namespace godwit::cli
