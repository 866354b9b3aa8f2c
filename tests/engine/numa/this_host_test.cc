// SPDX-License-Identifier: Apache-2.0
//
// Memory and threads of this host, on each of its nodes. Run in the lab as well, on two of them.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "engine/base/check.h"
#include "engine/base/units.h"
#include "engine/numa/memory_binding.h"
#include "engine/numa/page_location.h"
#include "engine/numa/thread_binding.h"
#include "engine/numa/topology.h"

namespace godwit::numa {
namespace {

constexpr size_t kBytes = 256 * kBasePageBytes;

class Memory {
 public:
  explicit Memory(int sharing)
      : start_(::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0)) {
    CHECK(start_ != MAP_FAILED);
  }
  ~Memory() { ::munmap(start_, kBytes); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  std::span<std::byte> bytes() { return {static_cast<std::byte*>(start_), kBytes}; }
  void fill() { std::memset(start_, 1, kBytes); }
  // SAFETY: only as a number for the kernel.
  MappedRange range(pid_t pid = 0) const {
    return {pid, reinterpret_cast<uint64_t>(start_), kBytes};
  }

 private:
  void* start_;
};

Topology this_host() {
  Result<Topology> topology = Topology::of_this_host();
  CHECK(topology.has_value());
  return std::move(*topology);
}

// Containers often forbid the system call; the lab does not.
class PageLocation : public testing::Test {
 protected:
  void SetUp() override {
    Memory memory(MAP_PRIVATE);
    const Result<int> found = find_node(memory.range());
    if (!found && found.error().os_errno == EPERM && std::getenv("GODWIT_LAB") == nullptr)
      GTEST_SKIP() << to_string(found.error());
  }
};

TEST(ThisHost, HasNodesWithMemoryAndCpus) {
  const Topology topology = this_host();

  ASSERT_FALSE(topology.nodes.empty());
  EXPECT_GT(topology.nodes.front().memory_bytes, 0U);
  EXPECT_FALSE(topology.nodes.front().cpus().empty());
}

TEST(ThisHost, LabHasTwoNodes) {
  if (std::getenv("GODWIT_LAB") == nullptr) GTEST_SKIP() << "in the lab only";

  EXPECT_EQ(this_host().nodes.size(), 2U);
}

// Memory is taken from the node of whoever touches it first.
TEST_F(PageLocation, MemoryLiesOnTheNodeThatItIsBoundTo) {
  for (const NumaNode& node : this_host().nodes) {
    Memory memory(MAP_SHARED);
    ASSERT_TRUE(bind_memory(memory.bytes(), node.number));

    memory.fill();

    EXPECT_EQ(find_node(memory.range()).value(), node.number);
  }
}

TEST_F(PageLocation, MemoryIsNotBoundToANodeThatIsNotThere) {
  Memory memory(MAP_SHARED);
  for (const int node : {-1, 999, 100'000}) {
    const Status bound = bind_memory(memory.bytes(), node);
    ASSERT_FALSE(bound);
    EXPECT_EQ(bound.error().code, Errc::kRefused);
  }
}

TEST_F(PageLocation, IsTheNodeThatPagesWereTakenFrom) {
  const Result<CpuList> before = cpus_of_this_thread();
  for (const NumaNode& node : this_host().nodes) {
    ASSERT_TRUE(bind_this_thread(node.cpus()));
    for (const int sharing : {MAP_PRIVATE, MAP_SHARED}) {
      Memory memory(sharing);

      memory.fill();

      EXPECT_EQ(find_node(memory.range()), node.number);
    }
  }
  EXPECT_TRUE(bind_this_thread(*before));
}

TEST_F(PageLocation, IsOfTheProcessThatIsAskedFor) {
  Memory memory(MAP_SHARED);
  const pid_t child = ::fork();
  if (child == 0) {
    memory.fill();
    ::pause();
  }
  // Our own page tables stay empty; those of the child fill up.
  Result<int> found = kUnknownNode;
  while (found && *found == kUnknownNode) found = find_node(memory.range(child));
  const Result<int> seen_here = find_node(memory.range());
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);

  ASSERT_TRUE(found) << to_string(found.error());
  EXPECT_EQ(seen_here, kUnknownNode);
}

TEST_F(PageLocation, LookingAllocatesNothing) {
  Memory memory(MAP_PRIVATE);

  EXPECT_EQ(find_node(memory.range()), kUnknownNode);
  EXPECT_EQ(find_node(memory.range()), kUnknownNode);
}

TEST_F(PageLocation, PageOfZeroesIsNowhere) {
  Memory memory(MAP_PRIVATE);
  volatile const std::byte* first = memory.bytes().data();
  const std::byte read = *first;  // maps the kernel's page of zeroes
  EXPECT_EQ(read, std::byte{0});

  EXPECT_EQ(find_node(memory.range()), kUnknownNode);
}

TEST_F(PageLocation, SaysWhichPagesAreThere) {
  Memory memory(MAP_PRIVATE);
  memory.bytes()[kBasePageBytes] = std::byte{1};
  const uint64_t start = memory.range().start;

  Result<std::vector<int>> nodes =
      find_page_nodes(0, std::vector<uint64_t>{start, start + kBasePageBytes});

  ASSERT_TRUE(nodes);
  EXPECT_EQ((*nodes)[0], kUnknownNode);
  EXPECT_GE((*nodes)[1], 0);
}

TEST_F(PageLocation, ProcessThatIsGoneIsAnError) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);

  Result<int> node = find_node({child, 0, kBytes});

  ASSERT_FALSE(node);
  EXPECT_EQ(node.error().os_errno, ESRCH);
}

TEST(PageNodes, MostFrequentOneWins) {
  EXPECT_EQ(most_frequent_node(std::vector<int>{1, -1, -1, -1, 0, 1}), 1);
  EXPECT_EQ(most_frequent_node(std::vector<int>{3, 2}), 2);
  EXPECT_EQ(most_frequent_node(std::vector<int>{-1}), kUnknownNode);
}

TEST(ThreadBinding, ThreadRunsWhereItWasBound) {
  const Result<CpuList> before = cpus_of_this_thread();
  ASSERT_TRUE(before);

  for (const NumaNode& node : this_host().nodes) {
    ASSERT_TRUE(bind_this_thread(node.cpus()));
    EXPECT_EQ(cpus_of_this_thread(), node.cpus());
    unsigned cpu = 0;
    ASSERT_EQ(::getcpu(&cpu, nullptr), 0);
    const CpuList cpus = node.cpus();
    EXPECT_NE(std::find(cpus.begin(), cpus.end(), static_cast<int>(cpu)), cpus.end());
  }
  EXPECT_TRUE(bind_this_thread(*before));
}

TEST(ThreadBinding, NoCpusLeaveTheThreadAsItIs) {
  const Result<CpuList> before = cpus_of_this_thread();

  EXPECT_TRUE(bind_this_thread({}));
  ASSERT_TRUE(before);
  EXPECT_EQ(cpus_of_this_thread(), *before);
}

TEST(ThreadBinding, CpusThatAreNotThereAreAnError) {
  Status status = bind_this_thread({16000});

  ASSERT_FALSE(status);
  EXPECT_EQ(to_string(status.error()), "bind a thread to CPUs 16000: Invalid argument");
}

}  // namespace
}  // namespace godwit::numa
