// SPDX-License-Identifier: Apache-2.0
//
// Whatever bytes a peer sends are a control message that encodes to those very bytes, or an error.
#include <algorithm>
#include <cstdint>
#include <span>

#include "engine/base/check.h"
#include "engine/wire/messages.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  const auto bytes = std::as_bytes(std::span(input, size));
  const godwit::Result<godwit::ControlMessage> message = godwit::decode(bytes);
  if (!message) {
    CHECK(message.error().code == godwit::Errc::kCorrupt);
    return 0;
  }
  const std::vector<std::byte> again = godwit::encode(*message);
  CHECK(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()));
  return 0;
}
