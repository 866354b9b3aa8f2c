// SPDX-License-Identifier: Apache-2.0
//
// Registered memory, as the engine holds it.
#pragma once

#include <memory>
#include <span>

#include "engine/transport.h"
#include "transports/rdma/pin_limit.h"
#include "transports/rdma/pinned_chunks.h"
#include "transports/rdma/rdma_device.h"

namespace godwit {

// Pins `bytes` and makes it known to the device.
Result<VerbsHandle<ibv_mr>> register_with(const RdmaDevice& device, std::span<std::byte> bytes,
                                          RemoteAccess access);

class RdmaRegion final : public MemoryRegion {
 public:
  // A region without `chunks` is never pinned: lanes copy what leaves it (staging_ring.h).
  RdmaRegion(std::span<std::byte> bytes, uint64_t key, std::shared_ptr<PinnedChunks> chunks,
             PinReservation reservation)
      : bytes_(bytes),
        key_(key),
        chunks_(std::move(chunks)),
        reservation_(std::move(reservation)) {}
  ~RdmaRegion() override {
    if (chunks_) chunks_->close();
  }

  std::span<std::byte> bytes() const override { return bytes_; }
  RemoteRegion describe() const override;
  PinnedChunks* chunks() const { return chunks_.get(); }

 private:
  std::span<std::byte> bytes_;
  uint64_t key_;
  // Shared with the threads that register, and with lanes that answer the peer.
  std::shared_ptr<PinnedChunks> chunks_;
  PinReservation reservation_;
};

}  // namespace godwit
