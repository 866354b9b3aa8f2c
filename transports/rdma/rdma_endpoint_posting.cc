// SPDX-License-Identifier: Apache-2.0
//
// How operations become chains of work requests. Nothing here allocates, but where the peer's
// memory, or the ring for copies, is used for the first time.
#include <algorithm>
#include <cerrno>

#include "engine/base/check.h"
#include "transports/rdma/memory_address.h"
#include "transports/rdma/rdma_endpoint.h"
#include "transports/rdma/rdma_region.h"

namespace godwit {
namespace {

constexpr uint64_t kRequestBytesMax = 1 * kMiB;
// Requests that one operation can take: where both ends change chunks in it.
constexpr size_t kPiecesMax = 3;
constexpr auto kKeysPatience = milliseconds(20);

RequestKind kind_of(ibv_wr_opcode opcode) {
  return opcode == IBV_WR_RDMA_READ ? RequestKind::kRead : RequestKind::kWrite;
}

}  // namespace

Result<size_t> RdmaEndpoint::post_writes(std::span<const TransferOp> ops, SourceMemory) {
  return post(ops, IBV_WR_RDMA_WRITE);
}

Result<size_t> RdmaEndpoint::post_reads(std::span<const TransferOp> ops) {
  return post(ops, IBV_WR_RDMA_READ);
}

Result<size_t> RdmaEndpoint::post(std::span<const TransferOp> ops, ibv_wr_opcode opcode) {
  progress();
  if (!alive()) return dead();
  size_t accepted = 0;
  while (accepted < ops.size()) {
    const uint32_t free = work_.requests_free();
    const size_t room = std::min<size_t>(work_.operations_free(), ops.size() - accepted);
    if (free <= kRdmaRequestsReserved || room == 0) break;
    Result<Chain> chain =
        make_chain(ops.subspan(accepted, room), opcode, free - kRdmaRequestsReserved);
    if (!chain) {
      die(chain.error());
      return dead();
    }
    if (chain->requests == 0) break;
    ibv_send_wr* bad = nullptr;
    if (const int error = ibv_post_send(id_->qp, requests_.data(), &bad); error != 0) {
      die(fail_errno(error, "post {} requests to {}", chain->requests, peer_).value());
      return dead();
    }
    accepted += chain->operations;
  }
  // Nothing of the caller's is on its way, so what there is to wait for are the peer's keys.
  if (accepted == 0 && !work_.has_operations()) {
    wait(deadline_in(kKeysPatience));
    if (!alive()) return dead();
  }
  return accepted;
}

Result<RdmaEndpoint::Chain> RdmaEndpoint::make_chain(std::span<const TransferOp> ops,
                                                     ibv_wr_opcode opcode, size_t requests_max) {
  requests_max = std::min(requests_max, kBatchMax);
  Chain chain;
  for (const TransferOp& op : ops) {
    if (chain.requests + kPiecesMax > requests_max) break;
    RemoteKeys::Region& remote = remote_keys_.find(op.remote);
    // SAFETY: registered by our transport, as the interface requires.
    const auto& region = static_cast<const RdmaRegion&>(*op.local);
    if (!keys_are_here(op, remote)) {
      // The peer pins its end meanwhile.
      RETURN_IF_ERROR(pin(op, region));
      break;
    }
    if (region.chunks() == nullptr) {
      if (staging_ == nullptr) {
        ASSIGN_OR_RETURN(staging_, StagingRing::make(*device_));
      }
      if (!staging_->has_room(op.size_bytes)) break;
      staged_ = staging_->copy(region.bytes().subspan(op.local_offset_bytes, op.size_bytes));
    }
    for (uint32_t done = 0; done < op.size_bytes;) {
      ASSIGN_OR_RETURN(const Piece piece, next_piece(op, done, remote));
      add_to_chain(chain, piece, opcode);
      done += piece.size_bytes;
    }
    work_.add_operation(op.tag);
    ++chain.operations;
  }
  if (chain.requests == 0) return chain;
  ibv_send_wr& last = requests_[chain.requests - 1];
  close_request(last, opcode);
  last.send_flags = IBV_SEND_SIGNALED;
  last.next = nullptr;
  return chain;
}

Status RdmaEndpoint::pin(const TransferOp& op, const RdmaRegion& region) {
  PinnedChunks* const chunks = region.chunks();
  if (chunks == nullptr) return {};
  const size_t last = chunks->map().index_of(op.local_offset_bytes + op.size_bytes - 1);
  for (size_t chunk = chunks->map().index_of(op.local_offset_bytes); chunk <= last; ++chunk)
    RETURN_IF_ERROR(chunks->ensure(chunk));
  return {};
}

Result<RdmaEndpoint::Piece> RdmaEndpoint::next_piece(const TransferOp& op, uint32_t done_bytes,
                                                     const RemoteKeys::Region& remote) {
  const auto& region = static_cast<const RdmaRegion&>(*op.local);
  const uint64_t remote_offset = op.remote_offset_bytes + done_bytes;
  const size_t remote_chunk = remote.map.index_of(remote_offset);
  uint64_t size =
      std::min<uint64_t>(op.size_bytes - done_bytes, remote.map.end(remote_chunk) - remote_offset);
  Piece piece{.local_address = 0,
              .local_key = 0,
              .remote_address = op.remote.base + remote_offset,
              .remote_key = remote.keys[remote_chunk],
              .size_bytes = 0};
  if (PinnedChunks* const chunks = region.chunks(); chunks != nullptr) {
    const uint64_t offset = op.local_offset_bytes + done_bytes;
    const size_t chunk = chunks->map().index_of(offset);
    ASSIGN_OR_RETURN(const ibv_mr* registered, chunks->ensure(chunk));
    size = std::min(size, chunks->map().end(chunk) - offset);
    piece.local_address = address_of(region.bytes()) + offset;
    piece.local_key = registered->lkey;
  } else {
    piece.local_address = address_of(staged_) + done_bytes;
    piece.local_key = staging_->local_key();
  }
  piece.size_bytes = static_cast<uint32_t>(size);
  return piece;
}

// Neighbours become one request.
void RdmaEndpoint::add_to_chain(Chain& chain, const Piece& piece, ibv_wr_opcode opcode) {
  if (chain.requests > 0) {
    ibv_send_wr& last = requests_[chain.requests - 1];
    ibv_sge& bytes = pieces_[chain.requests - 1];
    if (bytes.lkey == piece.local_key && bytes.addr + bytes.length == piece.local_address &&
        last.wr.rdma.rkey == piece.remote_key &&
        last.wr.rdma.remote_addr + bytes.length == piece.remote_address &&
        bytes.length + piece.size_bytes <= kRequestBytesMax) {
      bytes.length += piece.size_bytes;
      return;
    }
    close_request(last, opcode);
    last.next = &requests_[chain.requests];
  }
  ibv_send_wr& request = requests_[chain.requests];
  ibv_sge& bytes = pieces_[chain.requests];
  bytes = {.addr = piece.local_address, .length = piece.size_bytes, .lkey = piece.local_key};
  request = {};
  request.sg_list = &bytes;
  request.num_sge = 1;
  request.opcode = opcode;
  request.wr.rdma.remote_addr = piece.remote_address;
  request.wr.rdma.rkey = piece.remote_key;
  ++chain.requests;
}

// Nothing is added to this request any more.
void RdmaEndpoint::close_request(ibv_send_wr& request, ibv_wr_opcode opcode) {
  request.wr_id = request_id(kind_of(opcode), number_request());
}

uint64_t RdmaEndpoint::number_request() {
  const uint64_t number = work_.post();
  if (staging_) staging_ends_[number % kRdmaRequestsMax] = staging_->end();
  return number;
}

bool RdmaEndpoint::keys_are_here(const TransferOp& op, RemoteKeys::Region& remote) {
  const size_t first = remote.map.index_of(op.remote_offset_bytes);
  const size_t last = remote.map.index_of(op.remote_offset_bytes + op.size_bytes - 1);
  bool here = true;
  for (size_t chunk = first; chunk <= last; ++chunk)
    here &= remote.states[chunk] == RemoteKeys::Region::State::kKnown;
  // Also for what comes next, most likely, so that it is ready by then.
  for (size_t chunk = first; chunk <= last + 1 && chunk < remote.map.count(); ++chunk)
    ask_for(remote, chunk);
  return here;
}

void RdmaEndpoint::ask_for(RemoteKeys::Region& remote, size_t chunk) {
  if (remote.states[chunk] != RemoteKeys::Region::State::kUnknown || !can_send()) return;
  const Status sent = send_key_message({.kind = KeyMessageKind::kWanted,
                                        .chunk = static_cast<uint32_t>(chunk),
                                        .region = remote.name,
                                        .key = 0,
                                        .error = 0});
  if (sent) remote.states[chunk] = RemoteKeys::Region::State::kAsked;
}

}  // namespace godwit
