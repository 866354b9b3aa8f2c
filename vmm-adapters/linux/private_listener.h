// SPDX-License-Identifier: Apache-2.0
//
// A unix socket for one process alone, and for as long as it takes to connect: in a folder that
// only that process's user can enter. For a VMM that has to be told a path, where a socket pair
// will not do.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <utility>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/base/unique_fd.h"
#include "vmm-adapters/linux/unix_stream.h"

namespace godwit {

class PrivateListener {
 public:
  // In a folder beside the file `neighbour`, which the process can reach as well.
  // Errors: kRefused where the path gets too long; the system's.
  static Result<std::unique_ptr<PrivateListener>> open(const std::string& neighbour, pid_t process);
  // Removes socket and folder.
  ~PrivateListener();
  PrivateListener(const PrivateListener&) = delete;
  PrivateListener& operator=(const PrivateListener&) = delete;

  const std::string& path() const { return path_; }

  // The next connection of the process; others are closed. Errors: kTimeout.
  Result<UniqueFd> accept(Deadline deadline);

 private:
  PrivateListener(std::string folder, pid_t process)
      : folder_(std::move(folder)), path_(folder_ + "/s"), process_(process) {}

  const std::string folder_;
  const std::string path_;
  const pid_t process_;
  std::unique_ptr<UnixListener> listener_;
};

}  // namespace godwit
