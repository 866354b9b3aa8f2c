// SPDX-License-Identifier: Apache-2.0
//
// The file with the key that both sides of a migration share: one line of hex digits, as
// `godwit keygen` writes it, or "identity:hexdigits", as QEMU and GnuTLS's psktool have it.
#pragma once

#include <string>
#include <vector>

#include "engine/base/result.h"

namespace godwit {

struct PreSharedKey {
  std::string identity;  // travels in clear; "godwit" unless the file says otherwise
  std::vector<unsigned char> key;
};

// Errors: kRefused when it is not a key, or when others than its owner may read it.
Result<PreSharedKey> read_pre_shared_key(const std::string& path);

// Makes a new random key of 256 bits in a file that only its owner can read. Errors: kRefused when
// the file exists.
Status write_new_pre_shared_key(const std::string& path);

}  // namespace godwit
