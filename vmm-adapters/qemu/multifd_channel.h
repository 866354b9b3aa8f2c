// SPDX-License-Identifier: Apache-2.0
//
// A multifd channel of a QEMU that migrates, which ends here: the destination's QEMU has no
// multifd, which it does not compare. Of its packets only the headers are looked at; the pages that
// they list are sent from guest memory, and what the packet has of them is thrown away. Pages of
// other blocks go to the main channel (multifd_meeting.h).
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
  // Pages of `blocks` are placed. Ownership: the meeting outlives this.
  static Result<std::unique_ptr<MultifdChannel>> make(std::unique_ptr<VmmStream> stream,
                                                      const std::vector<BlockDescription>& blocks,
                                                      MultifdMeeting& meeting);

  VmmStream& stream() override { return *stream_; }
  Result<VmmStream::State> read_some(Output& output) override;
  uint64_t read_bytes() const override { return read_bytes_; }
  void shut_down() override;

 private:
  static constexpr size_t kPacketPagesMax = stream::kMultifdPacketBytes / kBasePageBytes;

  // What pages are spliced into, and out of again, so that nobody copies them.
  struct Drain {
    UniqueFd pipe_in;
    UniqueFd pipe_out;
    UniqueFd nowhere;
    size_t capacity_bytes;
  };

  MultifdChannel(std::unique_ptr<VmmStream> stream, const std::vector<BlockDescription>& blocks,
                 MultifdMeeting& meeting, Drain drain)
      : blocks_(blocks), meeting_(meeting), stream_(std::move(stream)), drain_(std::move(drain)) {}

  Result<VmmStream::State> read_items(Output& output);
  Result<VmmStream::State> throw_away();
  Status handle(const stream::MultifdEvent& event, Output& output);
  Status handle_packet(const stream::MultifdPacket& packet, Output& output);
  Status place(const stream::MultifdPacket& packet, uint32_t block, Output& output);
  Status keep(const stream::MultifdPages& pages, stream::Bytes bytes);
  Status keep_packet();
  std::optional<uint32_t> find_block(std::string_view name);
  VmmStream::State end();

  const std::vector<BlockDescription> blocks_;
  MultifdMeeting& meeting_;
  const std::unique_ptr<VmmStream> stream_;
  const Drain drain_;
  stream::MultifdParser parser_;
  uint64_t read_bytes_ = 0;
  uint32_t last_block_ = 0;  // that a packet was of
  bool sync_due_ = false;    // after what is left of the packet
  std::array<PageRun, kPacketPagesMax> runs_{};
  std::array<std::byte, 64 * kKiB> buffer_{};
  // Of a packet whose pages cannot be placed; otherwise it is empty.
  std::string kept_block_;
  std::vector<uint64_t> kept_offsets_;
  std::vector<std::byte> kept_;
};

}  // namespace godwit::qemu
