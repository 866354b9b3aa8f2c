// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/qemu_page_requests.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <string>

#include "engine/base/check.h"
#include "engine/base/units.h"
#include "engine/memory/page_bitmap.h"
#include "vmm-adapters/qemu/stream/command.h"
#include "vmm-adapters/qemu/stream/return_path.h"
#include "vmm-adapters/qemu/stream/stream_parser.h"
#include "vmm-adapters/qemu/stream/stream_writer.h"

namespace godwit::qemu {
namespace {

stream::StreamParser::Options parser_options(const std::vector<BlockDescription>& blocks) {
  stream::StreamParser::Options options;
  for (const BlockDescription& block : blocks) {
    if (block.page_size_bytes != kBasePageBytes)
      options.block_page_sizes.push_back({block.name, block.page_size_bytes});
  }
  return options;
}

std::vector<PageBitmap> make_bitmaps(const std::vector<BlockDescription>& blocks) {
  std::vector<PageBitmap> bitmaps;
  for (const BlockDescription& block : blocks)
    bitmaps.emplace_back(block.size_bytes / block.page_size_bytes);
  return bitmaps;
}

class QemuPageRequests final : public PageRequests {
 public:
  explicit QemuPageRequests(const std::vector<BlockDescription>& blocks)
      : blocks_(blocks),
        requested_(make_bitmaps(blocks)),
        parser_(parser_options(blocks)),
        writer_(stream::StreamWriter::Channel::kMain, parser_.blocks()),
        told_(make_bitmaps(blocks)) {}

  Status take_requests(std::span<const std::byte> piece, Said& output) override;
  Status end_of_requests(Said& output) override;
  Status take_apart(std::span<const std::byte> piece, Told& output) override;
  Status finish(Told& output) override;
  bool may_insert() const override;
  void insert(const RequestedPage& page, std::span<const std::byte> content,
              std::vector<std::byte>& output) override;

 private:
  // A page of the host, as its records come.
  struct HostPage {
    uint32_t block;
    uint64_t number;
    uint64_t left_bytes;
    bool told_before;
  };

  Status handle(const stream::ReturnEvent& event, Said& output);
  std::optional<RequestedPage> page_of(const stream::ReturnMessage& message) const;

  Status handle(const stream::StreamEvent& event, Told& output);
  Status handle_record(const stream::StreamEvent& event, const stream::RamRecord& record,
                       Told& output);
  Status handle_rest(const stream::StreamEvent& event, Told& output);
  Status release_end_of_section(Told& output);
  void follow_package(const stream::StreamEvent& event);
  void begin_to_answer();
  void turn_to(const stream::RamRecord& record);

  const std::vector<BlockDescription> blocks_;

  // What the VMM says.
  stream::ReturnPathParser return_path_;
  std::string asked_block_;  // of the last request that named one
  std::vector<PageBitmap> requested_;
  bool taken_ = false;  // a request, ever

  // SAFETY: listed_ is written before this is set, and never again.
  std::atomic<bool> answers_{false};
  // By block: its index in the parser; none if it is not in the stream's list.
  std::vector<std::optional<uint32_t>> listed_;

