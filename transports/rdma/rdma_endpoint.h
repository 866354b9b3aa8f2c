// SPDX-License-Identifier: Apache-2.0
//
// One lane over RDMA: a reliable connected queue pair, with one completion queue for both
// directions.
//
// Writes and reads are one-sided: the peer's CPU is not in their path. Neighbouring operations
// become one work request. Only the last of a chain of at most 64 is signalled: its completion
// stands for all before it (posted_work.h).
//
// Flush: a completed RDMA write says that the peer's device has the data, not that the peer's CPUs
// see it. An RDMA read that was posted after it on the same queue pair is carried out after it (IB
// specification 1.4, 9.5, table 79), and its fetch from memory pushes the writes before it
// (PCI Express, 2.4.1: a read request does not pass posted writes). So a flush reads one word of
// the peer's. No memory that the peer writes is registered with relaxed ordering (rdma_region.cc).
//
// A message is a Send: its receive completion at the peer comes after all earlier writes of the
// queue pair are visible there. The receiver keeps 32 buffers posted; a peer that sends more is
// held by the queue pair itself (receiver not ready, retried without end). A short one travels in
// its work request, and needs no buffer at this end.
//
// Loss of the peer: its disconnect; retries exceeded, of an operation or of the read of the flush
// word that an idle lane posts every third of the peer time-out. Loss of this host's own port:
// port_watch.h.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "engine/base/wake_event.h"
#include "engine/transport.h"
#include "transports/rdma/connection_events.h"
#include "transports/rdma/failed_request.h"
#include "transports/rdma/greeting.h"
#include "transports/rdma/key_exchange.h"
#include "transports/rdma/message_buffers.h"
#include "transports/rdma/options.h"
#include "transports/rdma/posted_work.h"
#include "transports/rdma/queue_sizes.h"
#include "transports/rdma/rdma_device.h"
#include "transports/rdma/registrar.h"
#include "transports/rdma/staging_ring.h"

namespace godwit {

class RdmaRegion;

inline constexpr uint32_t kRdmaOperationsInFlightMax = 4096;

// What the endpoints of one transport share with it, and what they may outlive it with.
struct RdmaParts {
  std::shared_ptr<RdmaDevice> device;
  std::shared_ptr<Registrar> registrar;
};

class RdmaEndpoint final : public Endpoint {
 public:
  // Makes the queue pair of `id`, whose address is resolved or whose request has come, and posts
  // the first receives; the connection itself is the caller's to make.
  static Result<std::unique_ptr<RdmaEndpoint>> make(RdmaParts parts,
                                                    VerbsHandle<rdma_event_channel> channel,
                                                    VerbsHandle<rdma_cm_id> id, std::string peer,
                                                    const RdmaOptions& options);
  ~RdmaEndpoint() override;

  // For whoever connects.
  rdma_cm_id* id() const { return id_.get(); }
  rdma_event_channel* channel() const { return channel_.get(); }
  FlushWord flush_word() const { return buffers_->flush_word(); }
  Status begin(const Greeting& peer);  // once connected
  // What to connect with, and what to accept with when the peer can do so much.
  rdma_conn_param connection_parameters(const Greeting& greeting) const;
  rdma_conn_param connection_parameters(const Greeting& greeting, ReadDepths peer) const;

  Result<size_t> post_writes(std::span<const TransferOp> ops, SourceMemory memory) override;
  Result<size_t> post_reads(std::span<const TransferOp> ops) override;
  Result<size_t> poll(std::span<Completion> completions, Deadline deadline) override;
  bool sleep_with(int fd) override;
  Status flush(Deadline deadline) override;
  // Returns when the message is posted.
  Status send(std::span<const std::byte> message, Deadline deadline) override;
  Result<size_t> receive(std::span<std::byte> message, Deadline deadline) override;
  void shut_down() override;

 private:
  struct ReceivedMessage {
    uint32_t buffer;
    uint32_t size_bytes;
  };
  static constexpr size_t kBatchMax = 64;  // work requests in one chain

  RdmaEndpoint(RdmaParts parts, VerbsHandle<rdma_event_channel> channel, VerbsHandle<rdma_cm_id> id,
               WakeEvent wake_event, std::string peer, const RdmaOptions& options)
      : device_(std::move(parts.device)),
        registrar_(std::move(parts.registrar)),
        options_(options),
        peer_(std::move(peer)),
        wake_event_(std::move(wake_event)),
        channel_(std::move(channel)),
        id_(std::move(id)) {}

