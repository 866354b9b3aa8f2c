// SPDX-License-Identifier: Apache-2.0
//
// Registered buffers of one lane: messages that arrive, messages that leave, the word that the peer
// reads when it flushes, and the word that our own flush reads into.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "transports/rdma/greeting.h"
#include "transports/rdma/queue_sizes.h"
#include "transports/rdma/rdma_region.h"

namespace godwit {

inline constexpr uint32_t kRdmaMessageBytesMax = 16 << 10;

class MessageBuffers {
 public:
  static Result<std::unique_ptr<MessageBuffers>> make(const RdmaDevice& device);
  ~MessageBuffers();
  MessageBuffers(const MessageBuffers&) = delete;
  MessageBuffers& operator=(const MessageBuffers&) = delete;

  std::span<std::byte> incoming(uint32_t index) { return slot(index); }
  std::span<std::byte> outgoing(uint32_t index) { return slot(kRdmaMessagesInFlightMax + index); }
  uint32_t local_key() const { return private_region_->lkey; }

  // What the peer reads.
  FlushWord flush_word() const;
  // Where our own flush reads to.
  std::span<std::byte> flush_target() { return bytes_.subspan(kMessagesBytes, sizeof(uint64_t)); }

 private:
  static constexpr size_t kMessagesBytes =
      size_t{2} * kRdmaMessagesInFlightMax * kRdmaMessageBytesMax;
  // The words have a page each: a region that the peer may read begins and ends with its page.
  static constexpr size_t kBytes = kMessagesBytes + 2 * kBasePageBytes;

  explicit MessageBuffers(std::span<std::byte> bytes) : bytes_(bytes) {}
  std::span<std::byte> slot(size_t index) {
    return bytes_.subspan(index * kRdmaMessageBytesMax, kRdmaMessageBytesMax);
  }

  std::span<std::byte> bytes_;
  VerbsHandle<ibv_mr> private_region_;
  VerbsHandle<ibv_mr> readable_region_;
};

}  // namespace godwit
