// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/qemu_page_extractor.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "engine/base/units.h"
#include "vmm-adapters/qemu/stream/command.h"
#include "vmm-adapters/qemu/stream/stream_parser.h"
#include "vmm-adapters/qemu/stream/stream_writer.h"

namespace godwit::qemu {
namespace {

class QemuPageExtractor final : public PageExtractor {
 public:
  struct Options {
    MultifdMeeting* meeting = nullptr;
    bool channels_go_on = false;  // to the other end, where they meet again
    std::string note = {};        // why nothing is placed; empty: it is
  };
  QemuPageExtractor(const std::vector<BlockDescription>& blocks, const Options& options)
      : blocks_(blocks),
        meeting_(options.meeting),
        channels_go_on_(options.channels_go_on),
        parser_(stream::StreamParser::Options{}),
        writer_(stream::StreamWriter::Channel::kMain, parser_.blocks()),
        placing_(options.note.empty()),
        note_(options.note) {}

  Status take_apart(std::span<const std::byte> piece, Output& output) override;
  Status finish(Output& output) override;
  const std::string& note() const override { return note_; }

 private:
  Status handle(const stream::StreamEvent& event, Output& output);
  Status handle_record(const stream::StreamEvent& event, const stream::RamRecord& record,
                       Output& output);
  Status place(const stream::StreamEvent& event, const stream::Payload& payload, Output& output);
  std::optional<uint32_t> target_of(const stream::RamRecord& record);
  std::optional<uint32_t> find_target(uint32_t block) const;
  void pass_from_here_on(std::string why);
  Status bring_into_step(Output& output);
  void keep_last_page();
  bool has_channels() const { return meeting_ != nullptr && meeting_->is_expected(); }
  Status check_blocks() const;
  Status meet_channels(Output& output);
  Status complete(Output& output);

  const std::vector<BlockDescription> blocks_;
  MultifdMeeting* const meeting_;
  const bool channels_go_on_;
  bool syncs_have_records_ = false;  // of their own: otherwise each end of a section is one
  stream::StreamParser parser_;
  stream::StreamWriter writer_;
  bool placing_;
  bool completed_ = false;
  std::string note_;
  // Of the parser's blocks, as far as they were asked for: the index in blocks_, or none.
  std::vector<std::optional<uint32_t>> targets_;
  // Of the record whose payload comes; none if that is passed on.
  std::optional<uint32_t> target_;

