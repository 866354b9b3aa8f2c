// SPDX-License-Identifier: Apache-2.0
//
// TcpEndpoint, data path: frames from the peer. Every error that leaves one of these functions is
// the peer's fault and ends the connection (die_of_peer). The order in each is: check all of it,
// then act.
#include <algorithm>
#include <cerrno>

#include "transports/tcp/endpoint.h"
#include "transports/tcp/payload_checksums.h"

namespace godwit {
namespace {

// An ack is due after this much, even when more is waiting to be read.
constexpr uint64_t kBytesPerAckMax = 4 << 20;
constexpr uint32_t kFramesPerAckMax = 16;

bool allows(RemoteAccess access, RemoteAccess needed) {
  return (static_cast<unsigned>(access) & static_cast<unsigned>(needed)) != 0;
}

}  // namespace

void TcpEndpoint::receive_next(ReceiveStage stage, size_t vector_count) {
  receive_stage_ = stage;
  receive_left_ = IoVectors(std::span(receive_vectors_).first(vector_count));
}

void TcpEndpoint::on_received(int result) {
  if (result == 0) {
    return die_of_socket(0);
  }
  if (result < 0) {
    if (result == -EINTR || result == -EAGAIN) return;
    return die_of_socket(-result);
  }
  receive_left_.advance(static_cast<size_t>(result));
  if (receive_left_.bytes_left() > 0) return;
  Status status;
  switch (receive_stage_) {
    case ReceiveStage::kHeader:
      status = on_header();
      break;
    case ReceiveStage::kBody:
      status = on_body();
      break;
    case ReceiveStage::kPayload:
      status = on_payload();
      break;
  }
  if (!status && alive()) die_of_peer(status.error());
}

Status TcpEndpoint::on_header() {
  ASSIGN_OR_RETURN(received_, decode_header(header_bytes_));
  if (received_.sequence != sequence_received_ + 1) {
    return fail(Errc::kCorrupt, "frame {} arrived where frame {} was due", received_.sequence,
                sequence_received_ + 1);
  }
  if (received_.body_bytes == 0) return on_body();
  receive_vectors_[0] = {body_.get(), received_.body_bytes};
  receive_next(ReceiveStage::kBody, 1);
  return {};
}

Status TcpEndpoint::on_body() {
  RETURN_IF_ERROR(check_body(received_, {body_.get(), received_.body_bytes}));
  switch (received_.type) {
    case FrameType::kHello:
    case FrameType::kWelcome:
      return fail(Errc::kCorrupt, "a second greeting on a connection that stands");
    case FrameType::kWrite:
      return on_write();
    case FrameType::kReadRequest:
      return on_read_request();
    case FrameType::kReadResponse:
      return on_read_response();
    case FrameType::kMessage:
      if (!inbox_.push({body_.get(), received_.body_bytes})) {
        return fail(Errc::kCorrupt, "more messages than the inbox has room for");
      }
      break;
    case FrameType::kAck:
      RETURN_IF_ERROR(on_ack());
      break;
    case FrameType::kFlush:
      ack_wanted_ = true;
      break;
    case FrameType::kGoodbye:
      return on_goodbye();
  }
  frame_is_done();
  return {};
}

// Finds where each segment lies in our memory, or says why it must not be touched.
Status TcpEndpoint::find_segments(RemoteAccess needed, std::span<iovec> local) {
  regions_.refresh();
  for (uint16_t i = 0; i < received_.segment_count; ++i) {
    const Segment& segment = segments_[i];
    const RegionEntry* region = regions_.find(segment.key);
    if (region == nullptr) return fail(Errc::kCorrupt, "segment {} names an unknown region", i);
    if (!allows(region->access, needed)) {
      return fail(Errc::kCorrupt, "segment {} would {} a region that does not allow it", i,
                  needed == RemoteAccess::kWrite ? "write" : "read");
    }
    if (segment.offset_bytes > region->size_bytes ||
        segment.length_bytes > region->size_bytes - segment.offset_bytes) {
      return fail(Errc::kCorrupt, "{} bytes at offset {:#x} are outside a region of {:#x} bytes",
                  segment.length_bytes, segment.offset_bytes, region->size_bytes);
    }
    local[i] = {region->start + segment.offset_bytes, segment.length_bytes};
  }
  return {};
}

Status TcpEndpoint::on_write() {
  RETURN_IF_ERROR(decode_segments(received_, {body_.get(), received_.body_bytes}, segments_));
  if (frames_unacknowledged_ == kWriteFramesInFlightMax) {
    return fail(Errc::kCorrupt, "more than {} writes without waiting for an ack",
                kWriteFramesInFlightMax);
  }
  RETURN_IF_ERROR(find_segments(RemoteAccess::kWrite, receive_local_));
  std::copy_n(receive_local_.begin(), received_.segment_count, receive_vectors_.begin());
  receive_next(ReceiveStage::kPayload, received_.segment_count);
  return {};
}

Status TcpEndpoint::on_read_request() {
  RETURN_IF_ERROR(decode_segments(received_, {body_.get(), received_.body_bytes}, segments_));
  if (served_pushed_ - served_popped_ == kReadFramesInFlightMax) {
    return fail(Errc::kCorrupt, "more than {} reads without waiting for an answer",
                kReadFramesInFlightMax);
  }
  ServedRead& read = served_[served_pushed_ % kReadFramesInFlightMax];
  RETURN_IF_ERROR(find_segments(RemoteAccess::kRead, read.local));
  read.sequence = received_.sequence;
  read.segment_count = received_.segment_count;
  read.payload_bytes = 0;
  for (uint16_t i = 0; i < read.segment_count; ++i) {
    read.local_keys[i] = segments_[i].key;
    read.payload_bytes += segments_[i].length_bytes;
  }
  ++served_pushed_;
  frame_is_done();
  return {};
}

Status TcpEndpoint::on_read_response() {
  const std::span<const std::byte> body{body_.get(), received_.body_bytes};
  if (reads_.empty() || reads_.oldest().sequence == 0 ||
      reads_.oldest().sequence > sequence_sent_ ||
      decode_request_sequence(body) != reads_.oldest().sequence) {
    return fail(Errc::kCorrupt, "an answer to a read that was not asked for");
  }
  const Transfer& read = reads_.oldest();
  const size_t checksums = checksums_in(received_, body).size() / 4;
  const bool checksummed = (received_.flags & kFlagChecksummed) != 0;
  if (received_.payload_bytes != read.payload_bytes ||
      checksums != (checksummed ? read.block_count : 0) || body.size() != 8 + checksums * 4) {
    return fail(Errc::kCorrupt, "an answer of {} bytes to a read of {}", received_.payload_bytes,
                read.payload_bytes);
  }
  std::copy_n(read.local.begin(), read.segment_count, receive_local_.begin());
  std::copy_n(read.local.begin(), read.segment_count, receive_vectors_.begin());
  receive_next(ReceiveStage::kPayload, read.segment_count);
  return {};
}

Status TcpEndpoint::on_payload() {
  const bool is_write = received_.type == FrameType::kWrite;
  const uint16_t pieces = is_write ? received_.segment_count : reads_.oldest().segment_count;
  const auto local = std::span<const iovec>(receive_local_).first(pieces);
  const auto checksums = checksums_in(received_, {body_.get(), received_.body_bytes});
  uint32_t torn_count = 0;
  if (!checksums.empty()) torn_count = find_torn(local, checksums, torn_);
  if (!is_write) {
    // A read has no word for "frozen": the caller knows, and asks again.
    complete_transfer(reads_.oldest(), torn_count > 0 ? &torn_ : nullptr);
    reads_.close_oldest();
    frame_is_done();
    return {};
  }
  ++frames_unacknowledged_;
  bytes_unacknowledged_ += received_.payload_bytes;
  if (torn_count > 0) {
    if ((received_.flags & kFlagLive) == 0) {
      uint32_t first = 0;
      while ((torn_.blocks[first / 64] >> (first % 64) & 1) == 0) ++first;
      const std::byte* start = block_start(local, first);
      size_t piece = 0;
      while (start < local[piece].iov_base ||
             start >= static_cast<std::byte*>(local[piece].iov_base) + local[piece].iov_len) {
        ++piece;
      }
      return fail(Errc::kCorrupt,
                  "{} pages of frozen memory do not match their checksums, the first at offset "
                  "{:#x} of region {:#x}",
                  torn_count,
                  segments_[piece].offset_bytes +
                      static_cast<uint64_t>(start - static_cast<std::byte*>(local[piece].iov_base)),
                  segments_[piece].key);
    }
    torn_.sequence = received_.sequence;
    ack_.torn[ack_.torn_count++] = torn_;
  }
  if (bytes_unacknowledged_ >= kBytesPerAckMax || frames_unacknowledged_ >= kFramesPerAckMax) {
    ack_wanted_ = true;
  }
  frame_is_done();
  return {};
}

Status TcpEndpoint::on_ack() {
  RETURN_IF_ERROR(decode_ack({body_.get(), received_.body_bytes}, peer_ack_));
  const Ack& ack = peer_ack_;
  if (ack.sequence > sequence_sent_) {
    return fail(Errc::kCorrupt, "an ack for frame {}, but {} were sent", ack.sequence,
                sequence_sent_);
  }
  if (ack.inbox_bytes_consumed < inbox_bytes_consumed_ ||
      ack.inbox_bytes_consumed > inbox_bytes_sent_) {
    return fail(Errc::kCorrupt, "{} bytes of messages consumed of {}", ack.inbox_bytes_consumed,
                inbox_bytes_sent_);
  }
  inbox_bytes_consumed_ = ack.inbox_bytes_consumed;
  uint32_t torn = 0;
  while (!writes_.empty() && writes_.oldest().sequence != 0 &&
         writes_.oldest().sequence <= ack.sequence) {
    const Transfer& write = writes_.oldest();
    const bool is_torn = torn < ack.torn_count && ack.torn[torn].sequence == write.sequence;
    if (is_torn && write.memory == SourceMemory::kFrozen) {
      return fail(Errc::kCorrupt, "an ack calls frozen memory torn");
    }
    complete_transfer(write, is_torn ? &ack.torn[torn++] : nullptr);
    writes_.close_oldest();
  }
  if (torn != ack.torn_count)
    return fail(Errc::kCorrupt, "an ack calls frames torn that are not due");
  return {};
}

Status TcpEndpoint::on_goodbye() {
  ASSIGN_OR_RETURN(Goodbye goodbye, decode_goodbye({body_.get(), received_.body_bytes}));
  // What is cancelled or in doubt at the other end is not so here.
  const bool says_why = goodbye.code == Errc::kCorrupt || goodbye.code == Errc::kRefused ||
                        goodbye.code == Errc::kSystem;
  const Errc code = says_why ? goodbye.code : Errc::kPeerLost;
  const auto error = fail(code, "{} ended the connection: {}", peer_, goodbye.text.data());
  die(error.value(), Farewell::kNone);
  return {};
}

void TcpEndpoint::frame_is_done() {
  sequence_received_ = received_.sequence;
  receive_vectors_[0] = {header_bytes_.data(), header_bytes_.size()};
  receive_next(ReceiveStage::kHeader, 1);
}

}  // namespace godwit
