// SPDX-License-Identifier: Apache-2.0
//
// Taking hold of a running guest under a real QEMU: finding its memory, tracking it, pausing it.
#include "vmm-adapters/qemu/qemu_source_guest.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstring>
#include <fstream>

#include "engine/base/units.h"
#include "tests/vmm-adapters/linux/tracked_process.h"
#include "tests/vmm-adapters/qemu/boot_guest.h"

namespace godwit::test {
namespace {

class QemuSourceGuestTest : public testing::TestWithParam<std::string> {};

std::string name_of(const testing::TestParamInfo<std::string>& parameter) {
  return parameter.param == "7.2" ? "Version7Point2" : "Version10Point0";
}

INSTANTIATE_TEST_SUITE_P(Qemu, QemuSourceGuestTest, testing::ValuesIn(available_qemus()), name_of);

std::unique_ptr<QemuSourceGuest> open_guest(const QemuProcess& qemu) {
  Result<std::unique_ptr<QemuSourceGuest>> guest = QemuSourceGuest::open(qemu.options());
  EXPECT_TRUE(guest) << to_string(guest.error());
  return guest ? std::move(*guest) : nullptr;
}

// What the guest has in physical memory, as QEMU's monitor sees it.
uint32_t guest_word(QemuProcess& qemu, uint64_t address) {
  std::string text = qemu.human(fmt::format("xp /1xw {:#x}", address));
  return static_cast<uint32_t>(std::stoul(text.substr(text.find(": ") + 2), nullptr, 16));
}

void write_word(const GuestBlock& block, uint64_t offset, uint32_t value) {
  std::memcpy(&block.memory[offset], &value, sizeof(value));
}

// Mappings that a userfaultfd write-protects: the kernel marks them "uw" in smaps.
uint64_t write_protected_mappings(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/smaps", pid));
  uint64_t count = 0;
  for (std::string line; std::getline(file, line);) {
    count += line.starts_with("VmFlags:") && (line + " ").find(" uw ") != std::string::npos;
  }
  return count;
}

TEST_P(QemuSourceGuestTest, TellsBackendsOfOneSizeApart) {
  TestFolder folder("/dev/shm");
  auto backend = [&](const std::string& id) {
    return GetParam() == "7.2"
               ? "memory-backend-memfd,share=on,size=32M,id=" + id
               : "memory-backend-file,share=on,size=32M,mem-path=" + folder.path(id) + ",id=" + id;
  };
  QemuProcess qemu(
      GetParam(), {"-machine", "pc-q35-7.2", "-m", "64M,slots=2,maxmem=1G", "-object", backend("b"),
                   "-object", backend("a"), "-object", backend("dimm"), "-numa", "node,memdev=a",
                   "-numa", "node,memdev=b", "-device", "pc-dimm,memdev=dimm"});

  std::unique_ptr<QemuSourceGuest> guest = open_guest(qemu);

  ASSERT_NE(guest, nullptr);
  ASSERT_EQ(guest->memory().size(), 3U);
  const std::map<std::string, uint64_t> guest_addresses = {
      {"a", 0}, {"b", 32 * kMiB}, {"dimm", 4 * kGiB}};
  uint32_t mark = 0x1badb002;
  for (const GuestBlock& block : guest->memory()) {
    ASSERT_EQ(block.size_bytes(), 32 * kMiB);
    write_word(block, 8 * kMiB, ++mark);
    EXPECT_EQ(guest_word(qemu, guest_addresses.at(block.name) + 8 * kMiB), mark) << block.name;
  }
}

TEST_P(QemuSourceGuestTest, SaysWhatTheGuestIs) {
  GuestArguments arguments(BootGuest{}, Backing::kFile);
  QemuProcess qemu(GetParam(), arguments.make({"-smp", "2"}));

  std::unique_ptr<QemuSourceGuest> guest = open_guest(qemu);

  ASSERT_NE(guest, nullptr);
  const GuestIdentity& identity = guest->identity();
  EXPECT_EQ(identity.at("vmm"), "qemu");
  EXPECT_EQ(identity.at("version").substr(0, GetParam().size()), GetParam());
  EXPECT_EQ(identity.at("machine"), "pc-i440fx-7.2");
  EXPECT_EQ(identity.at("cpu"), "qemu64-x86_64-cpu");
  EXPECT_EQ(identity.at("cpus"), "2");
  EXPECT_EQ(identity.at("accelerator"), "tcg");
  EXPECT_TRUE(identity.contains("cpuid.1.0.EDX"));
}

TEST_P(QemuSourceGuestTest, LosesNoPageOfAGuestThatDirties) {
  BootGuest boot{.dirty_end = 33U << 20};
  GuestArguments arguments(boot, Backing::kFile);
  QemuProcess qemu(GetParam(), arguments.make());
  std::unique_ptr<QemuSourceGuest> guest = open_guest(qemu);
  ASSERT_NE(guest, nullptr);
  const GuestBlock& low = guest->memory()[0];
  ASSERT_TRUE(wait_for_heartbeat(low));
  ASSERT_TRUE(guest->dirty_tracker().start());
  std::vector<std::byte> copy(low.memory.begin(), low.memory.end());

  uint64_t pages_copied = 0;
  auto copy_dirty = [&] {
    GuestPageSet dirty = empty_page_set(guest->memory());
    Status status = guest->dirty_tracker().collect(dirty);
    ASSERT_TRUE(status) << to_string(status.error());
    pages_copied += dirty[0].count();
    uint64_t at = 0;
    while (auto run = dirty[0].next_run(at, dirty[0].page_count())) {
      at = run->first_page + run->page_count;
      uint64_t offset = run->first_page * kBasePageBytes;
      std::memcpy(&copy[offset], &low.memory[offset], run->page_count * kBasePageBytes);
    }
  };
  uint32_t until = heartbeat(low) + 200'000;
  while (heartbeat(low) < until) copy_dirty();
  ASSERT_TRUE(guest->pause());
  copy_dirty();

  EXPECT_GT(pages_copied, 8192U);
  EXPECT_EQ(std::memcmp(copy.data(), low.memory.data(), copy.size()), 0);
  EXPECT_EQ(boot.count_wrong_words(low), 0U);
}

TEST_P(QemuSourceGuestTest, PausesAndResumesAgainAndAgain) {
  GuestArguments arguments(BootGuest{}, Backing::kFile);
  QemuProcess qemu(GetParam(), arguments.make());
  std::unique_ptr<QemuSourceGuest> guest = open_guest(qemu);
  ASSERT_NE(guest, nullptr);
  const GuestBlock& low = guest->memory()[0];
  ASSERT_TRUE(wait_for_heartbeat(low));

  for (int i = 0; i < 20; i++) {
    ASSERT_TRUE(guest->pause());
    EXPECT_EQ(qemu.run_state(), "paused");
    uint32_t stopped_at = heartbeat(low);
    ASSERT_TRUE(guest->resume());
    ASSERT_TRUE(guest->resume());
    ASSERT_TRUE(wait_for_heartbeat(low, stopped_at));
  }
}

TEST_P(QemuSourceGuestTest, RunsOnAfterItsStateWasSaved) {
  GuestArguments arguments(BootGuest{}, Backing::kFile);
  QemuProcess qemu(GetParam(), arguments.make());
  std::unique_ptr<QemuSourceGuest> guest = open_guest(qemu);
  ASSERT_NE(guest, nullptr);
  const GuestBlock& low = guest->memory()[0];
  ASSERT_TRUE(wait_for_heartbeat(low));

  for (int i = 0; i < 3; i++) {
    ASSERT_TRUE(guest->pause());
    uint64_t bytes = 0;
    Status saved = guest->save_state([&](std::span<const std::byte> piece) -> Status {
      bytes += piece.size();
      return {};
    });
    ASSERT_TRUE(saved) << to_string(saved.error());
    EXPECT_GT(bytes, 10'000U);
    EXPECT_EQ(qemu.run_state(), "postmigrate");
    uint32_t stopped_at = heartbeat(low);
    Status resumed = guest->resume();
    ASSERT_TRUE(resumed) << to_string(resumed.error());
    EXPECT_TRUE(wait_for_heartbeat(low, stopped_at));
  }
}

TEST_P(QemuSourceGuestTest, RunsOnAfterSavingWasBrokenOff) {
  GuestArguments arguments(BootGuest{}, Backing::kFile);
  QemuProcess qemu(GetParam(), arguments.make());
  std::unique_ptr<QemuSourceGuest> guest = open_guest(qemu);
  ASSERT_NE(guest, nullptr);
  const GuestBlock& low = guest->memory()[0];
  ASSERT_TRUE(wait_for_heartbeat(low));

  for (size_t bytes_taken : {0, 100'000, 200'000}) {
    ASSERT_TRUE(guest->pause());
    size_t bytes = 0;
    Status saved = guest->save_state([&](std::span<const std::byte> piece) -> Status {
      bytes += piece.size();
      if (bytes > bytes_taken) return fail(Errc::kPeerLost, "the peer is gone");
      return {};
    });
    ASSERT_FALSE(saved);
    EXPECT_EQ(saved.error().code, Errc::kPeerLost);
    uint32_t stopped_at = heartbeat(low);
    Status resumed = guest->resume();
    ASSERT_TRUE(resumed) << to_string(resumed.error());
    EXPECT_TRUE(wait_for_heartbeat(low, stopped_at));
  }
}

TEST_P(QemuSourceGuestTest, RunsOnAfterSavingStalled) {
  GuestArguments arguments(BootGuest{}, Backing::kFile);
  QemuProcess qemu(GetParam(), arguments.make());
  QemuOptions options = qemu.options();
  options.state_timeout = seconds(2);
  Result<std::unique_ptr<QemuSourceGuest>> guest = QemuSourceGuest::open(options);
  ASSERT_TRUE(guest) << to_string(guest.error());
  const GuestBlock& low = (*guest)->memory()[0];
  ASSERT_TRUE(wait_for_heartbeat(low));

  ASSERT_TRUE((*guest)->pause());
  bool stalled = false;
  Status saved = (*guest)->save_state([&](std::span<const std::byte>) -> Status {
    if (!stalled) qemu.signal(SIGSTOP);
    stalled = true;
    return {};
  });
  qemu.signal(SIGCONT);
  uint32_t stopped_at = heartbeat(low);
  Status resumed = (*guest)->resume();

  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().code, Errc::kTimeout);
  ASSERT_TRUE(resumed) << to_string(resumed.error());
  EXPECT_TRUE(wait_for_heartbeat(low, stopped_at));
}

TEST_P(QemuSourceGuestTest, LeavesNoWriteProtectionWhenTheAgentIsKilled) {
  GuestArguments arguments(BootGuest{.dirty_end = 17U << 20}, Backing::kFile);
  QemuProcess qemu(GetParam(), arguments.make());
  ForkedAgent agent([&] {
    static std::unique_ptr<QemuSourceGuest> guest = open_guest(qemu);
    if (guest == nullptr || !guest->dirty_tracker().start()) _exit(1);
  });
  agent.wait_until_done();
  ASSERT_EQ(write_protected_mappings(qemu.pid()), 1U);

  agent.kill_now();

  EXPECT_EQ(write_protected_mappings(qemu.pid()), 0U);
  EXPECT_EQ(qemu.run_state(), "running");
  EXPECT_NE(open_guest(qemu), nullptr);
}

TEST_P(QemuSourceGuestTest, LeavesQemuAsItWas) {
  GuestArguments arguments(BootGuest{}, Backing::kFile);
  QemuProcess qemu(GetParam(), arguments.make());
  qemu::Json capabilities = qemu.command("query-migrate-capabilities");
  qemu::Json parameters = qemu.command("query-migrate-parameters");
  qemu::Json description = {{"path", "/machine"}, {"property", "suppress-vmdesc"}};

  std::unique_ptr<QemuSourceGuest> guest = open_guest(qemu);
  ASSERT_NE(guest, nullptr);
  ASSERT_TRUE(guest->dirty_tracker().start());
  ASSERT_TRUE(guest->pause());
  ASSERT_TRUE(guest->resume());
  EXPECT_NE(qemu.command("query-migrate-capabilities"), capabilities);
  EXPECT_EQ(qemu.command("qom-get", description), qemu::Json(true));
  guest.reset();

  EXPECT_EQ(qemu.command("query-migrate-capabilities"), capabilities);
  EXPECT_EQ(qemu.command("query-migrate-parameters"), parameters);
  EXPECT_EQ(qemu.command("qom-get", description), qemu::Json(false));
  EXPECT_EQ(qemu.run_state(), "running");
  EXPECT_NE(open_guest(qemu), nullptr);
}

TEST_P(QemuSourceGuestTest, RunsOnWhenItsPauseWasNotAnsweredInTime) {
  GuestArguments arguments(BootGuest{}, Backing::kFile);
  QemuProcess qemu(GetParam(), arguments.make());
  QemuOptions options = qemu.options();
  options.command_timeout = seconds(2);
  Result<std::unique_ptr<QemuSourceGuest>> guest = QemuSourceGuest::open(options);
  ASSERT_TRUE(guest) << to_string(guest.error());
  const GuestBlock& low = (*guest)->memory()[0];
  ASSERT_TRUE(wait_for_heartbeat(low));

  qemu.signal(SIGSTOP);
  Status paused = (*guest)->pause();
  qemu.signal(SIGCONT);
  Status resumed = (*guest)->resume();

  ASSERT_FALSE(paused);
  EXPECT_EQ(paused.error().code, Errc::kTimeout);
  ASSERT_TRUE(resumed) << to_string(resumed.error());
  EXPECT_TRUE(wait_for_heartbeat(low, heartbeat(low)));
  ASSERT_TRUE((*guest)->pause());
  Status saved = (*guest)->save_state([](std::span<const std::byte>) -> Status { return {}; });
  EXPECT_TRUE(saved) << to_string(saved.error());
}

TEST_P(QemuSourceGuestTest, SaysThatQemuIsGone) {
  GuestArguments arguments(BootGuest{}, Backing::kFile);
  QemuProcess qemu(GetParam(), arguments.make());
  std::unique_ptr<QemuSourceGuest> guest = open_guest(qemu);
  ASSERT_NE(guest, nullptr);
  ASSERT_TRUE(guest->dirty_tracker().start());

  qemu.kill_now();

  Status paused = guest->pause();
  ASSERT_FALSE(paused);
  EXPECT_EQ(paused.error().code, Errc::kPeerLost);
  EXPECT_TRUE(guest->dirty_tracker().stop());
}

}  // namespace
}  // namespace godwit::test
