// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/source_post_copy.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <set>

#include "engine/base/check.h"

namespace godwit {
namespace {

class SomeRegion final : public MemoryRegion {
 public:
  explicit SomeRegion(std::span<std::byte> bytes) : bytes_(bytes) {}
  std::span<std::byte> bytes() const override { return bytes_; }
  RemoteRegion describe() const override { return {0, bytes_.size(), 1}; }

 private:
  std::span<std::byte> bytes_;
};

enum class Health : uint8_t { kWorks = 1, kCannotRegister = 2 };

// Goes nowhere.
class SomeTransport final : public Transport {
 public:
  explicit SomeTransport(Health health) : health_(health) {}
  Capabilities capabilities() const override { return {"some", true, 1024, 16}; }
  Result<std::unique_ptr<Endpoint>> connect(const std::string&, const LaneTicket&,
                                            Deadline) override {
    return fail(Errc::kPeerLost, "nobody is there");
  }
  Result<std::unique_ptr<Listener>> listen(const std::string&) override {
    return fail(Errc::kSystem, "nobody comes");
  }

 private:
  Result<std::unique_ptr<MemoryRegion>> make_region(std::span<std::byte> bytes, RemoteAccess,
                                                    PageStability) override {
    if (health_ == Health::kCannotRegister) return fail(Errc::kSystem, "no memory can be pinned");
    return std::unique_ptr<MemoryRegion>(std::make_unique<SomeRegion>(bytes));
  }

  const Health health_;
};

class NoObserver final : public MigrationObserver {
 public:
  void on_state(std::string_view) override {}
  void on_progress(const Progress&) override {}
};

// Remembers by which rails lanes were wanted.
class WantedRails final : public precopy::LaneOpener {
 public:
  Result<precopy::OpenedLane> open(size_t rail) override {
    std::lock_guard lock(mutex_);
    rails_.insert(rail);
    ++attempts_;
    changed_.notify_all();
    return fail(Errc::kPeerLost, "no lane");
  }
  Result<std::string> close(uint32_t) override { return std::string(); }

  std::set<size_t> after(int attempts) {
    std::unique_lock lock(mutex_);
    CHECK(changed_.wait_for(lock, seconds(30), [&] { return attempts_ >= attempts; }));
    return rails_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<size_t> rails_;
  int attempts_ = 0;
};

class SourcePostCopyTest : public testing::Test {
 protected:
  SourcePostCopyTest() {
    GuestBlock block;
    block.name = "ram";
    block.page_size_bytes = kBasePageBytes;
    block.memory = bytes_;
    memory_.push_back(block);
  }

  Result<PreparePostCopy> open_rails() {
    std::vector<const Rail*> rails;
    for (const Rail& rail : rails_) rails.push_back(&rail);
    return post_copy_.open_rails(rails);
  }

  std::vector<std::byte> bytes_ = std::vector<std::byte>(kBasePageBytes);
  GuestMemory memory_;
  SomeTransport good_{Health::kWorks};
  SomeTransport bad_{Health::kCannotRegister};
  std::vector<Rail> rails_;
  NoObserver observer_;
  MigrationReport report_;
  SourceOptions options_;
  SourcePostCopy post_copy_{{.memory = memory_,
                             .rails = rails_,
                             .observer = observer_,
                             .reconnector = nullptr,
                             .report = report_},
                            options_};
};

TEST_F(SourcePostCopyTest, RailThatCannotServeIsNotedAndTheOthersServe) {
  rails_ = {{.name = "bad0", .transport = &bad_, .listen = {}},
            {.name = "good0", .transport = &good_, .listen = {}}};

  const Result<PreparePostCopy> offer = open_rails();
  ASSERT_TRUE(offer) << to_string(offer.error());
  WantedRails opener;
  EXPECT_FALSE(post_copy_.open_lanes(opener, Deadline::min()));

  ASSERT_EQ(offer->rails.size(), 2U) << "rails keep their numbers";
  EXPECT_TRUE(offer->rails[0].regions.empty());
  EXPECT_EQ(offer->rails[1].regions.size(), 1U);
  EXPECT_NE(report_.transport_note.find("bad0"), std::string::npos) << report_.transport_note;
  EXPECT_EQ(opener.after(4), std::set<size_t>{1});
}

TEST_F(SourcePostCopyTest, WithoutARailThatServesThereIsAnErrorEachTime) {
  rails_ = {{.name = "bad0", .transport = &bad_, .listen = {}},
            {.name = "bad1", .transport = &bad_, .listen = {}}};

  EXPECT_FALSE(open_rails());
  EXPECT_FALSE(open_rails());
  EXPECT_TRUE(report_.transport_note.empty());
}

}  // namespace
}  // namespace godwit
