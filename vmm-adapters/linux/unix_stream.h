// SPDX-License-Identifier: Apache-2.0
//
// Unix sockets: the plug into which a VMM, or whatever stands in front of it, puts its migration
// stream (QEMU: migrate unix:PATH, -incoming unix:PATH; libvirt: --migrateuri unix:///PATH).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/base/unique_fd.h"
#include "engine/base/wake_event.h"
#include "engine/vmm_stream.h"

namespace godwit {

// Connects to who listens at `path`. Errors: kRefused for a path that is too long; the system's.
Result<UniqueFd> connect_unix(const std::string& path);

// What has come of the first bytes when all of them have, the peer has closed, or time is over.
// They are still to be read. Returns how many.
size_t peek(int socket, std::span<std::byte> first, Deadline deadline);

// The process at the other end of a connected unix socket, as the kernel knows it.
Result<pid_t> peer_of(int socket);

// As a stream; the socket is made non-blocking.
Result<std::unique_ptr<VmmStream>> make_unix_stream(UniqueFd socket);

// A path that listens. The path is removed at the end.
class UnixListener {
 public:
  // A socket left over at `path` that nobody listens at is replaced. Errors: kRefused where
  // somebody does, or where something else is.
  static Result<std::unique_ptr<UnixListener>> listen(const std::string& path);
  ~UnixListener();
  UnixListener(const UnixListener&) = delete;
  UnixListener& operator=(const UnixListener&) = delete;

  // Errors: kCancelled after shut_down(); kTimeout.
  Result<UniqueFd> accept(Deadline deadline = Deadline::max());

  // Thread: any.
  void shut_down() { stop_.raise(); }

 private:
  UnixListener(std::string path, UniqueFd socket, WakeEvent stop)
      : path_(std::move(path)), socket_(std::move(socket)), stop_(std::move(stop)) {}

  const std::string path_;
  UniqueFd socket_;
  WakeEvent stop_;
};

}  // namespace godwit
