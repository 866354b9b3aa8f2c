// SPDX-License-Identifier: Apache-2.0
//
// Agents that die are child processes here, killed for real.
#include "engine/session/received_pages.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>

#include "engine/base/check.h"
#include "engine/base/units.h"
#include "engine/session/session_directory.h"
#include "tests/support/runtime_directory.h"

namespace godwit {
namespace {

using postcopy::PageLedger;
using postcopy::PageState;

constexpr char kSession[] = "00c0ffee00c0ffee";
constexpr uint64_t kHugePage = 2 * kMiB;

// Memory that only its sizes matter of.
GuestBlock block(const std::string& name, uint64_t page_count, uint64_t page_size_bytes) {
  GuestBlock result;
  result.name = name;
  result.page_size_bytes = page_size_bytes;
  result.numa_node = -1;
  result.memory = {reinterpret_cast<std::byte*>(kHugePage), page_count * page_size_bytes};
  result.fd = -1;
  return result;
}

// A process that does something, says so, and waits for its end; it comes by SIGKILL.
class Agent {
 public:
  explicit Agent(const std::function<void()>& work) {
    std::array<int, 2> said{};
    CHECK(::pipe2(said.data(), O_CLOEXEC) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      work();
      CHECK(::write(said[1], "x", 1) == 1);
      for (;;) ::pause();
    }
    ::close(said[1]);
    char byte = 0;
    done_ = ::read(said[0], &byte, 1) == 1;
    ::close(said[0]);
  }
  ~Agent() { kill(); }
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  pid_t pid() const { return pid_; }
  bool done() const { return done_; }

  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    CHECK(::waitpid(pid_, nullptr, 0) == pid_);
    pid_ = 0;
  }

 private:
  pid_t pid_ = 0;
  bool done_ = false;
};

class ReceivedPagesTest : public testing::Test {
 protected:
  ReceivedPagesTest() {
    auto directory =
        SessionDirectory::create(kSession, SessionRole::kDestination, {"host-a", "/run/guest.qmp"});
    CHECK(directory.has_value());
    session_ = std::move(*directory);
  }

  std::string path(const std::string& name) const {
    return runtime_.path() + "/" + kSession + "/destination/" + name;
  }
  Result<std::unique_ptr<ReceivedPages>> create() {
    return ReceivedPages::create(session_->folder_fd(), memory_);
  }
  Result<std::unique_ptr<ReceivedPages>> open() {
    return ReceivedPages::open(session_->folder_fd(), memory_);
  }

