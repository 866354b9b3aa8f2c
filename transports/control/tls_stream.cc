// SPDX-License-Identifier: Apache-2.0
#include "transports/control/tls_stream.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <utility>

#include "transports/control/socket_io.h"
#include "transports/control/tls_errors.h"

namespace godwit::control {
namespace {

// "EXPORTER-" is RFC 8446's prefix for labels that nobody registered.
constexpr std::string_view kLaneTokenLabel = "EXPORTER-godwit-lane";

bool is_ip_address(const std::string& host) {
  in6_addr binary{};
  return ::inet_pton(AF_INET, host.c_str(), &binary) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), &binary) == 1;
}

Status expect_server_name(SSL* ssl, const std::string& host) {
  if (is_ip_address(host)) {
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) == 1) return {};
  } else if (SSL_set1_host(ssl, host.c_str()) == 1 &&
             SSL_set_tlsext_host_name(ssl, host.c_str()) == 1) {
    return {};
  }
  return fail(Errc::kRefused, "'{}' cannot be the name in a certificate: {}", host,
              last_tls_error());
}

}  // namespace

Result<std::unique_ptr<TlsStream>> TlsStream::create(UniqueFd socket,
                                                     std::shared_ptr<const TlsContext> context,
                                                     Peer peer) {
  std::unique_ptr<TlsStream> stream(
      new TlsStream(std::move(socket), std::move(context), std::move(peer)));
  RETURN_IF_ERROR(stream->set_up());
  return stream;
}

TlsStream::TlsStream(UniqueFd socket, std::shared_ptr<const TlsContext> context, Peer peer)
    : socket_(std::move(socket)), context_(std::move(context)), peer_(std::move(peer)) {}

Status TlsStream::set_up() {
  ssl_.reset(SSL_new(context_->get()));
  BIO* bio = BIO_new(socket_method());
  if (ssl_ == nullptr || bio == nullptr) {
    BIO_free(bio);
    return fail(Errc::kSystem, "set up TLS for {}: {}", peer_.address, last_tls_error());
  }
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
  if (context_->side() == TlsSide::kServer) {
    SSL_set_accept_state(ssl_.get());
    return {};
  }
  counted_ = false;  // we chose whom to connect to; OpenSSL's own limits do
  SSL_set_connect_state(ssl_.get());
  if (context_->security().kind != SecurityKind::kX509) return {};
  return expect_server_name(ssl_.get(), peer_.hostname);
}

Result<IoStep> TlsStream::advance_handshake() {
  ERR_clear_error();
  int outcome = SSL_do_handshake(ssl_.get());
  ASSIGN_OR_RETURN(IoStep step, sort_outcome(outcome, 0));
  bool by_certificate = step.state == IoState::kMoved && SSL_session_reused(ssl_.get()) == 0;
  if (by_certificate && context_->security().kind == SecurityKind::kPreSharedKey) {
    return fail(Errc::kRefused, "{} did not prove that it has the pre-shared key", peer_.address);
  }
  return step;
}

void TlsStream::trust_peer() {
  counted_ = false;
  trusted_ = true;
  // Each record costs a system call here and two at the other end, while the guest stands still.
  SSL_set_max_send_fragment(ssl_.get(), SSL3_RT_MAX_PLAIN_LENGTH);
  SSL_set_split_send_fragment(ssl_.get(), SSL3_RT_MAX_PLAIN_LENGTH);
}

Result<IoStep> TlsStream::read_some(std::span<std::byte> bytes) {
  ERR_clear_error();
  size_t moved = 0;
  int outcome = SSL_read_ex(ssl_.get(), bytes.data(), bytes.size(), &moved);
  return sort_outcome(outcome, moved);
}

Result<IoStep> TlsStream::write_some(std::span<const std::byte> bytes) {
  ERR_clear_error();
  size_t moved = 0;
  int outcome = SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &moved);
  return sort_outcome(outcome, moved);
}

