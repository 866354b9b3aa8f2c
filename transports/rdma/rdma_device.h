// SPDX-License-Identifier: Apache-2.0
//
// One RDMA device, opened for one migration: its protection domain is what keeps this migration's
// memory apart from that of all others.
#pragma once

#include <memory>
#include <string>

#include "engine/base/result.h"
#include "transports/rdma/verbs_handles.h"

namespace godwit {

// Thread: any.
class RdmaDevice {
 public:
  // An empty name means the first device with an active port. Errors: kRefused when there is none.
  static Result<std::shared_ptr<RdmaDevice>> open(const std::string& name);

  ibv_context* context() const { return context_; }
  ibv_pd* domain() const { return domain_.get(); }
  const ibv_device_attr& attributes() const { return attributes_; }
  std::string name() const { return ibv_get_device_name(context_->device); }

  // An IP address that peers reach this device by (RoCE), "" when it has none.
  std::string host() const;

 private:
  RdmaDevice(ibv_context* context, VerbsHandle<ibv_pd> domain, const ibv_device_attr& attributes)
      : context_(context), domain_(std::move(domain)), attributes_(attributes) {}

  // rdma_cm's: opened once for the process, and the one that its connections use.
  ibv_context* context_;
  VerbsHandle<ibv_pd> domain_;
  ibv_device_attr attributes_;
};

}  // namespace godwit
