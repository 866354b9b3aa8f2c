// SPDX-License-Identifier: Apache-2.0
//
// A memory region: pinned, and known to the device under a local and a remote key.
#pragma once

#include <memory>

#include "engine/transport.h"
#include "transports/rdma/rdma_device.h"

namespace godwit {

class RdmaRegion final : public MemoryRegion {
 public:
  // Errors: kRefused, with the number, when RLIMIT_MEMLOCK does not allow to pin so much.
  static Result<std::unique_ptr<RdmaRegion>> make(std::shared_ptr<RdmaDevice> device,
                                                  std::span<std::byte> bytes, RemoteAccess access);

  std::span<std::byte> bytes() const override { return bytes_; }
  RemoteRegion describe() const override;
  uint32_t local_key() const { return region_->lkey; }

 private:
  RdmaRegion(std::shared_ptr<RdmaDevice> device, std::span<std::byte> bytes,
             VerbsHandle<ibv_mr> region)
      : device_(std::move(device)), bytes_(bytes), region_(std::move(region)) {}

  std::shared_ptr<RdmaDevice> device_;  // its protection domain outlives the region
  std::span<std::byte> bytes_;
  VerbsHandle<ibv_mr> region_;
};

}  // namespace godwit
