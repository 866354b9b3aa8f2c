// SPDX-License-Identifier: Apache-2.0
#include "tests/transports/rdma/lab/lanes.h"

#include <fmt/core.h>

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cstdlib>

#include "engine/base/check.h"
#include "engine/base/unique_fd.h"

namespace godwit::lab {

void run(const std::string& command) {
  CHECK(std::getenv("GODWIT_LAB") != nullptr);
  CHECK(std::system(command.c_str()) == 0);
}

void take_down(const std::string& netdev) {
  CHECK(std::getenv("GODWIT_LAB") != nullptr);
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  netdev.copy(request.ifr_name, sizeof(request.ifr_name) - 1);
  CHECK(::ioctl(socket.get(), SIOCGIFFLAGS, &request) == 0);
  request.ifr_flags = static_cast<short>(request.ifr_flags & ~IFF_UP);
  CHECK(::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0);
}

Lane::Lane(RdmaOptions options)
    : source(RdmaTransport::open(options).value()),
      destination(RdmaTransport::open(options).value()),
      ends(test::connect_endpoints(*source, *destination, destination->host() + ":0",
                                   test::make_ticket(0))) {}

LaneEnd end_of_idle(Endpoint& endpoint, Clock::time_point since) {
  std::array<std::byte, 1024> message;
  while (true) {
    const Result<size_t> received = endpoint.receive(message, since + kTestTime);
    if (!received) return {received.error(), Clock::now() - since};
  }
}

LaneEnd end_of_busy(Endpoint& endpoint, const MemoryRegion& from, const RemoteRegion& to,
                    Clock::time_point since) {
  const TransferOp op{.local = &from,
                      .local_offset_bytes = 0,
                      .remote = to,
                      .remote_offset_bytes = 0,
                      .size_bytes = 64 << 10,
                      .tag = 0};
  std::array<Completion, 64> completions;
  while (Clock::now() < since + kTestTime) {
    const Result<size_t> posted = endpoint.post_writes({&op, 1}, SourceMemory::kLive);
    if (!posted) return {posted.error(), Clock::now() - since};
    const Result<size_t> polled = endpoint.poll(completions, since + kTestTime);
    if (!polled) return {polled.error(), Clock::now() - since};
  }
  return {fail(Errc::kTimeout, "the lane did not end").value(), Clock::now() - since};
}

std::string to_string(const LaneEnd& end) {
  return fmt::format("{:.1f} ms: {}", to_milliseconds(end.after), godwit::to_string(end.error));
}

}  // namespace godwit::lab
