// SPDX-License-Identifier: Apache-2.0
#include "cli/lane_transport.h"

#include "transports/tcp/tcp_transport.h"

namespace godwit::cli {

Result<std::unique_ptr<Transport>> make_lane_transport(const AgentOptions& options) {
  TcpOptions tcp;
  tcp.checksums = options.no_checksum ? PayloadChecksums::kOff : PayloadChecksums::kOn;
  ASSIGN_OR_RETURN(std::unique_ptr<Transport> transport, TcpTransport::open(tcp));
  return transport;
}

}  // namespace godwit::cli
