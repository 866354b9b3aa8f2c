// SPDX-License-Identifier: Apache-2.0
//
// One port of one RDMA device, opened for one migration: its protection domain is what keeps this
// migration's memory apart from that of all others.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "transports/address/socket_address.h"
#include "transports/rdma/options.h"
#include "transports/rdma/port_address.h"
#include "transports/rdma/port_watch.h"
#include "transports/rdma/queue_sizes.h"
#include "transports/rdma/verbs_handles.h"

namespace godwit {

// rdma_cm's contexts of all devices. They stay open for the life of the process, whatever becomes
// of the list (librdmacm, cma.c).
std::vector<ibv_context*> all_device_contexts();

DeviceLimits limits_of(const ibv_device_attr& attributes);

// Thread: any.
class RdmaDevice {
 public:
  // The rail is named as in rail_name.h. Errors: kRefused when there is none such, or it is down.
  static Result<std::shared_ptr<RdmaDevice>> open(const RdmaOptions& options);

  ibv_context* context() const { return context_; }
  ibv_pd* domain() const { return domain_.get(); }
  DeviceLimits limits() const { return limits_of(attributes_); }
  uint64_t region_bytes_max() const { return attributes_.max_mr_size; }
  std::string name() const { return ibv_get_device_name(context_->device); }
  uint8_t port() const { return port_; }
  const PortWatch& port_watch() const { return *port_watch_; }

  // An IP address that peers reach this port by (RoCE), "" when it has none.
  std::string host() const { return address_ ? address_->host : std::string(); }

  // Where a lane to `peer` is to leave from, so that it does by this port: nothing when any source
  // will do, because no device was asked for, or this one's address is of another family.
  std::optional<SocketAddress> source_for(const SocketAddress& peer) const;

 private:
  RdmaDevice(ibv_context* context, uint8_t port, const ibv_device_attr& attributes)
      : context_(context), port_(port), attributes_(attributes) {}

  // rdma_cm's: opened once for the process, and the one that its connections use.
  ibv_context* context_;
  const uint8_t port_;
  const ibv_device_attr attributes_;
  VerbsHandle<ibv_pd> domain_;
  std::unique_ptr<PortWatch> port_watch_;
  std::optional<PortAddress> address_;
  std::optional<SocketAddress> source_;
};

}  // namespace godwit
