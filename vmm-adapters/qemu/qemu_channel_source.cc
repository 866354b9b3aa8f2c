// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/qemu_channel_source.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "vmm-adapters/linux/lasting_stream.h"
#include "vmm-adapters/linux/unix_stream.h"
#include "vmm-adapters/qemu/guest_ram.h"
#include "vmm-adapters/qemu/identity.h"
#include "vmm-adapters/qemu/multifd_source.h"
#include "vmm-adapters/qemu/qemu_page_extractor.h"
#include "vmm-adapters/qemu/refusals.h"
#include "vmm-adapters/qemu/take_back.h"

namespace godwit {
namespace {

using qemu::QmpClient;

constexpr Clock::duration kLocksMax = seconds(10);

bool is_post_copy_event(const qemu::Json& event) {
  return qemu::string_or(event, "event", "") == "MIGRATION" &&
         qemu::is_post_copy(qemu::string_or(qemu::field(event, "data"), "status", ""));
}

class QemuChannelSource final : public ChannelSourceGuest {
 public:
  QemuChannelSource(const QemuOptions& options, const qemu::MigrationSettings::Limits& limits)
      : options_(options), limits_(limits) {}
  ~QemuChannelSource() override;

  Status set_up();

  VmmStream& stream() override { return stream_; }
  MakePageExtractor page_extractor() override {
    return [this](const std::vector<BlockDescription>& blocks) {
      return qemu::make_page_extractor_with_channels(blocks, meeting_);
    };
  }
  const GuestMemory* memory() const override { return ram_ ? &ram_->memory() : nullptr; }
  const std::string& memory_note() const override { return memory_note_; }
  size_t channels_by_default() const override;
  Result<BegunChannels> begin(const WantedChannels& wanted, PostCopyUse post_copy) override;
  Result<ChannelProgress> progress() override;
  Status switch_to_post_copy() override;
  std::optional<Clock::time_point> stopped_at() override { return stopped_at_; }
  Status resume() override;
  Status release() override;

 private:
  Deadline command_deadline() const { return deadline_in(options_.command_timeout); }
  void note_stop(const std::string& run_state);
  void keep_open(const VmmStream& stream, KeptUntil until) {
    if (options_.keep_open) options_.keep_open(stream.fd(), until);
  }
  Status settle();
  Status begin_with_channels(const WantedChannels& wanted);
  Status begin_with_stream();