  // The last page that was left out, in case that the destination has to be told its block after
  // all: content_ is it when last_ is empty, and what lies in the piece until that ends.
  uint64_t last_offset_bytes_ = 0;
  std::span<const std::byte> last_;
  std::array<std::byte, kBasePageBytes> content_{};
};

Status QemuPageExtractor::take_apart(std::span<const std::byte> piece, Output& output) {
  parser_.feed(piece);
  stream::StreamEvent event;
  while (parser_.next(event)) {
    RETURN_IF_ERROR(handle(event, output));
    if (!placing_ && has_channels())
      return fail(Errc::kGuest, "QEMU's stream cannot be followed beside multifd: {}", note_);
  }
  keep_last_page();
  return {};
}

Status QemuPageExtractor::finish(Output& output) {
  if (has_channels()) meeting_->end();
  // One that breaks off before is of a guest that runs on.
  if (parser_.ram_ended() || parser_.reason()) RETURN_IF_ERROR(complete(output));
  // No record comes after what is left, and so none that could mean another block than it says.
  stream::StreamEvent event;
  return parser_.finish(event) ? output.pass_on(event.bytes) : Status{};
}

Status QemuPageExtractor::handle(const stream::StreamEvent& event, Output& output) {
  if (const auto* record = std::get_if<stream::RamRecord>(&event.what))
    return handle_record(event, *record, output);
  if (const auto* payload = std::get_if<stream::Payload>(&event.what);
      payload != nullptr && payload->kind == stream::PayloadKind::kPage && target_)
    return place(event, *payload, output);
  if (const auto* command = std::get_if<stream::Command>(&event.what);
      command != nullptr && command->id == stream::CommandId::kPostCopyAdvise &&
      stream::decode_advice(command->body))
    pass_from_here_on("the migration may go on in post-copy");
  if (const auto* opaque = std::get_if<stream::Opaque>(&event.what)) {
    if (opaque->cause == stream::OpaqueCause::kNotUnderstood && parser_.reason())
      pass_from_here_on(to_string(*parser_.reason()));
    // Devices look into guest memory when they are loaded.
    if (opaque->cause == stream::OpaqueCause::kDeviceState) RETURN_IF_ERROR(complete(output));
    if (opaque->ram_may_follow && !writer_.is_in_step()) RETURN_IF_ERROR(bring_into_step(output));
  }
  return output.pass_on(writer_.pass(event));
}

Status QemuPageExtractor::handle_record(const stream::StreamEvent& event,
                                        const stream::RamRecord& record, Output& output) {
  target_.reset();
  switch (record.type) {
    case stream::RamRecordType::kXbzrle:
      pass_from_here_on("XBZRLE is on");
      break;
    case stream::RamRecordType::kCompressed:
      pass_from_here_on("compression is on");
      break;
    case stream::RamRecordType::kMultifdFlush:
      if (has_channels()) {
        syncs_have_records_ = true;
        if (!channels_go_on_) {
          writer_.drop(event);
          return meet_channels(output);
        }
        RETURN_IF_ERROR(meet_channels(output));
        break;
      }
      [[fallthrough]];
    case stream::RamRecordType::kHook:
      pass_from_here_on("pages come by other channels, too");
      break;
    case stream::RamRecordType::kPage:
      target_ = target_of(record);
      if (!target_) break;
      last_offset_bytes_ = record.offset_bytes;
      last_ = {};
      writer_.drop(event);
      return {};
    case stream::RamRecordType::kZero:
      if (record.fill != 0) {
        pass_from_here_on("a page is filled with another byte than zero");
        break;
      }
      if (const auto target = target_of(record)) {
        last_offset_bytes_ = record.offset_bytes;
        last_ = {};
        content_.fill(std::byte{0});
        writer_.drop(event);
        return output.clear(*target, record.offset_bytes, parser_.page_bytes());
      }
      break;
    case stream::RamRecordType::kEndOfSection:
      if (has_channels() && !syncs_have_records_) RETURN_IF_ERROR(meet_channels(output));
      break;
  }
  return output.pass_on(writer_.pass(event));
}

Status QemuPageExtractor::place(const stream::StreamEvent& event, const stream::Payload& payload,
                                Output& output) {
  writer_.drop(event);
  if (event.bytes.size() == content_.size()) {
    last_ = event.bytes;
  } else {
    std::memcpy(content_.data() + payload.at_bytes, event.bytes.data(), event.bytes.size());
  }
  return output.place(*target_, parser_.record().offset_bytes + payload.at_bytes, event.bytes);
}

// Where the page of this record can be put.
std::optional<uint32_t> QemuPageExtractor::target_of(const stream::RamRecord& record) {
  if (!placing_ || parser_.page_bytes() != kBasePageBytes) return std::nullopt;
  while (targets_.size() <= record.block)
    targets_.push_back(find_target(static_cast<uint32_t>(targets_.size())));
  const std::optional<uint32_t> target = targets_[record.block];
  // One outside its block is for QEMU to refuse.
  if (!target || record.offset_bytes % kBasePageBytes != 0 ||
      record.offset_bytes >= blocks_[*target].size_bytes)
    return std::nullopt;
  return target;
}

std::optional<uint32_t> QemuPageExtractor::find_target(uint32_t block) const {
  const stream::RamBlock& wanted = parser_.blocks()[block];
  const auto found = std::ranges::find_if(blocks_, [&](const BlockDescription& ours) {
    return ours.name == wanted.name && ours.size_bytes == wanted.size_bytes;
  });
  if (found == blocks_.end()) return std::nullopt;
  return static_cast<uint32_t>(found - blocks_.begin());
}

void QemuPageExtractor::pass_from_here_on(std::string why) {
  if (placing_) note_ = std::move(why);
  placing_ = false;
}

// What cannot be followed may refer to the block of a page that the destination has not heard of.
// It hears of that page now: it is as it was put there.
Status QemuPageExtractor::bring_into_step(Output& output) {
  const std::optional<uint32_t> block = writer_.block_out_of_step();
  if (!writer_.may_append_page())
    return fail(Errc::kGuest, "QEMU's stream has something that cannot be passed on here: {}",
                note_);
  keep_last_page();
  std::vector<std::byte> record;
  writer_.append_page(*block, last_offset_bytes_, content_, record);
  return output.pass_on(record);
}

// A page of a block that a channel places must not be passed on here.
Status QemuPageExtractor::check_blocks() const {
  const bool same = std::ranges::all_of(blocks_, [&](const BlockDescription& ours) {
    return std::ranges::any_of(parser_.blocks(), [&](const stream::RamBlock& block) {
      return block.name == ours.name && block.size_bytes == ours.size_bytes;
    });
  });
  if (same && parser_.page_bytes() == kBasePageBytes) return {};
  return fail(Errc::kGuest, "QEMU's stream has other RAM than its multifd channels");
}

Status QemuPageExtractor::meet_channels(Output& output) {
  RETURN_IF_ERROR(check_blocks());
  RETURN_IF_ERROR(output.settle());
  if (!meeting_->wait())
    return fail(Errc::kGuest, "QEMU ended a multifd channel before its migration");
  std::vector<std::byte> record;
  for (const MultifdMeeting::Page& page : meeting_->take()) {
    const auto block = std::ranges::find(parser_.blocks(), page.block, &stream::RamBlock::name);
    if (block == parser_.blocks().end())
      return fail(Errc::kCorrupt, "a page of RAM block '{}', which is not listed", page.block);
    record.clear();
    writer_.append_page(static_cast<uint32_t>(block - parser_.blocks().begin()), page.offset_bytes,
                        page.content, record);
    RETURN_IF_ERROR(output.pass_on(record));
  }
  return {};
}

Status QemuPageExtractor::complete(Output& output) {
  return std::exchange(completed_, true) ? Status{} : output.complete();
}

void QemuPageExtractor::keep_last_page() {
  if (last_.empty()) return;
  std::memcpy(content_.data(), last_.data(), content_.size());
  last_ = {};
}

}  // namespace

std::unique_ptr<PageExtractor> make_page_extractor(const std::vector<BlockDescription>& blocks) {
  return std::make_unique<QemuPageExtractor>(blocks, QemuPageExtractor::Options{});
}

std::unique_ptr<PageExtractor> make_passing_extractor(const std::vector<BlockDescription>& blocks,
                                                      std::string why) {
  return std::make_unique<QemuPageExtractor>(blocks,
                                             QemuPageExtractor::Options{.note = std::move(why)});
}

std::unique_ptr<PageExtractor> make_page_extractor_with_channels(
    const std::vector<BlockDescription>& blocks, MultifdMeeting& meeting) {
  return std::make_unique<QemuPageExtractor>(blocks,
                                             QemuPageExtractor::Options{.meeting = &meeting});
}

std::unique_ptr<PageExtractor> make_page_extractor_beside_channels(
    const std::vector<BlockDescription>& blocks, MultifdMeeting& meeting) {
  return std::make_unique<QemuPageExtractor>(
      blocks, QemuPageExtractor::Options{.meeting = &meeting, .channels_go_on = true});
}

bool begins_migration(std::span<const std::byte> bytes) {
  constexpr std::string_view kMagic = "QEVM";  // QEMU, migration/savevm.c: QEMU_VM_FILE_MAGIC
  return bytes.size() >= kMigrationMagicBytes &&
         std::memcmp(bytes.data(), kMagic.data(), kMigrationMagicBytes) == 0;
}

}  // namespace godwit::qemu
