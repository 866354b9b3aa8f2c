// SPDX-License-Identifier: Apache-2.0
//
// The control connection without TLS: on loopback, or when the user insisted.
#pragma once

#include "engine/base/unique_fd.h"
#include "transports/control/byte_stream.h"

namespace godwit::control {

// What each side contributes to the lane tokens when there is no TLS to derive them from. A
// listener on the way can compute the tokens from them: that is what "insecure" means.
using Nonce = std::array<std::byte, 32>;

class PlainStream final : public ByteStream {
 public:
  explicit PlainStream(UniqueFd socket) : socket_(std::move(socket)) {}

  // TLS goes on with it.
  UniqueFd take_socket() { return std::move(socket_); }

  // Requires: before lane_token().
  void set_nonces(const Nonce& client_nonce, const Nonce& server_nonce);

  Result<IoStep> read_some(std::span<std::byte> bytes) override;
  Result<IoStep> write_some(std::span<const std::byte> bytes) override;
  Result<std::array<std::byte, 32>> lane_token(uint32_t lane) override;
  void say_goodbye() override {}
  int fd() const override { return socket_.get(); }

 private:
  UniqueFd socket_;
  Nonce client_nonce_{};
  Nonce server_nonce_{};
};

}  // namespace godwit::control
