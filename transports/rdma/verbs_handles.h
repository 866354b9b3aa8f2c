// SPDX-License-Identifier: Apache-2.0
//
// Owners of verbs and rdma_cm objects: each is given back when its handle goes.
//
// Order matters to verbs: a queue pair goes before its completion queue, that before its channel,
// and everything before the protection domain. Declare the members of a class in that order's
// reverse.
#pragma once

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include <memory>

namespace godwit {

struct VerbsDeleter {
  void operator()(rdma_event_channel* channel) const { rdma_destroy_event_channel(channel); }
  void operator()(rdma_cm_id* id) const {
    if (id->qp != nullptr) rdma_destroy_qp(id);
    rdma_destroy_id(id);
  }
  void operator()(ibv_context* context) const { ibv_close_device(context); }
  void operator()(ibv_pd* domain) const { ibv_dealloc_pd(domain); }
  void operator()(ibv_mr* region) const { ibv_dereg_mr(region); }
  void operator()(ibv_cq* queue) const { ibv_destroy_cq(queue); }
  void operator()(ibv_comp_channel* channel) const { ibv_destroy_comp_channel(channel); }
};

template <typename Object>
using VerbsHandle = std::unique_ptr<Object, VerbsDeleter>;

}  // namespace godwit