  // What it is told.
  stream::StreamParser parser_;
  stream::StreamWriter writer_;
  std::vector<std::optional<uint32_t>> known_;  // the other way round
  std::vector<PageBitmap> told_;                // since it runs its guest
  std::optional<HostPage> page_;                // of the last record
  std::optional<uint64_t> package_left_bytes_;  // of the package that is passing
  bool listens_ = false;                        // the package says so
  bool over_ = false;                           // no page can be put in any more
  bool changed_ = false;                        // something was put in or left out
  std::optional<stream::RamRecord> held_;       // the end of a section
  std::array<std::byte, sizeof(uint64_t)> held_bytes_{};
};

Status QemuPageRequests::take_requests(std::span<const std::byte> piece, Said& output) {
  return_path_.feed(piece);
  stream::ReturnEvent event;
  while (return_path_.next(event)) RETURN_IF_ERROR(handle(event, output));
  return {};
}

Status QemuPageRequests::end_of_requests(Said& output) {
  stream::ReturnEvent event;
  return return_path_.finish(event) ? output.pass_on(event.bytes) : Status{};
}

Status QemuPageRequests::handle(const stream::ReturnEvent& event, Said& output) {
  // The source would send again what was asked for and not heard of.
  if (taken_ && std::holds_alternative<stream::ReturnPathRest>(event.what))
    return fail(Errc::kGuest, "QEMU's return path cannot be followed any more: {}",
                to_string(*return_path_.reason()));
  const auto* message = std::get_if<stream::ReturnMessage>(&event.what);
  const bool names =
      message != nullptr && message->type == stream::ReturnMessageType::kRequestPagesOfBlock;
  if (message == nullptr || (!names && message->type != stream::ReturnMessageType::kRequestPages))
    return output.pass_on(event.bytes);
  if (names) asked_block_ = message->block;
  if (answers_.load(std::memory_order_acquire)) {
    if (const std::optional<RequestedPage> page = page_of(*message)) {
      PageBitmap& requested = requested_[page->block];
      const uint64_t number = page->offset_bytes / page->size_bytes;
      if (requested.test(number)) return {};
      requested.set(number);
      taken_ = true;
      output.request(*page);
      return {};
    }
  }
  if (names || asked_block_.empty()) return output.pass_on(event.bytes);
  // The request that named the block may not have been passed on.
  stream::ReturnMessage named = *message;
  named.type = stream::ReturnMessageType::kRequestPagesOfBlock;
  named.block = asked_block_;
  std::vector<std::byte> bytes;
  stream::encode_return_message(named, bytes);
  return output.pass_on(bytes);
}

// None that can be answered here.
std::optional<RequestedPage> QemuPageRequests::page_of(const stream::ReturnMessage& message) const {
  for (uint32_t i = 0; i < blocks_.size(); ++i) {
    const BlockDescription& block = blocks_[i];
    if (block.name != asked_block_) continue;
    const bool fits = listed_[i] && message.size_bytes == block.page_size_bytes &&
                      message.size_bytes <= kRequestedBytesMax &&
                      message.offset_bytes % message.size_bytes == 0 &&
                      message.offset_bytes < block.size_bytes;
    if (!fits) return std::nullopt;
    return RequestedPage{i, message.offset_bytes, message.size_bytes};
  }
  return std::nullopt;
}

Status QemuPageRequests::take_apart(std::span<const std::byte> piece, Told& output) {
  parser_.feed(piece);
  stream::StreamEvent event;
  while (parser_.next(event)) {
    RETURN_IF_ERROR(handle(event, output));
    if (may_insert()) RETURN_IF_ERROR(output.at_border());
  }
  return {};
}

Status QemuPageRequests::finish(Told& output) {
  over_ = true;
  RETURN_IF_ERROR(release_end_of_section(output));
  stream::StreamEvent event;
  return parser_.finish(event) ? output.pass_on(event.bytes) : Status{};
}

Status QemuPageRequests::handle(const stream::StreamEvent& event, Told& output) {
  if (std::holds_alternative<stream::Opaque>(event.what)) return handle_rest(event, output);
  if (!answers_.load(std::memory_order_relaxed)) {
    RETURN_IF_ERROR(output.pass_on(writer_.pass(event)));
    follow_package(event);
    return {};
  }
  if (const auto* record = std::get_if<stream::RamRecord>(&event.what))
    return handle_record(event, *record, output);
  if (std::holds_alternative<stream::Payload>(event.what) && page_ && page_->told_before) {
    writer_.drop(event);
    return {};
  }
  RETURN_IF_ERROR(release_end_of_section(output));
  if (std::holds_alternative<stream::EndOfStream>(event.what)) over_ = true;
  return output.pass_on(writer_.pass(event));
}

Status QemuPageRequests::handle_record(const stream::StreamEvent& event,
                                       const stream::RamRecord& record, Told& output) {
  if (record.type == stream::RamRecordType::kEndOfSection) {
    page_.reset();
    held_ = record;
    CHECK(event.bytes.size() == held_bytes_.size());
    std::ranges::copy(event.bytes, held_bytes_.begin());
    return {};
  }
  if (is_page(record.type)) {
    turn_to(record);
    if (page_ && page_->told_before) {
      changed_ = true;
      writer_.drop(event);
      return {};
    }
  }
  return output.pass_on(writer_.pass(event));
}

// Whether a page of the host is left out is decided at its first record.
void QemuPageRequests::turn_to(const stream::RamRecord& record) {
  const std::optional<uint32_t> block = known_[record.block];
  if (!block) {
    page_.reset();
    return;
  }
  const uint64_t size_bytes = blocks_[*block].page_size_bytes;
  const uint64_t number = record.offset_bytes / size_bytes;
  if (!page_ || page_->left_bytes == 0 || page_->block != *block || page_->number != number) {
    page_ = HostPage{.block = *block,
                     .number = number,
                     .left_bytes = size_bytes,
                     .told_before = told_[*block].test(number)};
    told_[*block].set(number);
  }
  page_->left_bytes -= std::min(page_->left_bytes, parser_.page_bytes());
}

Status QemuPageRequests::handle_rest(const stream::StreamEvent& event, Told& output) {
  const bool not_understood =
      std::get<stream::Opaque>(event.what).cause == stream::OpaqueCause::kNotUnderstood;
  answers_.store(false, std::memory_order_release);
  over_ = true;
  // What comes now may be pages that QEMU has.
  if (not_understood && changed_)
    return fail(Errc::kGuest, "QEMU's stream cannot be followed any more: {}",
                to_string(*parser_.reason()));
  RETURN_IF_ERROR(release_end_of_section(output));
  return output.pass_on(writer_.pass(event));
}

Status QemuPageRequests::release_end_of_section(Told& output) {
  if (!held_) return {};
  stream::StreamEvent event;
  event.bytes = held_bytes_;
  event.what = *held_;
  held_.reset();
  return output.pass_on(writer_.pass(event));
}

// Device state, and what makes the VMM run its guest: from its end on pages are asked for.
void QemuPageRequests::follow_package(const stream::StreamEvent& event) {
  const auto* command = std::get_if<stream::Command>(&event.what);
  if (command != nullptr && command->id == stream::CommandId::kPostCopyListen) listens_ = true;
  if (package_left_bytes_) {
    *package_left_bytes_ -= std::min<uint64_t>(*package_left_bytes_, event.bytes.size());
  } else if (command != nullptr && command->id == stream::CommandId::kPackaged) {
    package_left_bytes_ = stream::command_value(*command);
  }
  if (package_left_bytes_ != 0) return;
  package_left_bytes_.reset();
  if (listens_) begin_to_answer();
}

void QemuPageRequests::begin_to_answer() {
  listed_.resize(blocks_.size());
  for (const stream::RamBlock& block : parser_.blocks()) {
    std::optional<uint32_t>& known = known_.emplace_back();
    for (uint32_t i = 0; i < blocks_.size(); ++i) {
      // A page of the host is one or more of the target; the source says both.
      if (blocks_[i].name != block.name || blocks_[i].size_bytes != block.size_bytes ||
          blocks_[i].page_size_bytes % parser_.page_bytes() != 0)
        continue;
      known = i;
      listed_[i] = static_cast<uint32_t>(known_.size() - 1);
    }
  }
  answers_.store(true, std::memory_order_release);
}

bool QemuPageRequests::may_insert() const {
  const bool within_page =
      parser_.payload_left_bytes() != 0 || (page_ && page_->left_bytes != 0 && !page_->told_before);
  return answers_.load(std::memory_order_relaxed) && !over_ && !within_page &&
         !parser_.ram_ended() && writer_.may_append_page();
}

void QemuPageRequests::insert(const RequestedPage& page, std::span<const std::byte> content,
                              std::vector<std::byte>& output) {
  CHECK(may_insert() && content.size() == page.size_bytes);
  const uint64_t number = page.offset_bytes / page.size_bytes;
  if (told_[page.block].test(number)) return;
  told_[page.block].set(number);
  changed_ = true;
  writer_.append_pages(*listed_[page.block], page.offset_bytes, content, parser_.page_bytes(),
                       output);
}

}  // namespace

std::unique_ptr<PageRequests> make_page_requests(const std::vector<BlockDescription>& blocks) {
  return std::make_unique<QemuPageRequests>(blocks);
}

}  // namespace godwit::qemu
