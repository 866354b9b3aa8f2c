// SPDX-License-Identifier: Apache-2.0
#include "transports/control/tls_errors.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

namespace godwit::control {
namespace {

std::string describe(unsigned long error) {
  const char* reason = ERR_reason_error_string(error);
  if (reason != nullptr) return reason;
  return error == 0 ? "no reason given" : fmt::format("OpenSSL error {:#x}", error);
}

// We looked at the peer's certificate and did not like it.
Error explain_verification(long verdict, const TlsContext& context, const std::string& peer,
                           const std::string& expected_hostname) {
  const std::string& folder = context.security().tls_folder;
  switch (verdict) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return fail(Errc::kRefused, "the certificate of {} has expired: it needs a new one", peer)
          .value();
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return fail(Errc::kRefused, "the certificate of {} is not valid yet: are both clocks right?",
                  peer)
          .value();
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return fail(Errc::kRefused,
                  "the certificate of {} is not for '{}': say with --tls-hostname which name it is "
                  "for, or give that host a certificate with this name",
                  peer, expected_hostname)
          .value();
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return fail(Errc::kRefused, "the certificate of {} is not signed by the CA in {}/ca-cert.pem",
                  peer, folder)
          .value();
    case X509_V_ERR_CERT_REVOKED:
      return fail(Errc::kRefused, "the certificate of {} has been revoked ({}/ca-crl.pem)", peer,
                  folder)
          .value();
    default:  // OpenSSL has some eighty of them
      return fail(Errc::kRefused, "the certificate of {} was not accepted: {}", peer,
                  X509_verify_cert_error_string(verdict))
          .value();
  }
}

// The peer looked at what we presented and did not like it; this is all that it tells.
Error explain_alert(int alert, const TlsContext& context, const std::string& peer) {
  const std::string& folder = context.security().tls_folder;
  if (context.security().kind == SecurityKind::kPreSharedKey) {
    return fail(Errc::kRefused,
                "{} does not accept the pre-shared key in {}: both hosts need a copy of the same "
                "file",
                peer, context.security().psk_file)
        .value();
  }
  switch (alert) {
    case TLS1_AD_UNKNOWN_CA:
    case TLS1_AD_DECRYPT_ERROR:  // a CA of the same name, with another key
      return fail(Errc::kRefused,
                  "{} does not know the CA that signed our certificate in {}: both hosts need the "
                  "same ca-cert.pem",
                  peer, folder)
          .value();
    case SSL3_AD_CERTIFICATE_EXPIRED:
      return fail(Errc::kRefused, "{} says that our certificate in {} has expired", peer, folder)
          .value();
    case SSL3_AD_CERTIFICATE_REVOKED:
      return fail(Errc::kRefused, "{} says that our certificate in {} is revoked", peer, folder)
          .value();
    default:
      return fail(Errc::kRefused, "{} does not accept our certificate in {}: {}", peer, folder,
                  SSL_alert_desc_string_long(alert))
          .value();
  }
}

}  // namespace

std::string last_tls_error() {
  std::string text = describe(ERR_peek_last_error());
  ERR_clear_error();
  return text;
}

Error explain_handshake_failure(SSL* ssl, const TlsContext& context, const std::string& peer,
                                const std::string& expected_hostname) {
  unsigned long error = ERR_peek_error();
  ERR_clear_error();
  int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
  if (reason > SSL_AD_REASON_OFFSET) {
    return explain_alert(reason - SSL_AD_REASON_OFFSET, context, peer);
  }
  if (context.security().kind == SecurityKind::kPreSharedKey) {
    return fail(
               Errc::kRefused,
               "{} does not have the pre-shared key in {}: both hosts need a copy of the same file "
               "({})",
               peer, context.security().psk_file, describe(error))
        .value();
  }
  // The verdict and not the error: of a wrong signature OpenSSL first reports the arithmetic.
  if (const long verdict = SSL_get_verify_result(ssl); verdict != X509_V_OK) {
    return explain_verification(verdict, context, peer, expected_hostname);
  }
  if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
    return fail(Errc::kRefused, "{} presented no certificate", peer).value();
  }
  return fail(Errc::kRefused, "TLS with {} failed: {}", peer, describe(error)).value();
}

}  // namespace godwit::control
