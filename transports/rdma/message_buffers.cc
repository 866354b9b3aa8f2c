// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/message_buffers.h"

#include <sys/mman.h>

#include <cerrno>

namespace godwit {

Result<std::unique_ptr<MessageBuffers>> MessageBuffers::make(const RdmaDevice& device) {
  void* start = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (start == MAP_FAILED) return fail_errno(errno, "map {} bytes for messages", kBytes);
  std::unique_ptr<MessageBuffers> buffers(
      new MessageBuffers({static_cast<std::byte*>(start), kBytes}));
  ASSIGN_OR_RETURN(buffers->private_region_,
                   register_with(device, buffers->bytes_.first(kMessagesBytes + kBasePageBytes),
                                 RemoteAccess::kNone));
  ASSIGN_OR_RETURN(
      buffers->readable_region_,
      register_with(device, buffers->bytes_.last(kBasePageBytes), RemoteAccess::kRead));
  return buffers;
}

MessageBuffers::~MessageBuffers() {
  readable_region_.reset();
  private_region_.reset();
  ::munmap(bytes_.data(), bytes_.size());
}

FlushWord MessageBuffers::flush_word() const {
  // SAFETY: only as a number, which is how verbs names remote memory.
  return {.address = reinterpret_cast<uint64_t>(readable_region_->addr),
          .remote_key = readable_region_->rkey};
}

}  // namespace godwit
