// SPDX-License-Identifier: Apache-2.0
//
// One direction of a stream that pages are taken out of, from one VMM's socket to another's, with
// the memory of the guest at both ends.
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "engine/base/unique_fd.h"
#include "engine/memory/guest_memory.h"
#include "engine/relay/placing_sender.h"
#include "engine/relay/stream_receiver.h"
#include "engine/transport.h"
#include "engine/vmm_stream.h"
#include "tests/engine/relay/made_up_stream.h"
#include "tests/engine/relay/socket_pair.h"
#include "tests/support/connected_endpoints.h"
#include "tests/vmm-adapters/linux/test_memory.h"
#include "transports/loopback/loopback_transport.h"

namespace godwit::relay {

// Returns whether all of it was taken.
bool write_all(int fd, std::span<const std::byte> bytes);
// False where the stream ends before.
bool read_all(int fd, std::span<std::byte> bytes);

// Blocks of kBlockPages, holes at first.
class Guest {
 public:
  Guest();
  GuestMemory& memory() { return memory_; }
  // Writes content to every third page, and to the memory of the model.
  void touch(BlockContents& model);
  void fill(const BlockContents& contents);
  // Without allocating it.
  std::vector<std::byte> read_page(size_t block, uint64_t page) const;
  GuestPageSet present() const;

 private:
  std::vector<std::unique_ptr<test::TestMemory>> blocks_;
  GuestMemory memory_;
};
BlockContents zero_contents();
BlockContents random_contents(uint64_t seed);

enum class Wire : uint8_t { kLoopback = 1, kTcp = 2 };

struct RigOptions {
  Wire wire = Wire::kLoopback;
  FaultPlan faults{};             // of the loopback
  size_t piece_bytes_max = 0;     // that is read at a time, at random; 0: whatever there is
  Guest* source = nullptr;        // pages are taken from there
  bool knows_guest = true;        // the receiver
  bool late_writes = false;       // nothing leaves before somebody waits for it
  PlacedPages* placed = nullptr;  // what the sender is told of; null: of nothing
  uint64_t seed = 1;
};

class PlacingRig {
 public:
  // Requires: can_run(options.wire).
  PlacingRig(Guest& destination, const RigOptions& options);
  ~PlacingRig();
  static bool can_run(Wire wire);

  static constexpr uint64_t kRingBytes = 64 * kKiB;

  int near() const { return near_.get(); }  // for who writes the stream
  int far() const { return far_.get(); }    // for who reads it
  void close_near() { near_.reset(); }
  void close_far() { far_.reset(); }
  Endpoint& source_end() { return *ends_.source; }
  Endpoint& destination_end() { return *ends_.destination; }
  RemoteRegion remote_block(size_t block) const { return regions_[block]->describe(); }
  std::vector<PlacingSender::Block> placed_blocks() const;
  // For who serves it in place of receive().
  std::unique_ptr<Endpoint> take_destination_end() { return std::move(ends_.destination); }

  Status send();     // PlacingSender::run()
  Status receive();  // StreamReceiver::run()
  // Both, each in a thread, until finish(). When one fails, the other is ended.
  void start();
  void finish();
  Status sent() const { return sent_; }
  Status received() const { return received_; }
  uint64_t placed_bytes() const { return placed_bytes_; }

 private:
  void make_transports(const RigOptions& options);
  void end_all();

  Guest& destination_;
  const RigOptions options_;
  PlacedPages placed_;
  TornPages torn_;
  LoopbackNetwork network_;
  std::unique_ptr<Transport> source_transport_;
  std::unique_ptr<Transport> destination_transport_;
  std::unique_ptr<VmmStream> near_stream_;
  std::unique_ptr<VmmStream> far_stream_;
  UniqueFd near_;
  UniqueFd far_;
  StreamRing outgoing_;
  StreamRing incoming_;
  std::unique_ptr<MemoryRegion> outgoing_region_;
  std::unique_ptr<MemoryRegion> incoming_region_;
  std::vector<std::unique_ptr<MemoryRegion>> regions_;  // of the destination's blocks
  std::vector<std::unique_ptr<MemoryRegion>> source_regions_;
  GuestPageSet present_at_start_;
  test::ConnectedEndpoints ends_;
  Status sent_;
  Status received_;
  uint64_t placed_bytes_ = 0;
  std::jthread sender_;
  std::jthread receiver_;
};

}  // namespace godwit::relay
