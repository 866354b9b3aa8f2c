// SPDX-License-Identifier: Apache-2.0
#include "tests/transports/tcp/raw_peer.h"

#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "engine/base/check.h"
#include "tests/support/connected_endpoints.h"
#include "tests/support/same_bytes.h"
#include "transports/tcp/checksum.h"
#include "transports/tcp/handshake.h"
#include "transports/tcp/payload_checksums.h"
#include "transports/tcp/socket.h"

namespace godwit::tcp_test {
namespace {

constexpr std::byte kCanary{0x5a};
constexpr seconds kTestTime{20};

}  // namespace

Bytes make_frame(FrameHeader header, std::span<const std::byte> body,
                 std::span<const std::byte> payload) {
  header.body_checksum = crc32c(body);
  Bytes frame(kFrameHeaderBytes);
  encode_header(header, std::span(frame).first<kFrameHeaderBytes>());
  frame.insert(frame.end(), body.begin(), body.end());
  frame.insert(frame.end(), payload.begin(), payload.end());
  return frame;
}

Bytes make_write(uint64_t sequence, std::span<const Segment> segments,
                 std::span<const std::byte> payload, uint8_t flags) {
  Bytes body(kFrameBodyBytesMax);
  uint32_t body_bytes = encode_segments(segments, body);
  if ((flags & kFlagChecksummed) != 0) {
    const iovec piece{const_cast<std::byte*>(payload.data()), payload.size()};
    body_bytes += write_checksums({&piece, 1}, &body[body_bytes]);
  }
  body.resize(body_bytes);
  return make_frame({.type = FrameType::kWrite,
                     .flags = flags,
                     .segment_count = static_cast<uint16_t>(segments.size()),
                     .body_bytes = body_bytes,
                     .payload_bytes = static_cast<uint32_t>(payload.size()),
                     .sequence = sequence,
                     .body_checksum = 0},
                    body, payload);
}

RawPeer::RawPeer(const std::string& address, const LaneTicket& ticket) {
  const Deadline deadline = deadline_in(kTestTime);
  auto addresses = resolve(address, AddressUse::kConnect);
  CHECK(addresses.has_value());
  auto socket = connect_to(addresses->front(), {}, deadline);
  CHECK(socket.has_value());
  socket_ = std::move(*socket);
  CHECK(greet(socket_.get(), ticket, deadline).has_value());
}

bool RawPeer::send(std::span<const std::byte> bytes) {
  return send_all(socket_.get(), bytes, deadline_in(kTestTime)).has_value();
}

void RawPeer::close_for_sending() {
  ::shutdown(socket_.get(), SHUT_WR);
}

Bytes RawPeer::receive_to_the_end() {
  Bytes all;
  std::byte one;
  const Deadline deadline = deadline_in(kTestTime);
  while (receive_all(socket_.get(), {&one, 1}, deadline)) all.push_back(one);
  return all;
}

GuardedMemory::GuardedMemory() {
  const size_t size = 3 * kRegionBytes + 4 * kCanaryBytes;
  void* start = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(start != MAP_FAILED);
  bytes_ = {static_cast<std::byte*>(start), size};
  std::ranges::fill(bytes_, kCanary);
}

GuardedMemory::~GuardedMemory() {
  ::munmap(bytes_.data(), bytes_.size());
}

bool GuardedMemory::others_untouched() const {
  return test::all_bytes_are(bytes_.first(kCanaryBytes), kCanary) &&
         test::all_bytes_are(bytes_.subspan(kCanaryBytes + kRegionBytes), kCanary);
}

bool GuardedMemory::writable_untouched() const {
  return test::all_bytes_are(bytes_.subspan(kCanaryBytes, kRegionBytes), kCanary);
}

Attack::Attack(Owner owner, TcpOptions options)
    : transport_(TcpTransport::open(std::move(options)).value()) {
  writable_ = transport_->register_memory(memory_.writable(), RemoteAccess::kWrite).value();
  readable_ = transport_->register_memory(memory_.readable(), RemoteAccess::kRead).value();
  local_ = transport_->register_memory(memory_.local(), RemoteAccess::kNone).value();
  auto listener = transport_->listen("127.0.0.1:0").value();
  const LaneTicket ticket{{}, 0};
  std::jthread connecting([&] { peer_ = std::make_unique<RawPeer>(listener->address(), ticket); });
  endpoint_ = test::accept_lane(*listener, ticket, deadline_in(kTestTime)).value();
  connecting.join();
  victim_ = std::jthread([this, owner] {
    const Deadline deadline = deadline_in(kTestTime);
    std::vector<std::byte> message(kFrameMessageBytesMax);
    std::array<Completion, 4> completions;
    while (Clock::now() < deadline) {
      auto result = owner == Owner::kReceives ? endpoint_->receive(message, deadline)
                                              : endpoint_->poll(completions, deadline);
      if (result) continue;
      error_ = result.error();
      return;
    }
  });
}

Attack::~Attack() {
  end();
}

Error Attack::end() {
  if (victim_.joinable()) victim_.join();
  return error_;
}

}  // namespace godwit::tcp_test
