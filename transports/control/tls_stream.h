// SPDX-License-Identifier: Apache-2.0
//
// TLS 1.3 around a non-blocking socket.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <optional>
#include <string>

#include "engine/base/unique_fd.h"
#include "transports/control/byte_stream.h"
#include "transports/control/record_guard.h"
#include "transports/control/tls_context.h"

namespace godwit::control {

class TlsStream final : public ByteStream {
 public:
  struct Peer {
    std::string address;   // for messages
    std::string hostname;  // client only: what the server's certificate must be for
  };

  static Result<std::unique_ptr<TlsStream>> create(UniqueFd socket,
                                                   std::shared_ptr<const TlsContext> context,
                                                   Peer peer);
  ~TlsStream() override = default;

  // Goes on with the handshake. kMoved: it is done. Errors: kRefused, saying why.
  Result<IoStep> advance_handshake();

  // The peer has proved who it is: nothing that it sends needs to be counted any more, and what
  // goes wrong from here on is no question of keys and certificates.
  void trust_peer();

  Result<IoStep> read_some(std::span<std::byte> bytes) override;
  Result<IoStep> write_some(std::span<const std::byte> bytes) override;
  Result<std::array<std::byte, 32>> lane_token(uint32_t lane) override;
  void say_goodbye() override;
  int fd() const override { return socket_.get(); }

 private:
  struct Free {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };

  TlsStream(UniqueFd socket, std::shared_ptr<const TlsContext> context, Peer peer);
  Status set_up();
  Result<IoStep> sort_outcome(int outcome, size_t bytes);

  // OpenSSL reads and writes through these, which are given the stream as the BIO's data.
  static const BIO_METHOD* socket_method();
  static int read_socket(BIO* bio, char* bytes, int size);
  static int write_socket(BIO* bio, const char* bytes, int size);
  static long control_socket(BIO* bio, int command, long number, void* pointer);

  UniqueFd socket_;
  std::shared_ptr<const TlsContext> context_;  // see TlsContext::create
  Peer peer_;
  RecordGuard guard_;
  std::optional<Error> guard_error_;
  bool counted_ = true;  // by the guard
  bool trusted_ = false;
  std::unique_ptr<SSL, Free> ssl_;
};

}  // namespace godwit::control
