// SPDX-License-Identifier: Apache-2.0
//
// A hostile peer: a plain socket that gets in with a right ticket and then sends whatever a test
// likes. And its victim: a real endpoint on a thread of its own, with memory around its regions
// that nothing may ever touch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/unique_fd.h"
#include "engine/transport.h"
#include "transports/tcp/frames.h"
#include "transports/tcp/tcp_transport.h"

namespace godwit::tcp_test {

using Bytes = std::vector<std::byte>;

// A frame with right checksums in header and body, whatever else it says.
Bytes make_frame(FrameHeader header, std::span<const std::byte> body = {},
                 std::span<const std::byte> payload = {});

// A right kWrite frame of whole pages, with checksums of its payload.
Bytes make_write(uint64_t sequence, std::span<const Segment> segments,
                 std::span<const std::byte> payload, uint8_t flags = kFlagChecksummed);

class RawPeer {
 public:
  // Connects and gets past the ticket.
  RawPeer(const std::string& address, const LaneTicket& ticket);

  // Returns false when the other side has closed.
  bool send(std::span<const std::byte> bytes);
  void close_for_sending();
  void close() { socket_.reset(); }
  // Everything until the other side closes or resets.
  Bytes receive_to_the_end();

 private:
  UniqueFd socket_;
};

// Memory of three regions with canaries around them.
class GuardedMemory {
 public:
  static constexpr size_t kRegionBytes = 64 * kBasePageBytes;

  GuardedMemory();
  ~GuardedMemory();
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  std::span<std::byte> writable() { return region(0); }
  std::span<std::byte> readable() { return region(1); }
  std::span<std::byte> local() { return region(2); }

  // Whether all but the writable region is as it was; and whether that is too.
  bool others_untouched() const;
  bool writable_untouched() const;

 private:
  static constexpr size_t kCanaryBytes = 16 * kBasePageBytes;
  std::span<std::byte> region(size_t index) {
    return bytes_.subspan(kCanaryBytes + index * (kRegionBytes + kCanaryBytes), kRegionBytes);
  }

  std::span<std::byte> bytes_;
};

// What the victim's owner does.
enum class Owner { kReceives, kPolls };

// A victim that listens, and a hostile peer that got in.
class Attack {
 public:
  explicit Attack(Owner owner = Owner::kReceives, TcpOptions options = {});
  ~Attack();

  RawPeer& peer() { return *peer_; }
  GuardedMemory& memory() { return memory_; }
  uint64_t writable_key() const { return writable_->describe().key; }
  uint64_t readable_key() const { return readable_->describe().key; }
  uint64_t local_key() const { return local_->describe().key; }

  // Waits until the victim's endpoint has died, and returns of what.
  Error end();

 private:
  GuardedMemory memory_;
  std::unique_ptr<TcpTransport> transport_;
  std::unique_ptr<MemoryRegion> writable_;
  std::unique_ptr<MemoryRegion> readable_;
  std::unique_ptr<MemoryRegion> local_;
  std::unique_ptr<RawPeer> peer_;
  std::unique_ptr<Endpoint> endpoint_;
  Error error_{};
  std::jthread victim_;
};

}  // namespace godwit::tcp_test
