// SPDX-License-Identifier: Apache-2.0
//
// The command line that this process was started with, and how another is started in its place.
#pragma once

#include <string>
#include <vector>

#include "engine/base/result.h"

namespace godwit::cli {

// The arguments without the program's name, and without what `resume` had added.
Result<std::vector<std::string>> own_command();

// Replaces this process by `godwit ARGUMENTS…`. Returns only when that failed.
Status become(const std::vector<std::string>& arguments);

}  // namespace godwit::cli
