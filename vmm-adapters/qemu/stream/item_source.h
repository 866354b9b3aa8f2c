// SPDX-License-Identifier: Apache-2.0
//
// What the parsers of QEMU's channels have in common: a stream that comes in pieces of any size is
// cut into *items* (small, read as a whole), *payloads* (bytes whose number is known and whose
// content is not looked at), and, once something was not understood, the *opaque* rest.
//
// Everything handed out lies in the piece that was fed, without a copy, except an item that lies
// across pieces: that is put together in a small buffer here. What is handed out, in order, is the
// stream: no byte is left out, added or handed out twice.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/result.h"
#include "vmm-adapters/qemu/stream/byte_reader.h"

namespace godwit::qemu::stream {

class ItemSource {
 public:
  enum class Got : uint8_t {
    kNothing = 1,  // the piece is used up
    kItem = 2,
    kPayload = 3,
    kOpaque = 4,
  };

  // Requires: the piece before is used up.
  // Ownership: `piece` stays as it is until then.
  void feed(Bytes piece) {
    CHECK(piece_.empty());
    piece_ = piece;
  }

  // Hands out what comes next. `step(ByteReader&)` reads one item and returns a Status; it changes
  // nothing when the reader comes up short. One that reads no byte has only moved on to another
  // kind of item, and is called again. Its error makes the rest opaque, from the first byte of the
  // item that it could not read.
  template <typename Step>
  Got next(Step&& step, Bytes& bytes);

  // To be called by `step`: so many bytes after this item are its payload.
  void expect_payload(uint64_t size_bytes) { payload_left_bytes_ = size_bytes; }
  // To be called by `step`: whatever comes after this item is opaque.
  void give_up(const Error& reason) {
    if (!reason_) reason_ = reason;
  }

  // The caller has read so many bytes of the payload from its connection itself.
  // Requires: the piece is used up, and the payload has that many bytes left.
  void bypass(uint64_t size_bytes) {
    CHECK(piece_.empty() && size_bytes <= payload_left_bytes_);
    payload_left_bytes_ -= size_bytes;
    offset_bytes_ += size_bytes;
  }

  // The connection has ended: takes what there is of an item that will never be whole.
  Bytes take_rest() {
    held_returned_ = true;
    in_piece_bytes_ = 0;
    offset_bytes_ += held_.size();
    return held_;
  }

  uint64_t payload_left_bytes() const { return payload_left_bytes_; }
  // Of the byte after everything that was handed out.
  uint64_t offset_bytes() const { return offset_bytes_; }
  bool is_opaque() const { return reason_.has_value(); }
  const std::optional<Error>& reason() const { return reason_; }
  bool holds_bytes() const { return !held_returned_ && !held_.empty(); }

 private:
  // How much of a piece is put to an item that has begun before it, at a time: items are small, but
  // pieces need not be.
  static constexpr size_t kGrowthBytes = 512;

  // Moves more of the piece to the item that lies across pieces. False when there is no more.
  bool hold_more() {
    if (held_.empty()) {
      held_.assign(piece_.begin(), piece_.end());
      piece_ = {};
      return false;
    }
    // What is held ends with in_piece_bytes_ that are still in the piece, too.
    piece_ = piece_.subspan(in_piece_bytes_);
    const size_t more = std::min(piece_.size(), kGrowthBytes);
    held_.insert(held_.end(), piece_.begin(), piece_.begin() + static_cast<ptrdiff_t>(more));
    in_piece_bytes_ = more;
    return more != 0;
  }
  Bytes take(size_t size_bytes) {
    offset_bytes_ += size_bytes;
    if (held_.empty()) {
      const Bytes taken = piece_.first(size_bytes);
      piece_ = piece_.subspan(size_bytes);
      return taken;
    }
    const size_t before_piece = held_.size() - in_piece_bytes_;
    CHECK(size_bytes >= before_piece && size_bytes <= held_.size());
    piece_ = piece_.subspan(size_bytes - before_piece);
    in_piece_bytes_ = 0;
    held_returned_ = true;
    return Bytes(held_).first(size_bytes);
  }

  Bytes piece_;
  std::vector<std::byte> held_;  // an item that lies across pieces
  size_t in_piece_bytes_ = 0;    // at the end of held_, and at the beginning of piece_ as well
  bool held_returned_ = false;   // the caller has it until the next call
  uint64_t payload_left_bytes_ = 0;
  uint64_t offset_bytes_ = 0;
  std::optional<Error> reason_;
};

template <typename Step>
ItemSource::Got ItemSource::next(Step&& step, Bytes& bytes) {
  if (held_returned_) {
    held_.clear();
    held_returned_ = false;
  }
  for (;;) {
    if (payload_left_bytes_ != 0 || reason_) {
      // What looked like the beginning of an item comes first.
      const size_t held_bytes = held_.size() - in_piece_bytes_;
      if (held_bytes == 0 && piece_.empty()) return Got::kNothing;
      const bool payload = payload_left_bytes_ != 0;
      const uint64_t size_bytes = held_bytes != 0 ? held_bytes : piece_.size();
      if (!payload) {
        bytes = take(size_bytes);
        return Got::kOpaque;
      }
      CHECK(held_bytes <= payload_left_bytes_);
      bytes = take(std::min(size_bytes, payload_left_bytes_));
      payload_left_bytes_ -= bytes.size();
      return Got::kPayload;
    }
    if (piece_.empty() && held_.empty()) return Got::kNothing;
    if (!held_.empty() && in_piece_bytes_ == 0 && !hold_more()) return Got::kNothing;

    ByteReader reader(held_.empty() ? piece_ : Bytes(held_));
    const Status status = step(reader);
    if (reader.is_short()) {
      if (!hold_more()) return Got::kNothing;
      continue;
    }
    if (!status) {
      give_up(status.error());
      continue;
    }
    if (reader.consumed() == 0) continue;
    bytes = take(reader.consumed());
    return Got::kItem;
  }
}

}  // namespace godwit::qemu::stream
