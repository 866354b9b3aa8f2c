// SPDX-License-Identifier: Apache-2.0
//
// One direction of a VMM's migration stream, at the end where it comes from, with the pages taken
// out: they are written straight into the memory of the guest at the other end, and only the rest
// goes through the receiver's ring.
//
// Order: a message arrives after all writes posted before it, and the receiver passes nothing on
// before a message says so. So a page is in place before the VMM there reads anything that followed
// it here. Clearing is done by the receiver's CPU, which a later write would overtake; and of two
// writes of one page, either may lie there in the end (RDMA with relaxed ordering), or the first is
// looked at when the second has come (TCP: its checksum). So a page that is being cleared or
// written is not written again before the receiver has said that it is done.
#pragma once

#include <optional>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/page_bitmap.h"
#include "engine/page_extractor.h"
#include "engine/relay/outgoing_lane.h"
#include "engine/relay/pending_zeroes.h"
#include "engine/relay/placed_pages.h"
#include "engine/relay/stream_traffic.h"
#include "engine/relay/torn_pages.h"
#include "engine/transport.h"
#include "engine/vmm_stream.h"

namespace godwit::relay {

inline constexpr uint64_t kStagingBytes = 4 * kMiB;

// Thread: one, which owns the endpoint.
class PlacingSender final : PageExtractor::Output {
 public:
  struct Block {
    RemoteRegion remote;
    // The same block here, where the guest still runs: its pages are sent from where they are, and
    // what the stream has of them is skipped. One that has been written since it was put into the
    // stream is newer than that, and the VMM, which has it in its dirty log, will send it again.
    // Null: they are sent from the stream.
    const MemoryRegion* guest;
  };
  struct Parts {
    Endpoint& endpoint;
    VmmStream& stream;
    PageExtractor& extractor;
    std::span<std::byte> ring;     // as large as the receiver's, for what is passed on
    std::span<std::byte> staging;  // follows the ring: what was read from the stream
    const MemoryRegion& local;     // both
    RemoteRegion remote;           // the receiver's ring
    std::vector<Block> blocks;
    // Of the lanes of page channels as well.
    PlacedPages& placed;
    TornPages& torn;
    std::atomic<uint64_t>* counter = nullptr;  // of the bytes read; may be null
  };
  explicit PlacingSender(Parts parts);

  // As StreamSender's.
  Status run();

  uint64_t read_bytes() const { return read_bytes_; }
  uint64_t placed_bytes() const { return placed_bytes_; }

 private:
  // Where the stream is read into, one after the other. A slot is used again when nothing of it is
  // on its way any more.
  static constexpr uint64_t kSlotBytes = kOperationBytesMax;
  static constexpr uint64_t kSlots = kStagingBytes / kSlotBytes;
  static constexpr uint64_t kNoSlot = kSlots;

  Result<VmmStream::State> read_some();
  Status finish();
  Status turn_to_free_slot();
  Status end_of_piece();

  Status pass_on(std::span<const std::byte> bytes) override;
  Status place(uint32_t block, uint64_t offset_bytes, std::span<const std::byte> content) override;
  Status clear(uint32_t block, uint64_t offset_bytes, uint64_t size_bytes) override;
  Status settle() override;
  Status complete() override;

  TransferOp write_of_page(uint32_t block, uint64_t page) const;
  Status append(const TransferOp& operation, uint32_t block);
  bool extends_last(const TransferOp& operation, uint32_t block) const;
  Status post_pages();
  Status send_zeroes();
  Status push_passed();
  Status clear_page(uint32_t block, uint64_t page);

  const Parts parts_;
  std::vector<uint32_t> in_flight_of_slot_;
  OutgoingLane lane_;
  uint64_t slot_ = 0;
  uint64_t slot_used_ = 0;

  std::vector<TransferOp> pages_;  // to be posted
  uint32_t last_block_ = 0;        // of the last of them
  SourceMemory pages_memory_ = SourceMemory::kFrozen;
  uint64_t passed_bytes_ = 0;  // in the ring, not posted yet
  PendingZeroes zeroes_;       // not sent yet

  std::vector<PageBitmap> unsettled_;  // written or cleared, and maybe not in place yet
  // Where the last part of a page was placed, and ended.
  uint32_t placed_block_ = 0;
  uint64_t placed_end_bytes_ = 0;
  uint64_t read_bytes_ = 0;
  uint64_t placed_bytes_ = 0;
};

}  // namespace godwit::relay
