// SPDX-License-Identifier: Apache-2.0
//
// The TCP transport: lanes over sockets, driven by io_uring. See README.md for the frames and for
// who owns which buffer.
#pragma once

#include <memory>
#include <string>

#include "engine/transport.h"
#include "transports/tcp/options.h"

namespace godwit {

class RegionTable;

class TcpTransport final : public Transport {
 public:
  // Errors: kRefused when this kernel or container does not allow io_uring.
  static Result<std::unique_ptr<TcpTransport>> open(TcpOptions options = {});
  ~TcpTransport() override;

  Capabilities capabilities() const override;
  // Errors: kRefused when the other side does not accept the ticket; kPeerLost when nobody is
  // there.
  Result<std::unique_ptr<Endpoint>> connect(const std::string& address, const LaneTicket& ticket,
                                            Deadline deadline) override;
  Result<std::unique_ptr<Listener>> listen(const std::string& address) override;

 private:
  Result<std::unique_ptr<MemoryRegion>> make_region(std::span<std::byte> bytes, RemoteAccess access,
                                                    PageStability stability) override;
  explicit TcpTransport(TcpOptions options);

  const TcpOptions options_;
  // Shared by the transport, its regions and its endpoints, which may be destroyed in any order.
  std::shared_ptr<RegionTable> regions_;
};

}  // namespace godwit
