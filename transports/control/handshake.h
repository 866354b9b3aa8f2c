// SPDX-License-Identifier: Apache-2.0
//
// Turns a connected socket into a ControlChannel, step by step and without ever waiting, so that a
// listener can have many of them under way in one thread.
//
//   client                          server
//   preamble             -->
//                        <--        preamble
//   TLS handshake        <->        TLS handshake            (not when insecure)
//   hello                <->        hello                    (preamble again, and a nonce)
//
// The client's TLS handshake is over before the server has judged its certificate; so neither side
// believes that it has a peer before it has the other's hello.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"
#include "transports/control/byte_stream.h"
#include "transports/control/control_connection.h"
#include "transports/control/plain_stream.h"
#include "transports/control/preamble.h"
#include "transports/control/tls_context.h"
#include "transports/control/tls_stream.h"

namespace godwit::control {

// What all connections of one listener, or of one connect, have in common.
struct HandshakeTerms {
  TlsSide side;
  SecurityKind kind;
  // Null when insecure. Shared with the connections: see TlsContext::create.
  std::shared_ptr<const TlsContext> tls;
  std::string expected_hostname;  // client with certificates only
};

// Reads the key or the certificates. Errors: kRefused.
Result<HandshakeTerms> make_terms(const ControlSecurity& security, TlsSide side);

class Handshake {
 public:
  Handshake(UniqueFd socket, const HandshakeTerms& terms, std::string peer);

  // Goes as far as possible. kMoved: it is done. Errors: why the peer is not the right one.
  Result<IoState> advance();

  // Requires: advance() said that it is done.
  std::unique_ptr<ControlConnection> take_connection();

  int fd() const;
  const std::string& peer() const { return peer_; }

 private:
  enum class Step : uint8_t {
    kSendPreamble,
    kReceivePreamble,
    kTls,
    kSendHello,
    kReceiveHello,
    kDone,
  };
  using Hello = std::array<std::byte, sizeof(Preamble) + sizeof(Nonce)>;

  Result<IoState> perform();  // one step, as far as it goes; kMoved: the step is done
  Result<IoState> receive_preamble();
  Result<IoState> receive_hello();
  Result<IoState> advance_tls();
  Result<IoState> send(std::span<const std::byte> bytes);
  Result<IoState> receive(std::span<std::byte> bytes);
  Step next_step() const;
  Status start_hello();
  Error ended_early() const;
  ByteStream& stream() const;

  HandshakeTerms terms_;
  std::string peer_;
  Step step_;
  size_t moved_bytes_ = 0;  // of what the current step sends or receives
  Preamble peer_preamble_{};
  Hello hello_{};
  Hello peer_hello_{};
  std::unique_ptr<PlainStream> plain_;  // until TLS takes the socket over
  std::unique_ptr<TlsStream> tls_;
};

}  // namespace godwit::control
