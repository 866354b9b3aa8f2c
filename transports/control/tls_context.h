// SPDX-License-Identifier: Apache-2.0
//
// What all TLS connections of one side have in common: TLS 1.3 and nothing older, no resumption, no
// tickets, no early data; the key or the certificates.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "engine/base/result.h"
#include "transports/control/control_security.h"
#include "transports/control/psk_file.h"

namespace godwit::control {

enum class TlsSide : uint8_t { kClient = 1, kServer = 2 };

class TlsContext {
 public:
  // Requires: security.kind is not kInsecure.
  // Ownership: shared by the connections made from it, since a handshake asks it for the key.
  // Errors: kRefused when the key or a certificate cannot be used.
  static Result<std::shared_ptr<const TlsContext>> create(const ControlSecurity& security,
                                                          TlsSide side);

  SSL_CTX* get() const { return context_.get(); }
  TlsSide side() const { return side_; }
  const ControlSecurity& security() const { return security_; }
  const PreSharedKey& pre_shared_key() const { return key_; }

 private:
  struct Free {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };

  TlsContext(ControlSecurity security, TlsSide side)
      : security_(std::move(security)), side_(side) {}
  Status set_common_options();
  Status use_pre_shared_key();
  Status use_certificates();
  Status use_revocation_list(const std::string& path);

  ControlSecurity security_;
  TlsSide side_;
  PreSharedKey key_;
  std::unique_ptr<SSL_CTX, Free> context_;
};

}  // namespace godwit::control
