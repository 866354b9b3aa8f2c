// SPDX-License-Identifier: Apache-2.0
//
// One lane over TCP. One thread, one ring, and one loop (turn()) that both sends and receives, so
// that two peers that write to each other at once cannot wait for each other.
//
// Receiving: header, then body, then payload, each as one io_uring recvmsg with MSG_WAITALL. The
// payload is received to where it belongs: the segments of a write in registered memory, the local
// memory of a read. Nothing is touched before header and body have been checked and every segment
// has been found inside a region that the peer may use in this way.
//
// Sending: a queue of frames, one under way at a time. Small frames and copied payloads leave as
// one io_uring sendmsg; large payloads through a pipe (payload_pipe.h) or with SEND_ZC.
//
// A write is complete when the peer has acknowledged its frame. Acks are cumulative and sent when
// asked for by kFlush, every few MiB, and when there is nothing more to read.
//
// Invariant: everything on the data path is allocated in open(); nothing a peer sends can make it
// grow.
#pragma once

#include <sys/uio.h>

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "engine/base/unique_fd.h"
#include "engine/base/wake_event.h"
#include "engine/transport.h"
#include "transports/tcp/fixed_buffers.h"
#include "transports/tcp/frames.h"
#include "transports/tcp/inbox.h"
#include "transports/tcp/io_vectors.h"
#include "transports/tcp/options.h"
#include "transports/tcp/payload_pipe.h"
#include "transports/tcp/region_table.h"
#include "transports/tcp/ring.h"
#include "transports/tcp/transfer_window.h"

namespace godwit {

inline constexpr uint32_t kTcpOperationsInFlightMax = 16384;

class TcpEndpoint final : public Endpoint {
 public:
  // `socket` is connected, non-blocking, has its options, and its peer is who it should be.
  static Result<std::unique_ptr<TcpEndpoint>> open(UniqueFd socket, std::string peer,
                                                   const TcpOptions& options,
                                                   std::shared_ptr<RegionTable> regions);
  // Thread: the owner, or any after the owner's thread has ended.
  ~TcpEndpoint() override;

  Result<size_t> post_writes(std::span<const TransferOp> ops, SourceMemory memory) override;
  Result<size_t> post_reads(std::span<const TransferOp> ops) override;
  Result<size_t> poll(std::span<Completion> completions, Deadline deadline) override;
  Status flush(Deadline deadline) override;
  // Returns when the kernel has the message and all that was posted before. After kTimeout the
  // message is either not sent at all, or, as the text then says, still on its way.
  Status send(std::span<const std::byte> message, Deadline deadline) override;
  Result<size_t> receive(std::span<std::byte> message, Deadline deadline) override;
  void shut_down() override;
  UniqueFd release_socket() override;

 private:
  // What one submission to the ring was for.
  enum class Purpose : uint64_t {
    kReceive = 1,
    kSend = 2,
    kSocketWritable = 3,
    kWake = 4,
    kCancel = 5
  };
  enum class ReceiveStage { kHeader, kBody, kPayload };
  enum class SendStage {
    kIdle,      // between frames
    kWhole,     // sendmsg of head and payload
    kHead,      // the head alone, at once; the payload follows
    kPipe,      // payload through the pipe
    kZeroCopy,  // payload with SEND_ZC, vector by vector
  };
  enum class Farewell { kNone, kTellPeer };

  struct QueuedFrame {
    FrameType type;
    Transfer* transfer;  // of kWrite and kReadRequest
  };
  static constexpr uint32_t kQueueCapacity = 256;

  // A read that the peer asked for.
  struct ServedRead {
    uint64_t sequence;
    uint32_t payload_bytes;
    uint16_t segment_count;
    std::array<iovec, kFrameSegmentsMax> local;
    std::array<uint64_t, kFrameSegmentsMax> local_keys;
  };

  TcpEndpoint(UniqueFd socket, WakeEvent wake_event, PayloadPipe pipe, std::string peer,
              const TcpOptions& options, std::shared_ptr<RegionTable> regions);

  // endpoint.cc: life and death.
  Status start();
  bool alive() const { return !error_.has_value(); }
  tl::unexpected<Error> dead() const { return tl::unexpected<Error>(*error_); }
  void die(const Error& error, Farewell farewell);
  void die_of_peer(const Error& error);  // the peer broke the protocol
  void die_of_socket(int os_errno);
  void say_goodbye(const Error& error);
  void finish_frame_before(Deadline deadline);
  void end_operations();
  void flush_outstanding();

  // endpoint_datapath.cc: the loop.
  static constexpr Deadline kWithoutWaiting = Deadline::min();
  void turn(Deadline deadline);
  void submit();
  void arm();
  void reap();
  void complete(Purpose purpose, int result, unsigned flags);
  Result<size_t> post(std::span<const TransferOp> ops, FrameType type, SourceMemory memory);
  void complete_transfer(const Transfer& transfer, const TornFrame* torn);

