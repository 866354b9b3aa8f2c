// SPDX-License-Identifier: Apache-2.0
#include "transports/control/tls_context.h"

#include <openssl/err.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "transports/control/tls_errors.h"

namespace godwit::control {
namespace {

// A peer's certificates, all together, while nobody knows yet who it is.
constexpr long kCertificateBytesMax = 16L * 1024;

// Of the record that a peer who is not authenticated yet makes us hold.
constexpr long kRecordBytesMax = 4096;

// An external pre-shared key is bound to one hash, so its cipher is fixed: SHA-384.
constexpr unsigned char kPreSharedKeyCipher[2] = {0x13, 0x02};
constexpr char kPreSharedKeyCipherName[] = "TLS_AES_256_GCM_SHA384";

const TlsContext& context_of(SSL* ssl) {
  return *static_cast<const TlsContext*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
}

// The pre-shared key in the form in which OpenSSL takes it. Null when memory is short.
SSL_SESSION* make_session(SSL* ssl) {
  const PreSharedKey& key = context_of(ssl).pre_shared_key();
  const SSL_CIPHER* cipher = SSL_CIPHER_find(ssl, kPreSharedKeyCipher);
  SSL_SESSION* session = SSL_SESSION_new();
  if (session != nullptr && cipher != nullptr &&
      SSL_SESSION_set1_master_key(session, key.key.data(), key.key.size()) == 1 &&
      SSL_SESSION_set_cipher(session, cipher) == 1 &&
      SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1) {
    return session;
  }
  SSL_SESSION_free(session);
  return nullptr;
}

// The client's side: which key it offers. `digest` is set when the server has chosen one already.
int use_session(SSL* ssl, const EVP_MD* digest, const unsigned char** identity,
                size_t* identity_size, SSL_SESSION** session) {
  *session = nullptr;
  if (digest != nullptr && EVP_MD_get_type(digest) != NID_sha384) return 1;
  *session = make_session(ssl);
  if (*session == nullptr) return 0;
  const std::string& name = context_of(ssl).pre_shared_key().identity;
  // SAFETY: characters as bytes; valid as long as the context, which outlives the handshake.
  *identity = reinterpret_cast<const unsigned char*>(name.data());
  *identity_size = name.size();
  return 1;
}

// The server's side: which key belongs to the identity that the client offers.
int find_session(SSL* ssl, const unsigned char* identity, size_t identity_size,
                 SSL_SESSION** session) {
  *session = nullptr;
  const std::string& name = context_of(ssl).pre_shared_key().identity;
  if (identity_size != name.size() || std::memcmp(identity, name.data(), identity_size) != 0) {
    return 1;  // no such key: the handshake ends for want of any other way
  }
  *session = make_session(ssl);
  return *session != nullptr ? 1 : 0;
}

Status check_readable(const std::string& path) {
  if (::access(path.c_str(), R_OK) == 0) return {};
  return fail(Errc::kRefused, "read {}: {} (--tls-dir has the layout of QEMU and libvirt)", path,
              errno == ENOENT ? "no such file" : "no permission");
}

Status check_private_key_file(const std::string& path) {
  RETURN_IF_ERROR(check_readable(path));
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return fail_errno(errno, "look at {}", path);
  if ((status.st_mode & S_IRWXO) == 0) return {};
  return fail(Errc::kRefused, "the private key {} is open to everybody: chmod o= {}", path, path);
}

}  // namespace

Result<std::shared_ptr<const TlsContext>> TlsContext::create(const ControlSecurity& security,
                                                             TlsSide side) {
  std::shared_ptr<TlsContext> result(new TlsContext(security, side));
  result->context_.reset(
      SSL_CTX_new(side == TlsSide::kClient ? TLS_client_method() : TLS_server_method()));
  if (result->context_ == nullptr) return fail(Errc::kSystem, "set up TLS: {}", last_tls_error());
  RETURN_IF_ERROR(result->set_common_options());
  RETURN_IF_ERROR(security.kind == SecurityKind::kPreSharedKey ? result->use_pre_shared_key()
                                                               : result->use_certificates());
  return std::shared_ptr<const TlsContext>(std::move(result));
}

Status TlsContext::set_common_options() {
  SSL_CTX* context = context_.get();
  SSL_CTX_set_app_data(context, this);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_max_cert_list(context, kCertificateBytesMax);
  bool done = SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
              SSL_CTX_set_num_tickets(context, 0) == 1 &&
              SSL_CTX_set_max_send_fragment(context, kRecordBytesMax) == 1;
  if (!done) return fail(Errc::kSystem, "set up TLS 1.3: {}", last_tls_error());
  return {};
}

Status TlsContext::use_pre_shared_key() {
  ASSIGN_OR_RETURN(key_, read_pre_shared_key(security_.psk_file));
  if (SSL_CTX_set_ciphersuites(context_.get(), kPreSharedKeyCipherName) != 1) {
    return fail(Errc::kSystem, "set up TLS with a pre-shared key: {}", last_tls_error());
  }
  SSL_CTX_set_psk_use_session_callback(context_.get(), use_session);
  SSL_CTX_set_psk_find_session_callback(context_.get(), find_session);
  // A server that has no key but a certificate must not do: there is no CA here to trust it by.
  if (side_ == TlsSide::kClient) SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
  return {};
}

Status TlsContext::use_certificates() {
  const char* role = side_ == TlsSide::kClient ? "client" : "server";
  std::string authority = fmt::format("{}/ca-cert.pem", security_.tls_folder);
  std::string certificate = fmt::format("{}/{}-cert.pem", security_.tls_folder, role);
  std::string key = fmt::format("{}/{}-key.pem", security_.tls_folder, role);
  RETURN_IF_ERROR(check_readable(authority));
  RETURN_IF_ERROR(check_readable(certificate));
  RETURN_IF_ERROR(check_private_key_file(key));

  SSL_CTX* context = context_.get();
  ERR_clear_error();
  if (SSL_CTX_load_verify_locations(context, authority.c_str(), nullptr) != 1) {
    return fail(Errc::kRefused, "read the CA's certificate {}: {}", authority, last_tls_error());
  }
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1) {
    return fail(Errc::kRefused, "read the certificate {}: {}", certificate, last_tls_error());
  }
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return fail(Errc::kRefused, "use the private key {} with {}: {}", key, certificate,
                last_tls_error());
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return use_revocation_list(fmt::format("{}/ca-crl.pem", security_.tls_folder));
}

// As QEMU does: a list of revoked certificates counts when it is there.
Status TlsContext::use_revocation_list(const std::string& path) {
  if (::access(path.c_str(), F_OK) != 0) return {};
  X509_STORE* store = SSL_CTX_get_cert_store(context_.get());
  if (X509_STORE_load_file(store, path.c_str()) != 1 ||
      X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) != 1) {
    return fail(Errc::kRefused, "read the list of revoked certificates {}: {}", path,
                last_tls_error());
  }
  return {};
}

}  // namespace godwit::control
