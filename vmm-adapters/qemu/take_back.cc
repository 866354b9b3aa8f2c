// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/take_back.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/units.h"
#include "vmm-adapters/qemu/migration_settings.h"
#include "vmm-adapters/qemu/monitor_text.h"
#include "vmm-adapters/qemu/stream/command.h"
#include "vmm-adapters/qemu/stream/return_path.h"
#include "vmm-adapters/qemu/stream/wire.h"

namespace godwit::qemu {
namespace {

// QEMU notices a broken stream when it next writes.
constexpr Clock::duration kStatusLookEvery = milliseconds(2);
// A `cont` whose answer does not come, and one that is refused.
constexpr Clock::duration kContinueMax = seconds(10);
constexpr Clock::duration kContinueEvery = milliseconds(20);

// What a recovered stream without pages consists of (docs/channel.md names QEMU's words for it).
constexpr uint8_t kEndOfStream = 0x00;
constexpr uint8_t kSectionPart = 0x02;
constexpr uint8_t kSectionEnd = 0x03;
constexpr uint8_t kCommand = 0x08;
constexpr uint8_t kSectionFooter = 0x7e;
constexpr uint64_t kEndOfRecords = 0x10;
constexpr size_t kSectionIdBytes = 4;

// The destination that has everything.
class FullDestination {
 public:
  FullDestination(UniqueFd socket, const std::vector<RamBlock>& blocks, Deadline deadline)
      : socket_(std::move(socket)), blocks_(blocks), deadline_(deadline) {}

  // Returns when QEMU has sent all there is to send, and was told that it was in vain.
  Status run() {
    while (true) {
      ASSIGN_OR_RETURN(const uint64_t type, read_number(1));
      switch (type) {
        case kCommand:
          RETURN_IF_ERROR(answer_command());
          break;
        case kSectionPart:
        case kSectionEnd:
          RETURN_IF_ERROR(pass_section());
          break;
        case kEndOfStream:
          return say({.type = stream::ReturnMessageType::kShut, .value = 1});
        default:
          return fail(Errc::kCorrupt, "QEMU recovers post-copy with {:#x}", type);
      }
    }
  }

 private:
  Status answer_command() {
    ASSIGN_OR_RETURN(const uint64_t id, read_number(2));
    ASSIGN_OR_RETURN(const uint64_t body_bytes, read_number(2));
    std::vector<std::byte> body(body_bytes);
    RETURN_IF_ERROR(read(body));
    const stream::Command command{
        .id = static_cast<stream::CommandId>(id), .in_package = false, .body = body};
    RETURN_IF_ERROR(stream::check_command_length(command.id, static_cast<uint16_t>(body.size())));
    RETURN_IF_ERROR(stream::check_command(command));
    if (command.id == stream::CommandId::kReceivedBitmap)
      return say_all_received(stream::asked_block(command));
    if (command.id == stream::CommandId::kPostCopyResume)
      return say({.type = stream::ReturnMessageType::kResumeAck, .value = 1});
    return {};
  }

  Status say_all_received(std::string_view name) {
    const auto block =
        std::ranges::find_if(blocks_, [&](const RamBlock& each) { return each.name == name; });
    if (block == blocks_.end())
      return fail(Errc::kGuest, "QEMU asks for RAM block '{}', which it does not list", name);
    const uint64_t words = (block->used_bytes / kBasePageBytes + 63) / 64;
    const std::vector<std::byte> all(words * sizeof(uint64_t), std::byte{0xff});
    std::vector<std::byte> message;
    stream::encode_return_message(
        {.type = stream::ReturnMessageType::kReceivedBitmap, .block = name}, message);
    stream::encode_received_bitmap(all, message);
    return write(message);
  }

  // One in which no page comes.
  Status pass_section() {
    RETURN_IF_ERROR(read_number(kSectionIdBytes));
    ASSIGN_OR_RETURN(const uint64_t record, read_number(sizeof(uint64_t)));
    if (record != kEndOfRecords)
      return fail(Errc::kGuest, "QEMU still sends memory ({:#x}) that is said to be there", record);
    ASSIGN_OR_RETURN(const uint64_t footer, read_number(1));
    if (footer != kSectionFooter)
      return fail(Errc::kCorrupt, "a section of QEMU's stream ends with {:#x}", footer);
    RETURN_IF_ERROR(read_number(kSectionIdBytes));
    return {};
  }

