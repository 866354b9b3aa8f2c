// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/private_listener.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace godwit {

Result<std::unique_ptr<PrivateListener>> PrivateListener::open(const std::string& neighbour,
                                                               pid_t process) {
  std::error_code unknown;
  const std::filesystem::path whole = std::filesystem::absolute(neighbour, unknown);
  if (unknown) return fail_errno(unknown.value(), "find the folder of {}", neighbour);
  std::string folder = (whole.parent_path() / ".godwit-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) return fail_errno(errno, "make the folder {}", folder);
  std::unique_ptr<PrivateListener> made(new PrivateListener(folder, process));
  ASSIGN_OR_RETURN(made->listener_, UnixListener::listen(made->path_));
  struct stat owner {};
  if (::stat(fmt::format("/proc/{}", process).c_str(), &owner) != 0)
    return fail_errno(errno, "find the user of process {}", process);
  if (owner.st_uid == ::geteuid()) return made;
  for (const std::string& path : {made->path_, made->folder_}) {
    if (::chown(path.c_str(), owner.st_uid, owner.st_gid) != 0)
      return fail_errno(errno, "give {} to the user of process {}", path, process);
  }
  return made;
}

PrivateListener::~PrivateListener() {
  listener_.reset();
  ::rmdir(folder_.c_str());
}

Result<UniqueFd> PrivateListener::accept(Deadline deadline) {
  while (true) {
    ASSIGN_OR_RETURN(UniqueFd socket, listener_->accept(deadline));
    ASSIGN_OR_RETURN(const pid_t peer, peer_of(socket.get()));
    if (peer == process_) return socket;
  }
}

}  // namespace godwit
