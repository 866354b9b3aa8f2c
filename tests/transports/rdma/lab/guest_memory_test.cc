// SPDX-License-Identifier: Apache-2.0
//
// Guest memory on a real device: registered chunk by chunk while it is written, pinned or copied,
// and what becomes of it when the guest gives pages back.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iostream>
#include <random>
#include <thread>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/unique_fd.h"
#include "tests/transports/rdma/lab/lanes.h"

namespace godwit::lab {
namespace {

// More than one chunk (chunk_map.h), and more than a staging ring.
constexpr size_t kBytes = 12 * kMiB;

// As a guest's: in a memory file, where a hole can be punched.
class MemoryFile {
 public:
  explicit MemoryFile(size_t size = kBytes) : fd_(::memfd_create("guest", MFD_CLOEXEC)) {
    CHECK(fd_.valid() && ::ftruncate(fd_.get(), static_cast<off_t>(size)) == 0);
    void* start = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    CHECK(start != MAP_FAILED);
    bytes_ = {static_cast<std::byte*>(start), size};
  }
  ~MemoryFile() { ::munmap(bytes_.data(), bytes_.size()); }

  std::span<std::byte> bytes() const { return bytes_; }
  void fill(uint64_t seed) {
    std::mt19937_64 random(seed);
    for (size_t at = 0; at < kBytes; at += sizeof(uint64_t)) {
      const uint64_t word = random();
      std::memcpy(bytes_.data() + at, &word, sizeof(word));
    }
  }
  void punch(size_t offset, size_t size) {
    CHECK(::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      static_cast<off_t>(offset), static_cast<off_t>(size)) == 0);
  }
  uint64_t allocated_bytes() const {
    struct stat status {};
    CHECK(::fstat(fd_.get(), &status) == 0);
    return static_cast<uint64_t>(status.st_blocks) * 512;
  }

 private:
  UniqueFd fd_;
  std::span<std::byte> bytes_;
};

class PinnedOrCopied : public testing::TestWithParam<PageStability> {
 protected:
  PinnedOrCopied() {
    local_ = lane_.source->register_memory(here_.bytes(), RemoteAccess::kNone, GetParam()).value();
    remote_ = lane_.destination->register_memory(there_.bytes(), RemoteAccess::kWrite).value();
    peer_ = std::jthread([this] {
      std::array<std::byte, 64> message;
      while (lane_.ends.destination->receive(message, deadline_in(kTestTime))) {
      }
    });
  }
  ~PinnedOrCopied() override {
    lane_.ends.source.reset();
    peer_.join();
    lane_.ends.destination.reset();
  }

  void write(uint64_t offset, uint32_t size) {
    const TransferOp op{.local = local_.get(),
                        .local_offset_bytes = offset,
                        .remote = remote_->describe(),
                        .remote_offset_bytes = offset,
                        .size_bytes = size,
                        .tag = 0};
    Endpoint& endpoint = *lane_.ends.source;
    std::array<Completion, 64> completions;
    while (true) {
      const Result<size_t> accepted = endpoint.post_writes({&op, 1}, SourceMemory::kLive);
      ASSERT_TRUE(accepted) << to_string(accepted.error());
      if (*accepted == 1) break;
      ASSERT_TRUE(endpoint.poll(completions, deadline_in(milliseconds(100))));
    }
  }
  void finish() {
    ASSERT_TRUE(lane_.ends.source->flush(deadline_in(kTestTime)));
    std::array<Completion, 64> completions;
    while (lane_.ends.source->poll(completions, deadline_in(kTestTime)).value() > 0) {
    }
  }
  void write_all() {
    for (uint64_t offset = 0; offset < kBytes; offset += kOperationBytesMax)
      write(offset, kOperationBytesMax);
    finish();
  }
  bool same() const { return std::ranges::equal(here_.bytes(), there_.bytes()); }

