// SPDX-License-Identifier: Apache-2.0
#include "cli/peer_listener.h"

#include <string_view>

#include "cli/console.h"

namespace godwit::cli {

Result<std::unique_ptr<ControlListener>> listen_for_peers(const std::string& address,
                                                          const ControlSecurity& security) {
  auto tell_rejection = [](std::string_view reason) {
    say(fmt::format("turned away: {}", reason));
  };
  return ControlListener::listen(address, security, {.on_rejection = tell_rejection});
}

}  // namespace godwit::cli
