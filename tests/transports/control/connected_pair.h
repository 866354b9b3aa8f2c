// SPDX-License-Identifier: Apache-2.0
//
// Both ends of a control connection over loopback, for tests.
#pragma once

#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/base/unique_fd.h"
#include "transports/control/control_connect.h"
#include "transports/control/control_listener.h"

namespace godwit::control_test {

inline constexpr seconds kLong{20};  // until a test counts as hung

// A listener that accepts in a thread of its own.
class Acceptor {
 public:
  explicit Acceptor(const ControlSecurity& security,
                    Clock::duration pending_patience = kPendingPeerPatience);
  ~Acceptor();

  const std::string& address() const { return listener_->address(); }
  ControlListener& listener() { return *listener_; }
  Result<std::unique_ptr<ControlConnection>> accepted() { return accepted_.get(); }

  // Everybody who was turned away so far, and why. After accepted() it is complete.
  std::vector<std::string> rejections();
  // Waits for the first one.
  std::string first_rejection();

 private:
  std::mutex mutex_;
  std::vector<std::string> rejections_;
  std::promise<std::string> first_;
  std::future<std::string> first_future_ = first_.get_future();
  std::unique_ptr<ControlListener> listener_;
  std::future<Result<std::unique_ptr<ControlConnection>>> accepted_;
};

struct ConnectedPair {
  std::unique_ptr<ControlChannel> client;
  std::unique_ptr<ControlConnection> server;
};

// Both with the same security.
ConnectedPair connect_pair(const ControlSecurity& security);

// A bare socket, connected to the address.
UniqueFd connect_raw(const std::string& address);

// Bytes that are not all the same, and not the same for two seeds.
std::vector<std::byte> pattern(size_t size, unsigned seed);

}  // namespace godwit::control_test
