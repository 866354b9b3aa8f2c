// SPDX-License-Identifier: Apache-2.0
//
// The files of cli/page, as CMake puts them into the program (cmake/embed_page.cmake).
#pragma once

#include <string_view>

namespace godwit::cli {

struct PageParts {
  std::string_view frame;  // with the names of the others, in double braces
  std::string_view style;
  std::string_view scripts;  // all of ours, in order
  std::string_view library_style;
  std::string_view library_script;
};
extern const PageParts kPageParts;

}  // namespace godwit::cli
