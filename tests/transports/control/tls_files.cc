// SPDX-License-Identifier: Apache-2.0
#include "tests/transports/control/tls_files.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "engine/base/check.h"

namespace godwit::control_test {
namespace {

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

File open_for_writing(const std::string& path) {
  File file(std::fopen(path.c_str(), "w"), std::fclose);
  CHECK(file != nullptr);
  return file;
}

void add_extension(X509* certificate, X509* issuer, int name, const std::string& value) {
  X509V3_CTX context{};
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, name, value.c_str());
  CHECK(extension != nullptr);
  CHECK(X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

X509* new_certificate(EVP_PKEY* key, const std::string& name, long serial) {
  X509* certificate = X509_new();
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial);
  X509_set_pubkey(certificate, key);
  // SAFETY: characters as bytes; OpenSSL's interface is older than the difference.
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  return certificate;
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::string pattern = "/tmp/godwit-control-XXXXXX";
  CHECK(::mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_file(const std::string& path, const std::string& text, mode_t mode) {
  std::ofstream(path) << text;
  CHECK(::chmod(path.c_str(), mode) == 0);
}

CertificateAuthority::CertificateAuthority() : key_(EVP_EC_gen("P-256")) {
  certificate_.reset(new_certificate(key_.get(), "Test CA", 1));
  X509_set_issuer_name(certificate_.get(), X509_get_subject_name(certificate_.get()));
  add_extension(certificate_.get(), certificate_.get(), NID_basic_constraints, "critical,CA:TRUE");
  add_extension(certificate_.get(), certificate_.get(), NID_key_usage, "keyCertSign,cRLSign");
  CHECK(X509_sign(certificate_.get(), key_.get(), EVP_sha256()) > 0);
}

void CertificateAuthority::write_own_certificate(const std::string& folder) const {
  PEM_write_X509(open_for_writing(folder + "/ca-cert.pem").get(), certificate_.get());
}

void CertificateAuthority::issue(const std::string& folder, const CertificateRequest& request) {
  issued_.push_back(static_cast<long>(issued_.size()) + 2);
  std::unique_ptr<EVP_PKEY, Free> key(EVP_EC_gen("P-256"));
  std::unique_ptr<X509, Free> certificate(new_certificate(key.get(), request.role, issued_.back()));
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate_.get()));
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), request.starts_s);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), request.ends_s);
  add_extension(certificate.get(), certificate_.get(), NID_ext_key_usage, request.role + "Auth");
  add_extension(certificate.get(), certificate_.get(), NID_subject_alt_name, request.names);
  CHECK(X509_sign(certificate.get(), key_.get(), EVP_sha256()) > 0);

  std::string base = folder + "/" + request.role;
  PEM_write_X509(open_for_writing(base + "-cert.pem").get(), certificate.get());
  PEM_write_PrivateKey(open_for_writing(base + "-key.pem").get(), key.get(), nullptr, nullptr, 0,
                       nullptr, nullptr);
  CHECK(::chmod((base + "-key.pem").c_str(), 0600) == 0);
}

void CertificateAuthority::write_revocation_list(const std::string& folder) const {
  X509_CRL* list = X509_CRL_new();
  X509_CRL_set_version(list, X509_CRL_VERSION_2);
  X509_CRL_set_issuer_name(list, X509_get_subject_name(certificate_.get()));
  ASN1_TIME* now = X509_gmtime_adj(nullptr, 0);
  X509_CRL_set1_lastUpdate(list, now);
  ASN1_TIME* later = X509_gmtime_adj(nullptr, 3600);
  X509_CRL_set1_nextUpdate(list, later);
  for (long serial : issued_) {
    X509_REVOKED* revoked = X509_REVOKED_new();
    ASN1_INTEGER* number = ASN1_INTEGER_new();
    ASN1_INTEGER_set(number, serial);
    X509_REVOKED_set_serialNumber(revoked, number);
    X509_REVOKED_set_revocationDate(revoked, now);
    X509_CRL_add0_revoked(list, revoked);
    ASN1_INTEGER_free(number);
  }
  CHECK(X509_CRL_sign(list, key_.get(), EVP_sha256()) > 0);
  PEM_write_X509_CRL(open_for_writing(folder + "/ca-crl.pem").get(), list);
  ASN1_TIME_free(now);
  ASN1_TIME_free(later);
  X509_CRL_free(list);
}

void write_complete_folder(CertificateAuthority& authority, const std::string& folder) {
  authority.write_own_certificate(folder);
  authority.issue(folder, {.role = "server"});
  authority.issue(folder, {.role = "client"});
}

ControlSecurity with_certificates(const std::string& folder) {
  ControlSecurity security;
  security.kind = SecurityKind::kX509;
  security.tls_folder = folder;
  return security;
}

ControlSecurity with_key(const std::string& path) {
  ControlSecurity security;
  security.kind = SecurityKind::kPreSharedKey;
  security.psk_file = path;
  return security;
}

}  // namespace godwit::control_test
