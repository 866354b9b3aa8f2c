// SPDX-License-Identifier: Apache-2.0
//
// The transfers of one lane: which operations make the next one, and how they are posted and
// waited for.
//
// Each transfer is a request of its own on the wire. So they walk through the lane's memory from
// its end to its start: none goes on where the one before it ended, and no transport merges them.
// One of more than kOperationBytesMax is made of neighbouring operations, which do merge.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/qualify/bench_report.h"
#include "engine/qualify/bench_session.h"
#include "engine/transport.h"

namespace godwit::qualify {

// Thread: the lane's owner.
class Transfers {
 public:
  // Requires: kWrite or kRead; the lane's memory holds at least one transfer.
  Transfers(BenchLane& lane, Verb verb, uint32_t size_bytes);

  // Takes up the operations of so many transfers, and posts what there is room for.
  Status begin(uint32_t transfers);

  // Posts what there is room for now, and takes completions, waiting for one. Returns their bytes:
  // 0 after a while without any. Requires: something is under way.
  Result<uint64_t> advance();

  // Returns their bytes.
  Result<uint64_t> finish_all();

  uint64_t bytes_under_way() const { return bytes_under_way_; }

 private:
  Status post();

  BenchLane& lane_;
  const Verb verb_;
  const uint64_t size_bytes_;
  const uint64_t transfers_in_memory_;
  uint64_t next_;  // counts down
  std::vector<TransferOp> waiting_;
  size_t posted_ = 0;  // of waiting_
  uint64_t bytes_under_way_ = 0;
  std::array<Completion, 64> completions_;
};

}  // namespace godwit::qualify