  Status say(const stream::ReturnMessage& message) {
    std::vector<std::byte> bytes;
    stream::encode_return_message(message, bytes);
    return write(bytes);
  }

  Result<uint64_t> read_number(size_t size_bytes) {
    std::array<std::byte, sizeof(uint64_t)> bytes;
    RETURN_IF_ERROR(read(std::span(bytes).first(size_bytes)));
    uint64_t number = 0;
    for (size_t i = 0; i < size_bytes; ++i) number = number << 8 | static_cast<uint64_t>(bytes[i]);
    return number;
  }

  Status read(std::span<std::byte> bytes) {
    while (!bytes.empty()) {
      RETURN_IF_ERROR(wait(POLLIN));
      const ssize_t count = ::recv(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
      RETURN_IF_ERROR(check(count));
      if (count > 0) bytes = bytes.subspan(static_cast<size_t>(count));
    }
    return {};
  }

  Status write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      RETURN_IF_ERROR(wait(POLLOUT));
      const ssize_t count =
          ::send(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      RETURN_IF_ERROR(check(count));
      if (count > 0) bytes = bytes.subspan(static_cast<size_t>(count));
    }
    return {};
  }

  Status wait(short events) const {
    pollfd poll_fd{socket_.get(), events, 0};
    const int ready = ::poll(&poll_fd, 1, milliseconds_until(deadline_));
    if (ready == 0) return fail(Errc::kTimeout, "QEMU does not recover its post-copy");
    if (ready < 0 && errno != EINTR) return fail_errno(errno, "poll of QEMU's stream");
    return {};
  }

  static Status check(ssize_t count) {
    if (count == 0) return fail(Errc::kPeerLost, "QEMU has closed its recovered stream");
    if (count < 0 && errno != EAGAIN && errno != EINTR)
      return fail_errno(errno, "QEMU's recovered stream");
    return {};
  }

  const UniqueFd socket_;
  const std::vector<RamBlock>& blocks_;
  const Deadline deadline_;
};

// Until it is one that can recover, or over.
Result<std::string> wait_paused(QmpClient& client, Deadline deadline) {
  while (true) {
    ASSIGN_OR_RETURN(MigrationStatus migration, query_migration(client, deadline));
    if (is_settled(migration.status) || migration.status == "postcopy-paused")
      return std::move(migration.status);
    if (Clock::now() > deadline)
      return fail(Errc::kTimeout, "QEMU does not pause its post-copy: it is {}", migration.status);
    std::this_thread::sleep_for(kStatusLookEvery);
  }
}

Status wait_over(QmpClient& client, Deadline deadline) {
  while (true) {
    ASSIGN_OR_RETURN(const MigrationStatus migration, query_migration(client, deadline));
    if (is_settled(migration.status)) return {};
    if (Clock::now() > deadline || migration.status == "postcopy-paused")
      return fail(Errc::kGuest, "QEMU does not let go of its post-copy: it is {} ({})",
                  migration.status, migration.error);
    std::this_thread::sleep_for(kStatusLookEvery);
  }
}

}  // namespace

bool is_post_copy(std::string_view status) {
  return status.starts_with("postcopy-");
}

Status take_back(QmpClient& client, Deadline deadline) {
  ASSIGN_OR_RETURN(const std::string status, wait_paused(client, deadline));
  if (is_settled(status)) return {};
  ASSIGN_OR_RETURN(const std::string text, client.execute_human("info ramblock", deadline));
  ASSIGN_OR_RETURN(const std::vector<RamBlock> blocks, parse_ram_blocks(text));
  ASSIGN_OR_RETURN(UniqueFd channel, give_channel(client, deadline));
  RETURN_IF_ERROR(client.execute("migrate", {{"uri", kChannelUri}, {"resume", true}}, deadline));
  FullDestination destination(std::move(channel), blocks, deadline);
  RETURN_IF_ERROR(destination.run());
  return wait_over(client, deadline);
}

Status go_on(QmpClient& client, Deadline deadline) {
  while (true) {
    const Result<Json> told = client.execute("cont", {}, deadline_in(kContinueMax));
    if (told) return {};
    if (told.error().code != Errc::kGuest || Clock::now() >= deadline)
      return tl::unexpected<Error>(told.error());
    std::this_thread::sleep_for(kContinueEvery);
  }
}

}  // namespace godwit::qemu
