// SPDX-License-Identifier: Apache-2.0
//
// The RDMA transport: lanes over reliable connected queue pairs, made by rdma_cm. See README.md.
#pragma once

#include <memory>
#include <string>

#include "engine/transport.h"
#include "transports/rdma/options.h"

namespace godwit {

class RdmaDevice;
class Registrar;
struct SocketAddress;

class RdmaTransport final : public Transport {
 public:
  // Errors: kRefused when there is no such device, or none that works.
  static Result<std::unique_ptr<RdmaTransport>> open(RdmaOptions options = {});
  ~RdmaTransport() override;

  Capabilities capabilities() const override;
  // Errors: kRefused when the other side does not accept the ticket; kPeerLost when nobody is
  // there.
  Result<std::unique_ptr<Endpoint>> connect(const std::string& address, const LaneTicket& ticket,
                                            Deadline deadline) override;
  Result<std::unique_ptr<Listener>> listen(const std::string& address) override;

  // As `ibv_devices` names it.
  std::string device_name() const;
  // An IP address that peers reach the device by, "" when it has none.
  std::string host() const;

 private:
  RdmaTransport(std::shared_ptr<RdmaDevice> device, RdmaOptions options);

  // Stable memory is pinned later, chunk by chunk. Errors: kRefused when RLIMIT_MEMLOCK does not
  // allow that.
  Result<std::unique_ptr<MemoryRegion>> make_region(std::span<std::byte> bytes, RemoteAccess access,
                                                    PageStability stability) override;

  Result<std::unique_ptr<Endpoint>> connect_to(const SocketAddress& peer,
                                               const std::string& address, const LaneTicket& ticket,
                                               Deadline deadline);

  // Shared by the transport, its regions and its endpoints, which may be destroyed in any order.
  std::shared_ptr<RdmaDevice> device_;
  std::shared_ptr<Registrar> registrar_;
  const RdmaOptions options_;
};

}  // namespace godwit
