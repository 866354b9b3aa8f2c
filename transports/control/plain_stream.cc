// SPDX-License-Identifier: Apache-2.0
#include "transports/control/plain_stream.h"

#include <openssl/evp.h>

#include <algorithm>

#include "transports/control/socket_io.h"

namespace godwit::control {

void PlainStream::set_nonces(const Nonce& client_nonce, const Nonce& server_nonce) {
  client_nonce_ = client_nonce;
  server_nonce_ = server_nonce;
}

Result<IoStep> PlainStream::read_some(std::span<std::byte> bytes) {
  return receive_some(socket_.get(), bytes);
}

Result<IoStep> PlainStream::write_some(std::span<const std::byte> bytes) {
  return send_some(socket_.get(), bytes);
}

Result<std::array<std::byte, 32>> PlainStream::lane_token(uint32_t lane) {
  std::array<std::byte, 68> input{};
  auto* end = std::copy(client_nonce_.begin(), client_nonce_.end(), input.begin());
  end = std::copy(server_nonce_.begin(), server_nonce_.end(), end);
  for (unsigned shift = 0; shift < 32; shift += 8) *end++ = static_cast<std::byte>(lane >> shift);

  std::array<std::byte, 32> token{};
  // SAFETY: bytes are bytes; OpenSSL's interface predates std::byte.
  if (EVP_Digest(input.data(), input.size(), reinterpret_cast<unsigned char*>(token.data()),
                 nullptr, EVP_sha256(), nullptr) != 1) {
    return fail(Errc::kSystem, "compute SHA-256 for the token of lane {}", lane);
  }
  return token;
}

}  // namespace godwit::control