  MemoryFile here_;
  MemoryFile there_;
  Lane lane_{{.device = "rxe0"}};
  std::unique_ptr<MemoryRegion> local_;
  std::unique_ptr<MemoryRegion> remote_;
  std::jthread peer_;
};

INSTANTIATE_TEST_SUITE_P(GuestMemoryOverRdma, PinnedOrCopied,
                         testing::Values(PageStability::kStable, PageStability::kReplaceable),
                         [](const auto& kind) {
                           return kind.param == PageStability::kStable ? "Pinned" : "Copied";
                         });

TEST_P(PinnedOrCopied, ArrivesWholeAlsoAcrossTheEdgesOfChunks) {
  here_.fill(1);
  write_all();
  EXPECT_TRUE(same());

  here_.fill(2);
  std::mt19937_64 random(3);
  // Pieces of any size that lie anywhere, most edges of chunks inside of one.
  for (uint64_t offset = 0; offset < kBytes;) {
    const auto size = static_cast<uint32_t>(
        std::min<uint64_t>(kBytes - offset, 1 + random() % kOperationBytesMax));
    write(offset, size);
    offset += size;
  }
  finish();
  EXPECT_TRUE(same());
}

TEST_P(PinnedOrCopied, PinsNothingThatCarriesNothing) {
  here_.bytes()[0] = std::byte{1};
  write(0, kBasePageBytes);
  finish();

  EXPECT_EQ(there_.bytes()[0], std::byte{1});
  // The chunk that was asked for, and the one that may come next.
  EXPECT_LE(there_.allocated_bytes(), 4 * kMiB);
  EXPECT_LE(here_.allocated_bytes(), 4 * kMiB);
}

// A balloon inflates and deflates: the VMM punches a hole, and the guest gets another page there.
TEST_P(PinnedOrCopied, IsReadFromTheNewPageOnlyWhenItIsCopied) {
  here_.fill(1);
  write_all();
  here_.punch(0, kMiB);
  here_.fill(2);

  write_all();

  // What is pinned is the page that the guest has no more: why replaceable memory is copied.
  EXPECT_EQ(same(), GetParam() == PageStability::kReplaceable);
}

// How long it takes from memory that no device knows to its first page being at the peer. For the
// record of a run; what is checked is that most of the guest was left alone by then.
TEST(GuestMemoryOverRdma, SendsItsFirstPageWithoutWaitingForTheRest) {
  for (const size_t size : {kBytes, size_t{64} * kGiB}) {
    MemoryFile here(size);
    MemoryFile there(size);
    here.bytes()[0] = std::byte{1};
    Lane lane({.device = "rxe0"});
    std::jthread peer([&] {
      std::array<std::byte, 64> message;
      while (lane.ends.destination->receive(message, deadline_in(kTestTime))) {
      }
    });
    const auto start = Clock::now();
    auto local = lane.source->register_memory(here.bytes(), RemoteAccess::kNone).value();
    auto remote = lane.destination->register_memory(there.bytes(), RemoteAccess::kWrite).value();
    const TransferOp op{.local = local.get(),
                        .local_offset_bytes = 0,
                        .remote = remote->describe(),
                        .remote_offset_bytes = 0,
                        .size_bytes = kBasePageBytes,
                        .tag = 0};
    while (lane.ends.source->post_writes({&op, 1}, SourceMemory::kLive).value() == 0) {
    }
    ASSERT_TRUE(lane.ends.source->flush(deadline_in(kTestTime)));
    std::cout << "first page of " << size / kMiB
              << " MiB: " << to_milliseconds(Clock::now() - start) << " ms\n";
    EXPECT_EQ(there.bytes()[0], std::byte{1});
    EXPECT_LE(there.allocated_bytes(), 1 * kMiB);
    lane.ends.source.reset();
    peer.join();
    lane.ends.destination.reset();
  }
}

}  // namespace
}  // namespace godwit::lab