  // endpoint_send_datapath.cc
  void pump_send();
  bool can_send() const;
  bool start_next_frame();
  void start_queued(const QueuedFrame& frame);
  void start_ack();
  void start_response();
  void start_frame(FrameType type, uint8_t flags, uint16_t segments, uint32_t body_bytes);
  void add_payload(std::span<const iovec> pieces, std::span<const uint64_t> keys);
  void choose_stage();
  void send_head();
  void send_through_pipe();
  void submit_whole();
  void submit_zero_copy();
  void on_sent(int result);
  void finish_frame();
  void on_send_error(int os_errno);
  void queue(FrameType type, Transfer* transfer);

  // endpoint_receive_datapath.cc
  void receive_next(ReceiveStage stage, size_t vector_count);
  void on_received(int result);
  Status on_header();
  Status on_body();
  Status on_payload();
  Status on_write();
  Status on_read_request();
  Status on_read_response();
  Status on_ack();
  Status on_goodbye();
  Status find_segments(RemoteAccess needed, std::span<iovec> local);
  void frame_is_done();

  // Who we are.
  UniqueFd socket_;
  WakeEvent wake_event_;
  const std::string peer_;
  const TcpOptions options_;
  // Shared by the transport, its regions and its endpoints, which may be destroyed in any order.
  std::shared_ptr<RegionTable> region_table_;
  RegionView regions_;
  std::unique_ptr<Ring> ring_;  // made by the owner's first call
  std::thread::id owner_;
  std::atomic<bool> shut_down_requested_{false};
  std::optional<Error> error_;
  bool wake_pending_ = false;

  // Our operations.
  TransferWindow writes_{kWriteFramesInFlightMax};
  TransferWindow reads_{kReadFramesInFlightMax};
  CompletionQueue completions_{kTcpOperationsInFlightMax};
  uint32_t operations_outstanding_ = 0;  // accepted and not yet polled
  Transfer* appendable_ = nullptr;       // the last in the queue, of which nothing is sent
  FrameType appendable_type_ = FrameType::kWrite;

  // Sending.
  std::array<QueuedFrame, kQueueCapacity> queue_;
  uint64_t queue_pushed_ = 0;
  uint64_t queue_popped_ = 0;
  SendStage send_stage_ = SendStage::kIdle;
  bool send_pending_ = false;
  bool writable_pending_ = false;
  bool socket_full_ = false;
  bool closing_ = false;
  bool response_was_last_ = false;
  int send_errno_ = 0;
  uint64_t sequence_started_ = 0;
  uint64_t sequence_sent_ = 0;
  FrameType sending_type_ = FrameType::kFlush;
  std::array<std::byte, kFrameHeaderBytes + kFrameSegmentsMax * kSegmentBytes + kFrameBlocksMax * 4>
      head_;
  std::array<iovec, 2 + kFrameSegmentsMax> send_vectors_;
  std::array<uint64_t, 2 + kFrameSegmentsMax> send_keys_;  // regions, for SEND_ZC
  size_t send_vector_count_ = 0;
  size_t send_payload_at_ = 0;  // the first vector of the payload
  IoVectors send_left_;
  msghdr send_message_{};
  PayloadPipe pipe_;
  FixedBuffers fixed_buffers_;

  // Our messages.
  std::unique_ptr<std::byte[]> message_;
  uint32_t message_bytes_ = 0;
  bool message_queued_ = false;
  uint64_t inbox_bytes_sent_ = 0;      // as the peer's inbox counts
  uint64_t inbox_bytes_consumed_ = 0;  // by the peer

  // Receiving.
  ReceiveStage receive_stage_ = ReceiveStage::kHeader;
  bool receive_pending_ = false;
  FrameHeader received_{};
  uint64_t sequence_received_ = 0;
  std::array<std::byte, kFrameHeaderBytes> header_bytes_;
  std::unique_ptr<std::byte[]> body_;
  std::array<Segment, kFrameSegmentsMax> segments_;
  std::array<iovec, kFrameSegmentsMax> receive_local_;    // where the payload goes
  std::array<iovec, kFrameSegmentsMax> receive_vectors_;  // what is still to come
  IoVectors receive_left_;
  msghdr receive_message_{};
  TornFrame torn_;
  Inbox inbox_;

  // Acks.
  Ack ack_{};
  Ack peer_ack_{};
  bool ack_wanted_ = false;
  uint32_t frames_unacknowledged_ = 0;
  uint64_t bytes_unacknowledged_ = 0;
  uint64_t inbox_bytes_acknowledged_ = 0;

  // The peer's reads.
  std::unique_ptr<ServedRead[]> served_;
  uint64_t served_pushed_ = 0;
  uint64_t served_popped_ = 0;
};

}  // namespace godwit
