// SPDX-License-Identifier: Apache-2.0
//
// What an agent leaves on disk about its side of a session, so that others on the host can see it
// (`godwit status`), stop it (`godwit cancel`), and judge it when the agent is dead.
//
// It is a folder, `/run/godwit/<session>/<role>` (GODWIT_RUNTIME_DIR moves the first two parts),
// with one small text file, replaced as a whole; in post-copy the destination has a second file
// there (received_pages.h). The source's decision to commit is in that file
// before it is on the wire; so after the death of an agent the file says who owns the guest:
// without the commit, the source.
//
// Invariant: a session that was committed and whose outcome was never learnt is not removed.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/base/unique_fd.h"
#include "engine/migration/observer.h"
#include "engine/report.h"
#include "engine/session/received_pages.h"
#include "engine/session/session_record.h"

namespace godwit {

class SessionDirectory final : public CommitLog {
 public:
  struct Parties {
    std::string peer;   // the other host
    std::string guest;  // see SessionRecord
  };

  // Makes the folder, for this process. Errors: kRefused when this host has this side already.
  static Result<std::unique_ptr<SessionDirectory>> create(const std::string& session,
                                                          SessionRole role, const Parties& parties);

  // Takes the place of an agent that died with the outcome in doubt. Errors: kRefused when there is
  // no such session, its agent lives, or nothing was decided in it.
  static Result<std::unique_ptr<SessionDirectory>> take_over(const std::string& session,
                                                             SessionRole role);

  // Leaves the folder only when the outcome is in doubt.
  ~SessionDirectory() override;
  SessionDirectory(const SessionDirectory&) = delete;
  SessionDirectory& operator=(const SessionDirectory&) = delete;

  const std::string& session() const { return record_.session; }
  SessionRole role() const { return record_.role; }

  // For other files of this side (ReceivedPages), which go with the folder. Valid as long as this.
  int folder_fd() const { return folder_.get(); }

  // Thread: any, for all of these.
  Status set_state(std::string_view state);

  // Returns once the decision is in the file: only then may it be told to the destination.
  Status record_commit() override;
  Status record_return() override;
  Status record_started() override;

  Status record_recovery(const std::string& guest) override;
  Result<std::vector<postcopy::ReceivedWords>> received_pages(const GuestMemory& memory) override;

  // The arguments of the program, for whoever starts it again (`godwit resume`).
  Status keep_command(const std::vector<std::string>& arguments);

  // At most once per second a write; otherwise only remembered.
  Status update_progress(const Progress& progress, Clock::time_point now = Clock::now());

  // The outcome of the commit is known: the folder may go.
  void settle();

  // The outcome is in doubt, commit or not: the folder stays.
  void keep();

  // All is done here, and the other side could not be told: the folder stays, without what only a
  // guest that misses pages needs.
  void keep_word();

 private:
  SessionDirectory(SessionRecord record, UniqueFd folder);
  Status write_record();  // Requires: mutex_ held.

  std::mutex mutex_;
  SessionRecord record_;
  UniqueFd folder_;
  std::unique_ptr<ReceivedPages> received_;
  bool settled_ = false;
  bool kept_ = false;
  std::optional<Clock::time_point> progress_written_at_;
};

// Where sessions are: GODWIT_RUNTIME_DIR, or /run/godwit.
std::string runtime_directory();

// Errors: kRefused when this host does not have that side of the session; kCorrupt when its file is
// not one of ours.
Result<SessionRecord> read_session(const std::string& session, SessionRole role);

// The folder that an agent has, or had before it died. Errors: kRefused when there is none.
Result<UniqueFd> open_session_folder(const std::string& session, SessionRole role);

// All sides of all sessions on this host, in the order of their names. One whose file cannot be
// read is listed with the state "unreadable".
Result<std::vector<SessionRecord>> list_sessions();

// What the agent of a side kept for the one that takes its place. Errors: kRefused when it kept
// nothing.
Result<std::string> read_recovery(const std::string& session, SessionRole role);
Result<std::vector<std::string>> read_command(const std::string& session, SessionRole role);

// Whether it kept that.
bool is_resumable(const std::string& session, SessionRole role);

// For the survivor of a dead agent. Not an error when there is nothing. The side is there as a
// whole or not at all for whoever looks, or comes after a death in here.
Status remove_session(const std::string& session, SessionRole role);

// Asks a running agent to stop. Errors: kRefused when it is dead.
Status request_cancel(const SessionRecord& record);

}  // namespace godwit
