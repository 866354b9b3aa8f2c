// SPDX-License-Identifier: Apache-2.0
//
// CPUs by the operating system's numbers, ascending: where a thread may run.
#pragma once

#include <string>
#include <vector>

namespace godwit::numa {

using CpuList = std::vector<int>;

// "0-3,8", as the kernel writes them; "none" where there are none.
std::string to_string(const CpuList& cpus);

}  // namespace godwit::numa
