// SPDX-License-Identifier: Apache-2.0
//
// The kernel's small files of one line (sysfs), which say what a machine has. What is not there
// reads as nothing.
#pragma once

#include <string>
#include <vector>

namespace godwit {

// "" where there is no such file, or it cannot be read.
std::string read_line(const std::string& path);

// The names in a folder, sorted; none where there is no such folder.
std::vector<std::string> list_folder(const std::string& path);

}  // namespace godwit
