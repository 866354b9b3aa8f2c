// SPDX-License-Identifier: Apache-2.0
#include "engine/session/session_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "engine/base/unique_fd.h"

namespace godwit {
namespace {

constexpr char kStateFile[] = "state";
constexpr char kRecoveryFile[] = "guest";
constexpr char kCommandFile[] = "command";
constexpr char kRemovedPrefix[] = "removed-";
constexpr size_t kFileBytesMax = size_t{1} << 20;
constexpr seconds kProgressPeriod{1};

std::string session_path(const std::string& session, SessionRole role) {
  return fmt::format("{}/{}/{}", runtime_directory(), session, to_string(role));
}

UniqueFd open_folder(const std::string& path) {
  return UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

// Whoever can write there can name the process that `godwit cancel` interrupts.
Status check_private(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return fail_errno(errno, "look at {}", path);
  if (!S_ISDIR(status.st_mode) || status.st_uid != ::geteuid() ||
      (status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return fail(Errc::kRefused, "{} must be a folder that only its owner, you, can write to", path);
  }
  return {};
}

Status make_runtime_directory() {
  std::string path = runtime_directory();
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail_errno(errno, "make the folder {} (GODWIT_RUNTIME_DIR moves it)", path);
  }
  return check_private(path);
}

// The other side of the same session may be removing the common parent just now, hence the repeats.
Status make_session_folder(const std::string& session, SessionRole role) {
  std::string parent = fmt::format("{}/{}", runtime_directory(), session);
  std::string path = session_path(session, role);
  for (int attempt = 0; attempt < 100; ++attempt) {
    if (::mkdir(parent.c_str(), 0700) != 0 && errno != EEXIST) {
      return fail_errno(errno, "make the folder {}", parent);
    }
    if (::mkdir(path.c_str(), 0700) == 0) return {};
    if (errno == EEXIST) {
      return fail(Errc::kRefused, "this host already has the {} side of session {} ({})",
                  to_string(role), session, path);
    }
    if (errno != ENOENT) return fail_errno(errno, "make the folder {}", path);
  }
  return fail(Errc::kSystem, "make the folder {}: it keeps vanishing", path);
}

// Where a side is put to be deleted. No session's name, so whatever of it is left is taken for
// none.
std::string removed_path(const std::string& session, SessionRole role) {
  return fmt::format("{}/{}{}-{}", runtime_directory(), kRemovedPrefix, session, to_string(role));
}

// What an agent left that died while it removed a side.
void sweep_removed() {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(runtime_directory(), error), end;
       !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    std::error_code ignored;
    if (name.starts_with(kRemovedPrefix)) std::filesystem::remove_all(entry->path(), ignored);
    // Fails, rightly, while a side is there; one that is being made is made again.
    if (is_session_id(name)) ::rmdir(entry->path().c_str());
  }
}

Status write_whole(const UniqueFd& file, std::string_view text) {
  while (!text.empty()) {
    ssize_t written = ::write(file.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_errno(errno, "write the session's state");
    text.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

// A reader sees the old text or the new one, and so does whoever looks after a crash.
Status replace_file(const UniqueFd& folder, const std::string& name, std::string_view text) {
  const std::string in_making = name + ".new";
  UniqueFd file(::openat(folder.get(), in_making.c_str(),
                         O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.valid()) return fail_errno(errno, "make the session's file {}", name);
  RETURN_IF_ERROR(write_whole(file, text));
  if (::fsync(file.get()) != 0) return fail_errno(errno, "save the session's file {}", name);
  if (::renameat(folder.get(), in_making.c_str(), folder.get(), name.c_str()) != 0) {
    return fail_errno(errno, "put the session's file {} in place", name);
  }
  if (::fsync(folder.get()) != 0) return fail_errno(errno, "save the session's folder");
  return {};
}

Result<std::string> read_whole(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file.valid()) return fail_errno(errno, "open {}", path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return fail_errno(errno, "look at {}", path);
  std::string text(std::min(static_cast<size_t>(status.st_size), kFileBytesMax), '\0');
  ssize_t size = ::read(file.get(), text.data(), text.size());
  if (size < 0) return fail_errno(errno, "read {}", path);
  text.resize(static_cast<size_t>(size));
  return text;
}

std::vector<std::string> session_names() {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(runtime_directory(), error), end;
       !error && entry != end; entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (is_session_id(name)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

std::string runtime_directory() {
  // Nothing of ours changes the environment, so reading it is safe in any thread.
  const char* path = std::getenv("GODWIT_RUNTIME_DIR");  // NOLINT(concurrency-mt-unsafe)
  return path != nullptr && *path != '\0' ? path : "/run/godwit";
}

Result<std::unique_ptr<SessionDirectory>> SessionDirectory::create(const std::string& session,
                                                                   SessionRole role,
                                                                   const Parties& parties) {
  if (!is_session_id(session)) return fail(Errc::kCorrupt, "'{}' names no session", session);
  SessionRecord record;
  record.session = session;
  record.role = role;
  record.state = "starting";
  record.peer = parties.peer;
  record.guest = parties.guest;
  ASSIGN_OR_RETURN(record.agent, identify_process(::getpid()));

  RETURN_IF_ERROR(make_runtime_directory());
  sweep_removed();
  RETURN_IF_ERROR(make_session_folder(session, role));
  UniqueFd folder = open_folder(session_path(session, role));
  if (!folder.valid()) return fail_errno(errno, "open {}", session_path(session, role));

  // From here on the destructor removes the folder again, also when the first write fails.
  std::unique_ptr<SessionDirectory> directory(
      new SessionDirectory(std::move(record), std::move(folder)));
  std::lock_guard lock(directory->mutex_);
  Status written = directory->write_record();
  if (!written) return tl::unexpected<Error>(written.error());
  return directory;
}

Result<std::unique_ptr<SessionDirectory>> SessionDirectory::take_over(const std::string& session,
                                                                      SessionRole role) {
  ASSIGN_OR_RETURN(SessionRecord record, read_session(session, role));
  if (is_running(record.agent)) {
    return fail(Errc::kRefused, "the {} agent of session {} is running: process {}",
                to_string(role), session, record.agent.pid);
  }
  ASSIGN_OR_RETURN(record.agent, identify_process(::getpid()));
  ASSIGN_OR_RETURN(UniqueFd folder, open_session_folder(session, role));
  std::unique_ptr<SessionDirectory> directory(
      new SessionDirectory(std::move(record), std::move(folder)));
  std::lock_guard lock(directory->mutex_);
  directory->kept_ = true;
  RETURN_IF_ERROR(directory->write_record());
  return directory;
}

SessionDirectory::SessionDirectory(SessionRecord record, UniqueFd folder)
    : record_(std::move(record)), folder_(std::move(folder)) {}

SessionDirectory::~SessionDirectory() {
  bool in_doubt = !settled_ && (kept_ || record_.committed);
  if (!in_doubt) static_cast<void>(remove_session(record_.session, record_.role));
}

Status SessionDirectory::set_state(std::string_view state) {
  std::lock_guard lock(mutex_);
  record_.state = state;
  return write_record();
}

Status SessionDirectory::record_commit() {
  std::lock_guard lock(mutex_);
  record_.committed = true;
  Status written = write_record();
  // Not told to anybody, so not decided either.
  if (!written) record_.committed = false;
  return written;
}

Status SessionDirectory::record_return() {
  std::lock_guard lock(mutex_);
  record_.committed = false;
  Status written = write_record();
  if (!written) record_.committed = true;
  return written;
}

Status SessionDirectory::record_started() {
  std::lock_guard lock(mutex_);
  record_.started = true;
  return write_record();
}

Status SessionDirectory::record_recovery(const std::string& guest) {
  return replace_file(folder_, kRecoveryFile, guest);
}

Result<std::vector<postcopy::ReceivedWords>> SessionDirectory::received_pages(
    const GuestMemory& memory) {
  // Once in a process: its lock goes with the first descriptor that is closed.
  if (received_ != nullptr) return received_->words();
  Result<std::unique_ptr<ReceivedPages>> pages = ReceivedPages::open(folder_.get(), memory);
  if (!pages && pages.error().code == Errc::kRefused)
    pages = ReceivedPages::create(folder_.get(), memory);
  if (!pages) return tl::unexpected<Error>(pages.error());
  received_ = std::move(*pages);
  return received_->words();
}

Status SessionDirectory::keep_command(const std::vector<std::string>& arguments) {
  std::string text;
  for (const std::string& argument : arguments) text.append(argument).push_back('\0');
  return replace_file(folder_, kCommandFile, text);
}

Status SessionDirectory::update_progress(const Progress& progress, Clock::time_point now) {
  std::lock_guard lock(mutex_);
  record_.progress = progress;
  bool due = !progress_written_at_ || now - *progress_written_at_ >= kProgressPeriod;
  if (!due) return {};
  progress_written_at_ = now;
  return write_record();
}

void SessionDirectory::settle() {
  std::lock_guard lock(mutex_);
  settled_ = true;
}

void SessionDirectory::keep() {
  std::lock_guard lock(mutex_);
  kept_ = true;
}

void SessionDirectory::keep_word() {
  keep();
  ReceivedPages::remove(folder_.get());
  ::unlinkat(folder_.get(), kRecoveryFile, 0);
}

Status SessionDirectory::write_record() {
  return replace_file(folder_, kStateFile, encode_session_record(record_));
}

Result<UniqueFd> open_session_folder(const std::string& session, SessionRole role) {
  if (!is_session_id(session)) return fail(Errc::kRefused, "'{}' names no session", session);
  UniqueFd folder = open_folder(session_path(session, role));
  if (!folder.valid() && errno == ENOENT) {
    return fail(Errc::kRefused, "this host does not have the {} side of session {}",
                to_string(role), session);
  }
  if (!folder.valid()) return fail_errno(errno, "open {}", session_path(session, role));
  return folder;
}

Result<SessionRecord> read_session(const std::string& session, SessionRole role) {
  if (!is_session_id(session)) {
    return fail(Errc::kRefused, "'{}' names no session: see `godwit status`", session);
  }
  Result<std::string> text = read_whole(session_path(session, role) + "/" + kStateFile);
  if (!text && text.error().os_errno == ENOENT) {
    return fail(Errc::kRefused, "this host does not have the {} side of session {}",
                to_string(role), session);
  }
  if (!text) return tl::unexpected<Error>(text.error());
  ASSIGN_OR_RETURN(SessionRecord record, parse_session_record(*text));
  if (record.session != session || record.role != role) {
    return fail(Errc::kCorrupt, "the state file of session {} is another's", session);
  }
  return record;
}

namespace {

Result<std::string> read_kept(const std::string& session, SessionRole role, const char* name) {
  if (!is_session_id(session)) return fail(Errc::kRefused, "'{}' names no session", session);
  Result<std::string> text = read_whole(session_path(session, role) + "/" + name);
  if (!text && text.error().os_errno == ENOENT) {
    return fail(
        Errc::kRefused,
        "the {} agent of session {} kept nothing to go on from: it was not in post-copy, or "
        "in QEMU's own (docs/channel.md)",
        to_string(role), session);
  }
  return text;
}

}  // namespace

Result<std::string> read_recovery(const std::string& session, SessionRole role) {
  return read_kept(session, role, kRecoveryFile);
}

Result<std::vector<std::string>> read_command(const std::string& session, SessionRole role) {
  ASSIGN_OR_RETURN(const std::string text, read_kept(session, role, kCommandFile));
  std::vector<std::string> arguments;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\0', at), text.size());
    arguments.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return arguments;
}

bool is_resumable(const std::string& session, SessionRole role) {
  return read_command(session, role).has_value();
}

Result<std::vector<SessionRecord>> list_sessions() {
  std::vector<SessionRecord> records;
  for (const std::string& session : session_names()) {
    for (SessionRole role : {SessionRole::kSource, SessionRole::kDestination}) {
      Result<SessionRecord> record = read_session(session, role);
      if (record) {
        records.push_back(std::move(*record));
      } else if (record.error().code != Errc::kRefused) {
        SessionRecord unreadable;
        unreadable.session = session;
        unreadable.role = role;
        unreadable.state = "unreadable";
        records.push_back(std::move(unreadable));
      }
    }
  }
  return records;
}

// Deleting takes several steps. It is done where nobody looks, so that a death between two of them
// leaves no half of a session.
Status remove_session(const std::string& session, SessionRole role) {
  if (!is_session_id(session)) return fail(Errc::kRefused, "'{}' names no session", session);
  const std::string path = session_path(session, role);
  const std::string removed = removed_path(session, role);
  std::error_code error;
  std::filesystem::remove_all(removed, error);
  if (::rename(path.c_str(), removed.c_str()) != 0 && errno != ENOENT) {
    return fail_errno(errno, "remove {}", path);
  }
  // Fails, rightly, while the other side is there.
  ::rmdir(fmt::format("{}/{}", runtime_directory(), session).c_str());
  // The session is gone by now; what stays of its files is swept later.
  std::filesystem::remove_all(removed, error);
  return {};
}

Status request_cancel(const SessionRecord& record) {
  return send_signal(record.agent, SIGINT);
}

}  // namespace godwit
