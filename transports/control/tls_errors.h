// SPDX-License-Identifier: Apache-2.0
//
// What OpenSSL says, in words that tell a user what to change.
#pragma once

#include <openssl/ssl.h>

#include <string>

#include "engine/base/result.h"
#include "transports/control/tls_context.h"

namespace godwit::control {

// The newest entry of this thread's error queue, which is emptied.
std::string last_tls_error();

// Why the handshake with `peer` (and what directly follows it) failed. Empties the error queue.
// Always kRefused: nothing was touched yet.
Error explain_handshake_failure(SSL* ssl, const TlsContext& context, const std::string& peer,
                                const std::string& expected_hostname);

}  // namespace godwit::control