  Status make_queue_pair();
  // As deep as `requests` or less, if the device has its reasons. Returns how deep.
  Result<uint32_t> make_queue_pair_of(uint32_t requests);
  Status post_receive(uint32_t buffer);
  Result<size_t> post(std::span<const TransferOp> ops, ibv_wr_opcode opcode);
  struct Chain {
    size_t requests = 0;
    size_t operations = 0;
  };
  // Fills requests_ from the front of `ops`, as far as their memory is known to both devices.
  Result<Chain> make_chain(std::span<const TransferOp> ops, ibv_wr_opcode opcode,
                           size_t requests_max);
  // A stretch of an operation that lies in one chunk at either end.
  struct Piece {
    uint64_t local_address;
    uint32_t local_key;
    uint64_t remote_address;
    uint32_t remote_key;
    uint32_t size_bytes;
  };
  Result<Piece> next_piece(const TransferOp& op, uint32_t done_bytes,
                           const RemoteKeys::Region& remote);
  // Makes the operation's local memory known to the device.
  static Status pin(const TransferOp& op, const RdmaRegion& region);
  void add_to_chain(Chain& chain, const Piece& piece, ibv_wr_opcode opcode);
  // The number of the request that is posted next.
  uint64_t number_request();
  void close_request(ibv_send_wr& request, ibv_wr_opcode opcode);
  // Whether the keys for the operation's remote memory are here. Asks for what is missing.
  bool keys_are_here(const TransferOp& op, RemoteKeys::Region& remote);
  void ask_for(RemoteKeys::Region& remote, size_t chunk);
  // Posts one signalled request that carries no operation.
  Status post_single(ibv_send_wr request, RequestKind kind);
  // Whether there is room for one more message.
  bool can_send() const;
  Status post_message(std::span<const std::byte> message, std::optional<uint32_t> immediate);
  Status send_key_message(const KeyMessage& message);
  void take_key_message(std::span<const std::byte> bytes);
  void answer_questions();
  Status post_read_of_flush_word();

  // Takes what has completed, and notices the end. Never blocks. Returns whether there was
  // anything.
  bool progress();
  bool take_completions();
  void take_completion(const ibv_wc& completion);
  void take_failure(const ibv_wc& completion);
  void notice_stop();
  void take_events();
  ibv_qp_state queue_pair_state() const;
  // Until something has happened, or may have: looks for a while, then sleeps.
  void wait(Deadline deadline);
  void sleep(Deadline deadline);
  // Waits until `done`. Errors: kTimeout, or why the endpoint is dead.
  template <typename Condition>
  Status wait_until(Condition done, Deadline deadline);

  bool alive() const { return !error_.has_value(); }
  tl::unexpected<Error> dead() const { return tl::unexpected<Error>(*error_); }
  void die(const Error& error);
  void drain();

  std::shared_ptr<RdmaDevice> device_;
  std::shared_ptr<Registrar> registrar_;
  const RdmaOptions options_;
  const std::string peer_;
  WakeEvent wake_event_;
  std::atomic<bool> shut_down_requested_{false};
  int other_fd_ = -1;  // what the owner waits for as well
  bool other_is_ready_ = false;
  std::optional<Error> error_;

  std::unique_ptr<MessageBuffers> buffers_;
  VerbsHandle<rdma_event_channel> channel_;
  VerbsHandle<ibv_comp_channel> completion_channel_;
  VerbsHandle<ibv_cq> completion_queue_;
  VerbsHandle<rdma_cm_id> id_;  // and its queue pair
  FlushWord peer_flush_word_{};
  bool begun_ = false;

  RemoteKeys remote_keys_;
  std::shared_ptr<KeyMailbox> mailbox_;
  std::vector<KeyMessage> answers_;       // that are to be sent
  std::unique_ptr<StagingRing> staging_;  // made when it is first needed
  std::span<const std::byte> staged_;     // the operation being posted, in the ring
  std::array<uint64_t, kRdmaRequestsMax> staging_ends_{};  // by request

  PostedWork work_{kRdmaRequestsMax, kRdmaOperationsInFlightMax};
  uint32_t inline_bytes_max_ = 0;  // what the device takes in a work request
  std::array<ibv_send_wr, kBatchMax> requests_;
  std::array<ibv_sge, kBatchMax> pieces_;
  std::array<uint64_t, kRdmaMessagesInFlightMax> message_requests_{};  // that used each buffer last
  uint32_t next_message_ = 0;
  // Messages that nobody has asked for yet; there are never more than buffers.
  std::array<ReceivedMessage, kRdmaMessagesInFlightMax> inbox_;
  uint32_t inbox_pushed_ = 0;
  uint32_t inbox_taken_ = 0;
  Deadline next_sign_of_life_{};
  uint64_t sign_of_life_ = 0;  // the last request for one
  Deadline sign_of_life_until_{};
  std::optional<Deadline> stopped_until_;  // the queue pair has stopped; the reason is awaited
};

template <typename Condition>
Status RdmaEndpoint::wait_until(Condition done, Deadline deadline) {
  while (true) {
    progress();
    if (shut_down_requested_ && !alive()) return dead();
    if (done()) return {};
    if (!alive()) return dead();
    if (Clock::now() >= deadline) return fail(Errc::kTimeout, "the deadline passed");
    wait(deadline);
  }
}

}  // namespace godwit
