// SPDX-License-Identifier: Apache-2.0
//
// What this program calls itself. GODWIT_VERSION comes from the project's CMakeLists.txt.
#pragma once

namespace godwit::cli {

inline constexpr char kVersion[] = "godwit " GODWIT_VERSION;

}  // namespace godwit::cli
