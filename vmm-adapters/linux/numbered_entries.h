// SPDX-License-Identifier: Apache-2.0
//
// Folders of /proc whose entries are numbers: processes, threads, descriptors.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "engine/base/result.h"

namespace godwit {

// Calls `visit` with every entry of a folder whose name is a number.
Status for_each_number(const std::string& path, const std::function<void(pid_t)>& visit);

}  // namespace godwit
