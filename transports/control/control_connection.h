// SPDX-License-Identifier: Apache-2.0
//
// The ControlChannel over a socket: messages with a length in front (4 bytes, little endian).
//
// The stream (and OpenSSL in it) is used under a mutex by the thread that sends and the one that
// receives; neither waits while it holds it.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/control_channel.h"
#include "transports/control/byte_stream.h"
#include "transports/control/control_security.h"

namespace godwit {

class ControlConnection final : public ControlChannel {
 public:
  // Which address of ours and of the peer the connection is between.
  struct Ends {
    std::string local;
    std::string peer;
  };
  ControlConnection(std::unique_ptr<control::ByteStream> stream, SecurityKind kind, Ends ends);
  ~ControlConnection() override;

  // A message that is not out by the deadline is cut in two, and the channel with it: kPeerLost.
  Status send(std::span<const std::byte> message, Deadline deadline) override;

  Result<std::vector<std::byte>> receive(Deadline deadline) override;
  Result<std::array<std::byte, 32>> lane_token(uint32_t lane) const override;
  std::string security() const override { return to_string(kind_); }
  std::string peer_address() const override { return ends_.peer; }

  // "HOST:PORT" by which the peer reaches this end: also where its lanes can.
  const std::string& local_address() const { return ends_.local; }

  void shut_down() override;

 private:
  Status send_all(std::span<const std::byte> bytes, Deadline deadline);
  Status receive_length(Deadline deadline);
  Status receive_body(Deadline deadline);
  Result<size_t> receive_some(std::span<std::byte> bytes, Deadline deadline);
  Status wait(control::IoState state, Deadline deadline);
  Error ended() const;

  mutable std::mutex mutex_;
  const std::unique_ptr<control::ByteStream> stream_;
  const SecurityKind kind_;
  const Ends ends_;
  std::atomic<bool> shut_down_{false};

  // The message that is arriving; the receiving thread's own.
  std::array<std::byte, 4> length_{};
  size_t length_bytes_ = 0;
  size_t body_bytes_ = 0;  // received so far
  std::vector<std::byte> body_;
};

}  // namespace godwit
