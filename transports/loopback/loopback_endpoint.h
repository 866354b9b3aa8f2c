// SPDX-License-Identifier: Apache-2.0
//
// One end of a loopback connection. Posting only queues; the bytes move, in order, when the owner
// polls, flushes or sends, and completions come when the fault plan lets them.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "engine/transport.h"
#include "transports/loopback/fault_plan.h"
#include "transports/loopback/loopback_link.h"

namespace godwit {

inline constexpr uint32_t kLoopbackMessageBytesMax = 64 << 10;

class LoopbackEndpoint final : public Endpoint {
 public:
  LoopbackEndpoint(std::shared_ptr<LoopbackLink> link, LinkSide side, FaultDecisions decisions,
                   uint32_t operations_in_flight_max,
                   std::function<void(uint64_t operation)> before_operation);
  ~LoopbackEndpoint() override;

  Result<size_t> post_writes(std::span<const TransferOp> ops, SourceMemory memory) override;
  Result<size_t> post_reads(std::span<const TransferOp> ops) override;
  Result<size_t> poll(std::span<Completion> completions, Deadline deadline) override;
  Status flush(Deadline deadline) override;
  Status send(std::span<const std::byte> message, Deadline deadline) override;
  Result<size_t> receive(std::span<std::byte> message, Deadline deadline) override;
  void shut_down() override;

 private:
  enum class Direction : uint8_t { kWrite = 1, kRead = 2 };
  struct Posted {
    TransferOp op;
    Direction direction;
    SourceMemory memory;
    uint64_t index;  // of the operation, among all of this endpoint
  };
  struct Finished {
    Completion completion;
    uint64_t due_step;
  };

  Result<size_t> post(std::span<const TransferOp> ops, Direction direction, SourceMemory memory);
  void carry_out_posted();
  Status carry_out(const Posted& posted, Completion& completion);
  void flush_everything();
  size_t take_due(std::span<Completion> completions);

  // Shared by the two endpoints of the connection.
  std::shared_ptr<LoopbackLink> link_;
  const LinkSide side_;
  const FaultDecisions decisions_;
  const uint32_t operations_in_flight_max_;
  const std::function<void(uint64_t operation)> before_operation_;  // may be empty
  std::deque<Posted> posted_;
  std::vector<Finished> finished_;
  uint64_t step_ = 0;
  uint64_t operation_count_ = 0;
  uint64_t post_count_ = 0;
  uint64_t flush_count_ = 0;
  uint64_t message_count_ = 0;
};

}  // namespace godwit
