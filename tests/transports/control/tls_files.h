// SPDX-License-Identifier: Apache-2.0
//
// Keys and certificates for tests, made fresh in a temporary folder.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <vector>

#include "transports/control/control_security.h"

namespace godwit::control_test {

// A folder that goes with its owner.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

void write_file(const std::string& path, const std::string& text, mode_t mode);

struct CertificateRequest {
  std::string role;                                  // "server", "client": also the common name
  std::string names = "DNS:localhost,IP:127.0.0.1";  // subjectAltName
  long starts_s = -3600;                             // from now
  long ends_s = 3600;
};

// A CA with the key that signs.
class CertificateAuthority {
 public:
  CertificateAuthority();

  void write_own_certificate(const std::string& folder) const;
  void issue(const std::string& folder, const CertificateRequest& request);
  // Revokes everything that was issued, in a list that goes into the folder.
  void write_revocation_list(const std::string& folder) const;

 private:
  struct Free {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    void operator()(X509* certificate) const { X509_free(certificate); }
  };
  std::unique_ptr<EVP_PKEY, Free> key_;
  std::unique_ptr<X509, Free> certificate_;
  std::vector<long> issued_;
};

// A folder with the CA's certificate and both roles' certificates and keys.
void write_complete_folder(CertificateAuthority& authority, const std::string& folder);

ControlSecurity with_certificates(const std::string& folder);
ControlSecurity with_key(const std::string& path);

}  // namespace godwit::control_test