  const QemuOptions options_;
  const qemu::MigrationSettings::Limits limits_;
  std::unique_ptr<QmpClient> client_;
  pid_t process_ = 0;
  qemu::Version version_{};
  std::optional<qemu::GuestRam> ram_;
  std::string memory_note_;
  std::optional<qemu::MigrationSettings> settings_;
  LastingStream stream_;
  qemu::MultifdMeeting meeting_;
  std::vector<std::unique_ptr<qemu::MultifdChannel>> channels_;
  std::vector<LastingStream*> channel_streams_;  // of those
  std::optional<Clock::time_point> stopped_at_;
  bool begun_ = false;
  bool switched_ = false;      // QEMU was told to go over to post-copy
  bool in_post_copy_ = false;  // it is, or was
  bool released_ = false;
};

Status QemuChannelSource::set_up() {
  ASSIGN_OR_RETURN(client_, QmpClient::connect(options_.qmp_path, command_deadline()));
  RETURN_IF_ERROR(qemu::check_run_state(*client_, "running", command_deadline()));
  RETURN_IF_ERROR(qemu::check_migratable(*client_, command_deadline()));
  ASSIGN_OR_RETURN(version_, qemu::query_version(*client_, command_deadline()));
  ASSIGN_OR_RETURN(process_, options_.pid ? Result<pid_t>(*options_.pid) : client_->peer_pid());
  Result<qemu::GuestRam> ram =
      qemu::GuestRam::open(*client_, process_, qemu::RamChoice::kShared, command_deadline());
  if (ram) {
    ram_ = std::move(*ram);
  } else {
    memory_note_ = "pages are taken from the stream: " + to_string(ram.error());
  }
  ASSIGN_OR_RETURN(settings_, qemu::MigrationSettings::apply_for_channel(
                                  *client_, qemu::Side::kSource, limits_, command_deadline()));
  return {};
}

QemuChannelSource::~QemuChannelSource() {
  if (!settings_ || released_ || !client_->usable()) return;
  // A post-copy that is paused needs them to go on.
  const Result<qemu::MigrationStatus> left = qemu::query_migration(*client_, command_deadline());
  if (!left || qemu::is_post_copy(left->status)) return;
  // Better wrong settings than a guest that is lost.
  if (!qemu::wait_cleaned_up(*client_, command_deadline())) return;
  static_cast<void>(settings_->restore(*client_, command_deadline()));
}

size_t QemuChannelSource::channels_by_default() const {
  return version_ < qemu::kMultifdSince ? 0 : 2;
}

Result<BegunChannels> QemuChannelSource::begin(const WantedChannels& wanted,
                                               PostCopyUse post_copy) {
  client_->forget_events();
  begun_ = true;
  if (post_copy == PostCopyUse::kPossible) {
    RETURN_IF_ERROR(
        settings_->allow_post_copy(*client_, qemu::Side::kSource, limits_, command_deadline()));
  }
  BegunChannels begun;
  if (wanted.count > 0) {
    const Status status = begin_with_channels(wanted);
    for (const auto& channel : channels_) begun.channels.push_back(channel.get());
    if (status) return begun;
    begun.note = to_string(status.error());
    RETURN_IF_ERROR(qemu::settle_migration(*client_, command_deadline()));
    RETURN_IF_ERROR(qemu::wait_cleaned_up(*client_, command_deadline()));
    RETURN_IF_ERROR(settings_->use_one_channel(*client_, command_deadline()));
  }
  RETURN_IF_ERROR(begin_with_stream());
  return begun;
}

// Where it fails, the guest runs.
Status QemuChannelSource::begin_with_channels(const WantedChannels& wanted) {
  RETURN_IF_ERROR(qemu::check_multifd(*client_, version_, wanted.blocks, command_deadline()));
  RETURN_IF_ERROR(settings_->use_channels(*client_, wanted.count, command_deadline()));
  ASSIGN_OR_RETURN(qemu::MultifdConnections connections,
                   qemu::begin_multifd(*client_, process_, options_.qmp_path, wanted, meeting_,
                                       command_deadline()));
  stream_.connect(std::move(connections.main));
  channels_ = std::move(connections.channels);
  channel_streams_ = std::move(connections.channel_streams);
  for (const LastingStream* const stream : channel_streams_)
    keep_open(*stream, KeptUntil::kMigrationIsOver);
  return {};
}

Status QemuChannelSource::begin_with_stream() {
  ASSIGN_OR_RETURN(UniqueFd channel, qemu::give_channel(*client_, command_deadline()));
  ASSIGN_OR_RETURN(std::unique_ptr<VmmStream> stream, make_unix_stream(std::move(channel)));
  stream_.connect(std::move(stream));
  return client_->begin("migrate", {{"uri", qemu::kChannelUri}}, stream_.fd(), command_deadline());
}

Result<ChannelProgress> QemuChannelSource::progress() {
  ASSIGN_OR_RETURN(const qemu::Json answer,
                   client_->execute("query-migrate", {}, command_deadline()));
  ASSIGN_OR_RETURN(const qemu::Json status,
                   client_->execute("query-status", {}, command_deadline()));
  note_stop(qemu::string_or(status, "status", "unknown"));
  const qemu::Json& ram = qemu::field(answer, "ram");
  const auto count = [&](const char* key) {
    return static_cast<uint64_t>(qemu::integer_or(ram, key, 0));
  };
  const std::string state = qemu::string_or(answer, "status", "none");
  in_post_copy_ =
      in_post_copy_ || qemu::is_post_copy(state) || client_->has_event(is_post_copy_event);
  if (in_post_copy_) stream_.stop_lasting();
  ChannelProgress progress{
      .error = qemu::string_or(answer, "error-desc", ""),
      .ram_bytes = count("total"),
      .sent_bytes = count("transferred"),
      .remaining_bytes = count("remaining"),
      .dirty_bytes_per_s = static_cast<double>(count("dirty-pages-rate") * count("page-size")),
      .round = static_cast<uint32_t>(std::max<uint64_t>(1, count("dirty-sync-count"))),
      .sent_pages = count("normal"),
      .zero_pages = count("duplicate"),
      .in_post_copy = in_post_copy_,
      .requested_pages = count("postcopy-requests")};
  if (state == "completed") {
    ASSIGN_OR_RETURN(const std::string run_state,
                     qemu::wait_run_state_after_migration(*client_, command_deadline()));
    if (run_state != "postmigrate")
      return fail(Errc::kGuest, "QEMU is in state '{}' after its migration", run_state);
    progress.state = ChannelProgress::State::kCompleted;
  } else if (qemu::is_settled(state)) {
    progress.state = ChannelProgress::State::kFailed;
    if (progress.error.empty()) progress.error = "its migration is " + state;
  } else if (state == "postcopy-active" || state == "postcopy-device") {
    progress.state = ChannelProgress::State::kPostCopy;
  } else if (qemu::is_post_copy(state)) {
    progress.state = ChannelProgress::State::kBroken;
    if (progress.error.empty()) progress.error = "its post-copy is paused";
  }
  return progress;
}

// QEMU would stop the guest by itself. But one that it has stopped it lets run on when its
// migration fails, which from 10.0 on may be in the middle of post-copy, when the guest runs
// elsewhere; before, without its disks. On its way into post-copy it must not see its stream end
// (qemu::settle_migration()).
Status QemuChannelSource::switch_to_post_copy() {
  stream_.last();
  keep_open(stream_, KeptUntil::kItMayBreak);
  RETURN_IF_ERROR(client_->execute("stop", {}, command_deadline()));
  switched_ = true;
  RETURN_IF_ERROR(client_->execute("migrate-start-postcopy", {}, command_deadline()));
  return {};
}

// QEMU says itself when it was; what we see of it is later.
void QemuChannelSource::note_stop(const std::string& run_state) {
  if (run_state == "running") {
    stopped_at_.reset();
  } else if (!stopped_at_) {
    stopped_at_ = client_->time_of_event("STOP").value_or(Clock::now());
  }
}

// QEMU's threads may wait for us to read, whose channels have to be shut before it hears of us.
Status QemuChannelSource::settle() {
  stream_.shut_down();
  for (const auto& channel : channels_) channel->shut_down();
  if (!client_->usable()) {
    client_->disconnect();
    ASSIGN_OR_RETURN(client_, QmpClient::connect(options_.qmp_path, command_deadline()));
  }
  return qemu::settle_migration(*client_, deadline_in(options_.state_timeout),
                                [this] { stream_.stop_lasting(); });
}

Status QemuChannelSource::resume() {
  CHECK(!released_);
  if (!begun_) return {};
  const Status settled = settle();
  // It ends its threads for them after it has called its migration over.
  if (settled && !channels_.empty()) (void)qemu::wait_cleaned_up(*client_, command_deadline());
  // Whatever came of it: others wait for the streams to end.
  stream_.stop_lasting();
  for (LastingStream* const stream : channel_streams_) stream->stop_lasting();
  RETURN_IF_ERROR(settled);
  ASSIGN_OR_RETURN(const qemu::Json status,
                   client_->execute("query-status", {}, command_deadline()));
  if (qemu::string_or(status, "status", "") == "running") return {};
  RETURN_IF_ERROR(
      qemu::go_on(*client_, deadline_in(switched_ ? kLocksMax : Clock::duration::zero())));
  return qemu::check_run_state(*client_, "running", command_deadline());
}

Status QemuChannelSource::release() {
  released_ = true;
  settings_->forget();
  if (options_.after_release == AfterRelease::kLeavePaused) return {};
  const Result<qemu::Json> quit = client_->execute("quit", {}, command_deadline());
  if (!quit && quit.error().code != Errc::kPeerLost) return tl::unexpected<Error>(quit.error());
  return {};
}

}  // namespace

Result<std::unique_ptr<ChannelSourceGuest>> open_qemu_channel_source(
    const QemuOptions& options, const qemu::MigrationSettings::Limits& limits) {
  auto guest = std::make_unique<QemuChannelSource>(options, limits);
  RETURN_IF_ERROR(guest->set_up());
  return guest;
}

}  // namespace godwit
