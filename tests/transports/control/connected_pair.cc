// SPDX-License-Identifier: Apache-2.0
#include "tests/transports/control/connected_pair.h"

#include <sys/socket.h>

#include "engine/base/check.h"
#include "transports/address/socket_address.h"

namespace godwit::control_test {

Acceptor::Acceptor(const ControlSecurity& security, Clock::duration pending_patience) {
  auto note = [this](std::string_view reason) {
    std::lock_guard lock(mutex_);
    if (rejections_.empty()) first_.set_value(std::string(reason));
    rejections_.emplace_back(reason);
  };
  Result<std::unique_ptr<ControlListener>> listener = ControlListener::listen(
      "127.0.0.1:0", security, {.on_rejection = note, .pending_patience = pending_patience});
  CHECK(listener.has_value());
  listener_ = std::move(*listener);
  accepted_ =
      std::async(std::launch::async, [this] { return listener_->accept(deadline_in(kLong)); });
}

Acceptor::~Acceptor() {
  listener_->shut_down();
  if (accepted_.valid()) accepted_.wait();
}

std::vector<std::string> Acceptor::rejections() {
  std::lock_guard lock(mutex_);
  return rejections_;
}

std::string Acceptor::first_rejection() {
  CHECK(first_future_.wait_for(kLong) == std::future_status::ready);
  return first_future_.get();
}

ConnectedPair connect_pair(const ControlSecurity& security) {
  Acceptor acceptor(security);
  Result<std::unique_ptr<ControlChannel>> client =
      connect_control(acceptor.address(), security, deadline_in(kLong));
  CHECK(client.has_value());
  Result<std::unique_ptr<ControlConnection>> server = acceptor.accepted();
  CHECK(server.has_value());
  return {std::move(*client), std::move(*server)};
}

UniqueFd connect_raw(const std::string& address) {
  Result<std::vector<SocketAddress>> target = resolve(address, AddressUse::kConnect);
  CHECK(target.has_value());
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK(::connect(socket.get(), target->front().get(), target->front().length) == 0);
  return socket;
}

std::vector<std::byte> pattern(size_t size, unsigned seed) {
  std::vector<std::byte> bytes(size);
  unsigned value = seed * 2654435761U + 1;
  for (std::byte& byte : bytes) {
    value = value * 1664525U + 1013904223U;
    byte = static_cast<std::byte>(value >> 24);
  }
  return bytes;
}

}  // namespace godwit::control_test
