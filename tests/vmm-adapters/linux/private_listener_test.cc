// SPDX-License-Identifier: Apache-2.0
//
// A socket for one process alone, and a stream that is connected after it was handed out.
#include "vmm-adapters/linux/private_listener.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>

namespace godwit {
namespace {

namespace fs = std::filesystem;

class PrivateListenerTest : public testing::Test {
 protected:
  PrivateListenerTest() {
    std::string folder = (fs::temp_directory_path() / "godwit-XXXXXX").string();
    EXPECT_NE(::mkdtemp(folder.data()), nullptr);
    folder_ = folder;
  }
  ~PrivateListenerTest() override { fs::remove_all(folder_); }

  std::string neighbour() const { return (folder_ / "guest.qmp").string(); }

  fs::path folder_;
};

// Connects to `path` from another process, and leaves at once.
void connect_from_another_process(const std::string& path) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(connect_unix(path) ? 0 : 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(PrivateListenerTest, LetsInTheOneProcess) {
  const auto listener = PrivateListener::open(neighbour(), ::getpid());
  ASSERT_TRUE(listener) << to_string(listener.error());
  const Result<UniqueFd> connected = connect_unix((*listener)->path());
  ASSERT_TRUE(connected);

  const Result<UniqueFd> accepted = (*listener)->accept(deadline_in(seconds(10)));

  ASSERT_TRUE(accepted) << to_string(accepted.error());
  EXPECT_EQ(peer_of(accepted->get()).value(), ::getpid());
}

TEST_F(PrivateListenerTest, LetsInNobodyElse) {
  const auto listener = PrivateListener::open(neighbour(), ::getpid());
  ASSERT_TRUE(listener);
  connect_from_another_process((*listener)->path());

  const Result<UniqueFd> accepted = (*listener)->accept(deadline_in(milliseconds(10)));

  ASSERT_FALSE(accepted);
  EXPECT_EQ(accepted.error().code, Errc::kTimeout);
}

TEST_F(PrivateListenerTest, IsInAFolderOfItsOwnAndLeavesNothing) {
  {
    const auto listener = PrivateListener::open(neighbour(), ::getpid());
    ASSERT_TRUE(listener);
    const fs::path own = fs::path((*listener)->path()).parent_path();
    EXPECT_EQ(own.parent_path(), folder_);
    EXPECT_EQ(fs::status(own).permissions(), fs::perms::owner_all);
  }
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(PrivateListenerTest, RefusesAPathThatIsTooLongAndLeavesNothing) {
  const fs::path deep = folder_ / std::string(100, 'x');
  fs::create_directory(deep);

  const auto listener = PrivateListener::open((deep / "guest.qmp").string(), ::getpid());

  ASSERT_FALSE(listener);
  EXPECT_EQ(listener.error().code, Errc::kRefused);
  EXPECT_TRUE(fs::is_empty(deep));
}

}  // namespace
}  // namespace godwit