  // What open() says about a file in which `change` was written at `offset`.
  Error open_changed(std::streamoff offset, const std::string& change) {
    std::fstream file(path("received"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(offset).write(change.data(), static_cast<std::streamsize>(change.size()));
    file.close();
    Result<std::unique_ptr<ReceivedPages>> opened = open();
    CHECK(!opened.has_value());
    return opened.error();
  }

  test::RuntimeDirectory runtime_;
  std::unique_ptr<SessionDirectory> session_;
  GuestMemory memory_ = {block("ram0", 70'000, kBasePageBytes), block("ram1", 3, kHugePage)};
};

TEST_F(ReceivedPagesTest, HasAWordPer64PagesOfEachBlockAllClear) {
  auto pages = create();

  ASSERT_TRUE(pages) << pages.error().text();
  ASSERT_EQ((*pages)->words().size(), 2U);
  EXPECT_EQ((*pages)->words()[0].size(), 1094U);
  EXPECT_EQ((*pages)->words()[1].size(), 1U);
  for (postcopy::ReceivedWords words : (*pages)->words()) {
    for (const std::atomic<uint64_t>& word : words) EXPECT_EQ(word, 0U);
  }
}

TEST_F(ReceivedPagesTest, KeepsWhatAKilledAgentHadReceived) {
  std::unique_ptr<ReceivedPages> of_agent;  // so that only its end takes it away
  Agent agent([&] {
    of_agent = std::move(create().value());
    PageLedger ledger(memory_, of_agent->words());
    CHECK(ledger.claim(0, {69'990, 10}) && ledger.claim(1, {1, 1}) && ledger.claim(0, {5, 2}));
    ledger.mark_received(0, {69'990, 10});
    ledger.mark_received(1, {1, 1});
  });
  ASSERT_TRUE(agent.done());
  agent.kill();

  auto pages = open();

  ASSERT_TRUE(pages) << pages.error().text();
  PageLedger ledger(memory_, (*pages)->words());
  EXPECT_EQ(ledger.outstanding_pages(), 70'003U - 11);
  EXPECT_EQ(ledger.state(0, 69'990), PageState::kReceived);
  EXPECT_EQ(ledger.state(0, 69'999), PageState::kReceived);
  EXPECT_EQ(ledger.state(0, 5), PageState::kMissing);
  EXPECT_EQ(ledger.state(1, 0), PageState::kMissing);
  EXPECT_EQ(ledger.state(1, 1), PageState::kReceived);
}

// Killed anywhere between two instructions: what is marked has its content, and nothing is marked
// out of turn.
TEST_F(ReceivedPagesTest, HasEveryMarkedPageWholeWhenTheAgentIsKilledAtWork) {
  const size_t bytes = memory_[0].size_bytes();
  void* start = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(start, MAP_FAILED);
  memory_[0].memory = {static_cast<std::byte*>(start), bytes};
  auto* progress = static_cast<std::atomic<uint64_t>*>(
      ::mmap(nullptr, kBasePageBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(static_cast<void*>(progress), MAP_FAILED);
  pid_t agent = ::fork();
  if (agent == 0) {
    std::unique_ptr<ReceivedPages> pages = std::move(create().value());
    PageLedger ledger(memory_, pages->words());
    for (uint64_t page = 0; ledger.claim(0, {page, 1}); ++page) {
      std::memset(&memory_[0].memory[page * kBasePageBytes], 0x5a, kBasePageBytes);
      ledger.mark_received(0, {page, 1});
      progress->store(page);
    }
    for (;;) ::pause();
  }
  while (progress->load() < 1000) ::sched_yield();
  ::kill(agent, SIGKILL);
  ASSERT_EQ(::waitpid(agent, nullptr, 0), agent);

  auto pages = open();

  ASSERT_TRUE(pages) << pages.error().text();
  PageLedger ledger(memory_, (*pages)->words());
  const uint64_t missing = ledger.next_missing(0, 0).value_or(memory_[0].page_count());
  EXPECT_GE(missing, progress->load());
  EXPECT_EQ(ledger.outstanding_pages(), 70'003 - missing);
  for (uint64_t offset = 0; offset < missing * kBasePageBytes; ++offset) {
    ASSERT_EQ(memory_[0].memory[offset], std::byte{0x5a}) << offset;
  }
  ::munmap(progress, kBasePageBytes);
  ::munmap(start, bytes);
}

TEST_F(ReceivedPagesTest, CannotBeTakenFromAnAgentThatLives) {
  std::unique_ptr<ReceivedPages> pages;
  Agent agent([&] { pages = std::move(create().value()); });
  ASSERT_TRUE(agent.done());

  auto stolen = open();
  const pid_t pid = agent.pid();
  agent.kill();
  auto inherited = open();

  ASSERT_FALSE(stolen);
  EXPECT_EQ(stolen.error().code, Errc::kRefused);
  EXPECT_NE(stolen.error().text().find(std::to_string(pid)), std::string_view::npos);
  EXPECT_TRUE(inherited);
}

TEST_F(ReceivedPagesTest, IsNotMadeInPlaceOfAnother) {
  auto first = create();
  ASSERT_TRUE(first);
  (*first)->words()[0][7] = 1;

  auto second = create();

  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kRefused);
  EXPECT_EQ((*first)->words()[0][7], 1U);
  first->reset();
  EXPECT_EQ((*open())->words()[0][7], 1U);
  EXPECT_FALSE(std::filesystem::exists(path("received.new")));
}

TEST_F(ReceivedPagesTest, HasAllItsSpaceFromTheStart) {
  auto pages = create();
  ASSERT_TRUE(pages);
  struct stat status {};

  ASSERT_EQ(::stat(path("received").c_str(), &status), 0);

  EXPECT_GE(status.st_size, 70'000 / 8);
  EXPECT_GE(status.st_blocks * 512, status.st_size);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
}

TEST_F(ReceivedPagesTest, LeavesNothingBehindWhereThereIsNoSpace) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  auto* handler = ::signal(SIGXFSZ, SIG_IGN);
  rlimit little{kBasePageBytes, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &little), 0);

  auto pages = create();
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);

  ASSERT_FALSE(pages);
  EXPECT_EQ(pages.error().code, Errc::kSystem);
  EXPECT_FALSE(std::filesystem::exists(path("received")));
  EXPECT_FALSE(std::filesystem::exists(path("received.new")));
}

TEST_F(ReceivedPagesTest, SaysWhenThereIsNone) {
  auto pages = open();

  ASSERT_FALSE(pages);
  EXPECT_EQ(pages.error().code, Errc::kRefused);
}

TEST_F(ReceivedPagesTest, RefusesTheBitsOfOtherMemory) {
  ASSERT_TRUE(create());
  const GuestMemory own = memory_;
  const std::vector<GuestMemory> others = {
      {own[0]},
      {own[0], own[1], block("ram2", 1, kBasePageBytes)},
      {block("ram7", 70'000, kBasePageBytes), own[1]},
      {own[0], block("ram1", 3, kBasePageBytes)},
      {own[0], block("ram1", 4, kHugePage)},
      {own[1], own[0]},
  };

  for (const GuestMemory& other : others) {
    memory_ = other;
    auto pages = open();
    ASSERT_FALSE(pages);
    EXPECT_EQ(pages.error().code, Errc::kCorrupt) << pages.error().text();
  }
  memory_ = own;
  EXPECT_TRUE(open());
}

TEST_F(ReceivedPagesTest, RefusesAFileThatItDidNotWrite) {
  ASSERT_TRUE(create());
  const auto size = static_cast<std::streamoff>(std::filesystem::file_size(path("received")));

  const Error longer = open_changed(size, "x");
  std::filesystem::resize_file(path("received"), 100);
  const Error shorter = open_changed(0, "g");
  std::filesystem::resize_file(path("received"), 10);
  const Error stub = open_changed(0, "g");

  EXPECT_EQ(longer.code, Errc::kCorrupt) << longer.text();
  EXPECT_EQ(shorter.code, Errc::kCorrupt) << shorter.text();
  EXPECT_EQ(stub.code, Errc::kCorrupt) << stub.text();
}

TEST_F(ReceivedPagesTest, NamesTheVersionThatItCannotRead) {
  ASSERT_TRUE(create());

  const Error error = open_changed(16, std::string("\x07\0\0\0", 4));

  EXPECT_EQ(error.code, Errc::kCorrupt);
  EXPECT_NE(error.text().find("version 7"), std::string_view::npos) << error.text();
}

TEST_F(ReceivedPagesTest, RefusesAnotherKindOfFile) {
  ASSERT_TRUE(create());

  EXPECT_EQ(open_changed(3, "X").code, Errc::kCorrupt);
}

TEST_F(ReceivedPagesTest, IsReachedByItsSessionsName) {
  ASSERT_TRUE(create());
  Result<UniqueFd> folder = open_session_folder(kSession, SessionRole::kDestination);
  ASSERT_TRUE(folder) << folder.error().text();

  EXPECT_TRUE(ReceivedPages::open(folder->get(), memory_));
  EXPECT_EQ(open_session_folder(kSession, SessionRole::kSource).error().code, Errc::kRefused);
  EXPECT_EQ(open_session_folder("../..", SessionRole::kSource).error().code, Errc::kRefused);
}

TEST_F(ReceivedPagesTest, GoesWithTheSession) {
  ASSERT_TRUE(create());
  session_.reset();

  EXPECT_FALSE(std::filesystem::exists(path("received")));
}

}  // namespace
}  // namespace godwit
