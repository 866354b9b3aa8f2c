// SPDX-License-Identifier: Apache-2.0
//
// The first bytes of a control connection, the same in both directions, in clear, before any TLS:
// so that a wrong port, another version or another kind of security is told in plain words instead
// of as a failed TLS handshake. They decide nothing: each side only compares them with what it
// demands, and they are repeated inside TLS, where nobody can have changed them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "engine/base/result.h"
#include "transports/control/control_security.h"

namespace godwit::control {

inline constexpr uint16_t kControlVersion = 1;

// Magic (8 bytes), version (2, little endian), SecurityKind (1), zero (5).
using Preamble = std::array<std::byte, 16>;

Preamble make_preamble(SecurityKind kind);

// Judges the first bytes that `peer` sent, be they only the start of a preamble. Errors: kRefused.
Status check_preamble(std::span<const std::byte> received, SecurityKind kind,
                      const std::string& peer);

}  // namespace godwit::control
