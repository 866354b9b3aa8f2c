// SPDX-License-Identifier: Apache-2.0
//
// How the two agents prove to each other who they are. There is no negotiation: each side demands
// what its user said, and a peer that offers something else is turned away.
#pragma once

#include <cstdint>
#include <string>

namespace godwit {

// On the wire: part of the preamble.
enum class SecurityKind : uint8_t {
  kInsecure = 1,      // anybody may connect, anybody on the way may read and change
  kPreSharedKey = 2,  // TLS 1.3 with an external pre-shared key and (EC)DHE
  kX509 = 3,          // TLS 1.3 with certificates, verified both ways
};

struct ControlSecurity {
  SecurityKind kind = SecurityKind::kInsecure;
  std::string psk_file;    // kPreSharedKey
  std::string tls_folder;  // kX509: ca-cert.pem, server-cert.pem, server-key.pem, client-…
  std::string
      tls_hostname;  // kX509: the name the server's certificate is for; empty = as connected
};

// "TLS 1.3, pre-shared key": for the report.
const char* to_string(SecurityKind kind);

}  // namespace godwit
