// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/message_buffers.h"

#include <sys/mman.h>

#include <cerrno>

namespace godwit {

Result<std::unique_ptr<MessageBuffers>> MessageBuffers::make(
    const std::shared_ptr<RdmaDevice>& device) {
  void* start = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (start == MAP_FAILED) return fail_errno(errno, "map {} bytes for messages", kBytes);
  std::unique_ptr<MessageBuffers> buffers(
      new MessageBuffers({static_cast<std::byte*>(start), kBytes}));
  ASSIGN_OR_RETURN(buffers->private_region_,
                   RdmaRegion::make(device, buffers->bytes_.first(kMessagesBytes + kBasePageBytes),
                                    RemoteAccess::kNone));
  ASSIGN_OR_RETURN(
      buffers->readable_region_,
      RdmaRegion::make(device, buffers->bytes_.last(kBasePageBytes), RemoteAccess::kRead));
  return buffers;
}

MessageBuffers::~MessageBuffers() {
  readable_region_.reset();
  private_region_.reset();
  ::munmap(bytes_.data(), bytes_.size());
}

FlushWord MessageBuffers::flush_word() const {
  const RemoteRegion region = readable_region_->describe();
  return {.address = region.base, .remote_key = static_cast<uint32_t>(region.key)};
}

}  // namespace godwit
