// SPDX-License-Identifier: Apache-2.0
#include "transports/control/preamble.h"

#include <algorithm>

#include "engine/base/check.h"

namespace godwit {

const char* to_string(SecurityKind kind) {
  switch (kind) {
    case SecurityKind::kInsecure:
      return "none (insecure)";
    case SecurityKind::kPreSharedKey:
      return "TLS 1.3, pre-shared key";
    case SecurityKind::kX509:
      return "TLS 1.3, X.509 certificates";
  }
  CHECK(false && "a SecurityKind outside its enumerators");
}

}  // namespace godwit

namespace godwit::control {
namespace {

constexpr std::array<char, 8> kMagic = {'G', 'O', 'D', 'W', 'I', 'T', '\r', '\n'};

// "uses a pre-shared key (--psk-file)": for a peer and for us.
const char* option_of(SecurityKind kind) {
  switch (kind) {
    case SecurityKind::kInsecure:
      return "no TLS";
    case SecurityKind::kPreSharedKey:
      return "TLS with a pre-shared key (--psk-file)";
    case SecurityKind::kX509:
      return "TLS with certificates (--tls-dir)";
  }
  CHECK(false && "a SecurityKind outside its enumerators");
}

bool is_security_kind(uint8_t number) {
  return number >= static_cast<uint8_t>(SecurityKind::kInsecure) &&
         number <= static_cast<uint8_t>(SecurityKind::kX509);
}

}  // namespace

Preamble make_preamble(SecurityKind kind) {
  Preamble preamble{};
  for (size_t i = 0; i < kMagic.size(); ++i) preamble[i] = static_cast<std::byte>(kMagic[i]);
  preamble[8] = static_cast<std::byte>(kControlVersion & 0xff);
  preamble[9] = static_cast<std::byte>(kControlVersion >> 8);
  preamble[10] = static_cast<std::byte>(kind);
  return preamble;
}

Status check_preamble(std::span<const std::byte> received, SecurityKind kind,
                      const std::string& peer) {
  Preamble ours = make_preamble(kind);
  size_t magic_bytes = std::min(received.size(), kMagic.size());
  if (!std::equal(received.begin(), received.begin() + static_cast<std::ptrdiff_t>(magic_bytes),
                  ours.begin())) {
    return fail(Errc::kRefused,
                "the peer at {} does not speak Godwit's protocol: is the port the right one?",
                peer);
  }
  if (received.size() < ours.size()) return {};

  unsigned version = static_cast<unsigned>(received[8]) | static_cast<unsigned>(received[9]) << 8;
  if (version != kControlVersion) {
    return fail(
        Errc::kRefused,
        "the Godwit at {} speaks version {} of the protocol, this one version {}: both hosts "
        "need the same release",
        peer, version, kControlVersion);
  }
  auto theirs = static_cast<uint8_t>(received[10]);
  if (!is_security_kind(theirs)) {
    return fail(Errc::kRefused, "the peer at {} wants a kind of security that does not exist: {}",
                peer, theirs);
  }
  if (theirs != static_cast<uint8_t>(kind)) {
    return fail(Errc::kRefused, "the Godwit at {} uses {}, this one {}: give both the same options",
                peer, option_of(static_cast<SecurityKind>(theirs)), option_of(kind));
  }
  return {};
}

}  // namespace godwit::control
