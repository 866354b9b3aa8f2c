// SPDX-License-Identifier: Apache-2.0
//
// A multifd channel of a QEMU that migrates. Of its packets only the headers are looked at; the
// pages that they list are sent from guest memory, and what the packet has of them is thrown away.
//
// Where the destination's QEMU has no multifd, which it does not compare, the channel ends here:
// pages of other blocks go to the main channel (multifd_meeting.h). Where it has, what is not
// placed goes on to it: packets of other blocks as they are, and syncs. It counts no packets, and
// so may miss those that are placed.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/unique_fd.h"
#include "engine/page_channel.h"
#include "engine/wire/messages.h"
#include "vmm-adapters/qemu/multifd_meeting.h"
#include "vmm-adapters/qemu/stream/multifd.h"

namespace godwit::qemu {

class MultifdChannel final : public PageChannel {
 public:
  // Pages of `blocks` are placed. What is not is written to `onward`; null: the channel ends here.
  // Ownership: the meeting outlives this.
  static Result<std::unique_ptr<MultifdChannel>> make(std::unique_ptr<VmmStream> stream,
                                                      const std::vector<BlockDescription>& blocks,
                                                      MultifdMeeting& meeting,
                                                      std::unique_ptr<VmmStream> onward = nullptr);

  VmmStream& stream() override { return *stream_; }
  Result<VmmStream::State> read_some(Output& output) override;
  uint64_t read_bytes() const override { return read_bytes_; }
  void end_reading() override;
  void shut_down() override;

 private:
  static constexpr size_t kPacketPagesMax = stream::kMultifdPacketBytes / kBasePageBytes;

  // Of the pages of a packet.
  enum class Use : uint8_t { kThrownAway = 1, kKept = 2, kPassedOn = 3 };

  // What pages are spliced into, and out of again, so that nobody copies them.
  struct Drain {
    UniqueFd pipe_in;
    UniqueFd pipe_out;
    UniqueFd nowhere;
    size_t capacity_bytes;
  };

  MultifdChannel(std::unique_ptr<VmmStream> stream, const std::vector<BlockDescription>& blocks,
                 MultifdMeeting& meeting, std::unique_ptr<VmmStream> onward, Drain drain)
      : blocks_(blocks),
        meeting_(meeting),
        stream_(std::move(stream)),
        onward_(std::move(onward)),
        drain_(std::move(drain)) {}

  Result<VmmStream::State> read_items(Output& output);
  Result<VmmStream::State> throw_away();
  Status handle(const stream::MultifdEvent& event, Output& output);
  Status handle_packet(const stream::MultifdPacket& packet, stream::Bytes bytes, Output& output);
  void hold_sync(const stream::MultifdPacket& packet, stream::Bytes bytes);
  Status place(const stream::MultifdPacket& packet, uint32_t block, Output& output);
  // Of a part of the packet's list: fills so many of runs_.
  Result<size_t> find_runs(const stream::MultifdPacket& packet, uint32_t block, PageRun listed);
  Status keep(const stream::MultifdPages& pages, stream::Bytes bytes);
  void begin_to_keep(const stream::MultifdPacket& packet);
  Status keep_packet();
  Status pass_on(stream::Bytes bytes);
  std::optional<uint32_t> find_block(std::string_view name);
  VmmStream::State end();

  const std::vector<BlockDescription> blocks_;
  MultifdMeeting& meeting_;
  const std::unique_ptr<VmmStream> stream_;
  const std::unique_ptr<VmmStream> onward_;
  const Drain drain_;
  stream::MultifdParser parser_;
  uint64_t read_bytes_ = 0;
  uint32_t last_block_ = 0;           // that a packet was of
  bool sync_due_ = false;             // after what is left of the packet
  std::vector<std::byte> held_sync_;  // to be passed on then; empty: it was, or nobody wants it
  Use use_ = Use::kThrownAway;
  std::array<PageRun, kPacketPagesMax> runs_{};
  std::array<std::byte, 64 * kKiB> buffer_{};
  // Of a packet whose pages are kept.
  std::string kept_block_;
  std::vector<uint64_t> kept_offsets_;
  std::vector<std::byte> kept_;
};

}  // namespace godwit::qemu