Result<IoStep> TlsStream::sort_outcome(int outcome, size_t bytes) {
  if (guard_error_) return tl::unexpected<Error>(*guard_error_);
  if (outcome > 0) return IoStep{IoState::kMoved, bytes};
  switch (SSL_get_error(ssl_.get(), outcome)) {
    case SSL_ERROR_WANT_READ:
      return IoStep{IoState::kWaitReadable, 0};
    case SSL_ERROR_WANT_WRITE:
      return IoStep{IoState::kWaitWritable, 0};
    case SSL_ERROR_ZERO_RETURN:
    case SSL_ERROR_SYSCALL:
      return IoStep{IoState::kEnded, 0};
    default:
      break;
  }
  if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    return IoStep{IoState::kEnded, 0};
  }
  if (trusted_) {
    return fail(Errc::kCorrupt, "what {} sent is not valid TLS: {}", peer_.address,
                last_tls_error());
  }
  return tl::unexpected<Error>(
      explain_handshake_failure(ssl_.get(), *context_, peer_.address, peer_.hostname));
}

Result<std::array<std::byte, 32>> TlsStream::lane_token(uint32_t lane) {
  std::array<unsigned char, 4> lane_bytes{};
  for (unsigned i = 0; i < 4; ++i) lane_bytes[i] = static_cast<unsigned char>(lane >> (8 * i));
  std::array<std::byte, 32> token{};
  ERR_clear_error();
  // SAFETY: bytes are bytes; OpenSSL's interface predates std::byte.
  if (SSL_export_keying_material(ssl_.get(), reinterpret_cast<unsigned char*>(token.data()),
                                 token.size(), kLaneTokenLabel.data(), kLaneTokenLabel.size(),
                                 lane_bytes.data(), lane_bytes.size(), 1) != 1) {
    return fail(Errc::kSystem, "derive the token of lane {}: {}", lane, last_tls_error());
  }
  return token;
}

void TlsStream::say_goodbye() {
  ERR_clear_error();
  SSL_shutdown(ssl_.get());  // whether it got out does not matter: the socket closes next
  ERR_clear_error();
}

const BIO_METHOD* TlsStream::socket_method() {
  // A constant table; OpenSSL can only make it at run time. Lives as long as the program.
  static const BIO_METHOD* const kMethod = [] {
    BIO_METHOD* method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "godwit socket");
    BIO_meth_set_read(method, read_socket);
    BIO_meth_set_write(method, write_socket);
    BIO_meth_set_ctrl(method, control_socket);
    return method;
  }();
  return kMethod;
}

int TlsStream::read_socket(BIO* bio, char* bytes, int size) {
  auto& stream = *static_cast<TlsStream*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  std::span<std::byte> buffer = std::as_writable_bytes(std::span(bytes, static_cast<size_t>(size)));
  IoStep step = receive_some(stream.socket_.get(), buffer);
  if (step.state == IoState::kWaitReadable) {
    BIO_set_retry_read(bio);
    return -1;
  }
  if (step.state == IoState::kEnded) return 0;
  if (stream.counted_) {
    Status inspected = stream.guard_.inspect(buffer.first(step.bytes));
    if (!inspected) {
      stream.guard_error_ = inspected.error();
      return -1;
    }
  }
  return static_cast<int>(step.bytes);
}

int TlsStream::write_socket(BIO* bio, const char* bytes, int size) {
  auto& stream = *static_cast<TlsStream*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  IoStep step =
      send_some(stream.socket_.get(), std::as_bytes(std::span(bytes, static_cast<size_t>(size))));
  if (step.state == IoState::kMoved) return static_cast<int>(step.bytes);
  if (step.state == IoState::kWaitWritable) BIO_set_retry_write(bio);
  return -1;
}

long TlsStream::control_socket(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;  // nothing is buffered here
}

}  // namespace godwit::control
