// SPDX-License-Identifier: Apache-2.0
//
// What rules direct mode out, with real QEMUs: found before anything is touched, each with what to
// change.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>

#include "engine/base/units.h"
#include "tests/vmm-adapters/linux/tracked_process.h"
#include "tests/vmm-adapters/qemu/boot_guest.h"
#include "vmm-adapters/linux/process_memory_map.h"
#include "vmm-adapters/qemu/qemu_destination_guest.h"
#include "vmm-adapters/qemu/qemu_source_guest.h"

namespace godwit::test {
namespace {

// The message of a refusal; fails the test when it is none.
std::string refusal_of(const QemuOptions& options) {
  Result<std::unique_ptr<QemuSourceGuest>> guest = QemuSourceGuest::open(options);
  EXPECT_FALSE(guest);
  if (guest) return "";
  EXPECT_EQ(guest.error().code, Errc::kRefused) << to_string(guest.error());
  return to_string(guest.error());
}

// Like QemuProcess, of the version that is always here.
class RefusingQemu {
 public:
  explicit RefusingQemu(Backing backing, const std::vector<std::string>& more = {},
                        const std::string& version = "7.2")
      : arguments_(BootGuest{}, backing), qemu_(version, arguments_.make(more)) {}

  QemuProcess& operator*() { return qemu_; }
  QemuProcess* operator->() { return &qemu_; }

 private:
  GuestArguments arguments_;
  QemuProcess qemu_;
};

TEST(QemuRefusals, RefusesPrivateMemory) {
  RefusingQemu qemu(Backing::kPrivate);

  std::string message = refusal_of(qemu->options());

  EXPECT_NE(message.find("'ram0'"), std::string::npos) << message;
  EXPECT_NE(message.find("memory-backend-file,share=on"), std::string::npos) << message;
}

TEST(QemuRefusals, RefusesAFileThatIsNotShared) {
  RefusingQemu qemu(Backing::kFileNotShared);

  EXPECT_NE(refusal_of(qemu->options()).find("share=off"), std::string::npos);
}

TEST(QemuRefusals, RefusesMemoryWithoutABackend) {
  QemuProcess qemu("7.2", {"-machine", "pc", "-m", "128M"});

  std::string message = refusal_of(qemu.options());

  EXPECT_NE(message.find("pc.ram"), std::string::npos) << message;
}

TEST(QemuRefusals, RefusesAnonymousFilesWhereQemuSendsThem) {
  if (!qemu_available("10.0")) GTEST_SKIP() << "no QEMU 10.0 here";
  RefusingQemu qemu(Backing::kMemfd, {}, "10.0");

  std::string message = refusal_of(qemu->options());

  EXPECT_NE(message.find("memory-backend-memfd"), std::string::npos) << message;
  EXPECT_NE(message.find("memory-backend-file"), std::string::npos) << message;
}

TEST(QemuRefusals, TakesAnonymousFilesWhereQemuLeavesThemOut) {
  RefusingQemu qemu(Backing::kMemfd);

  Result<std::unique_ptr<QemuSourceGuest>> guest = QemuSourceGuest::open(qemu->options());

  EXPECT_TRUE(guest) << to_string(guest.error());
}

TEST(QemuRefusals, RefusesAGuestThatIsNotRunning) {
  RefusingQemu qemu(Backing::kFile);
  qemu->command("stop");

  EXPECT_NE(refusal_of(qemu->options()).find("'paused'"), std::string::npos);
}

TEST(QemuRefusals, RefusesWhenAnotherProcessHasTheMemoryMapped) {
  RefusingQemu qemu(Backing::kFile);
  std::vector<MemoryMapping> map = *read_memory_map(qemu->pid());
  auto guest_ram = std::find_if(map.begin(), map.end(), [](const MemoryMapping& mapping) {
    return mapping.path.find("/ram0") != std::string::npos;
  });
  ASSERT_NE(guest_ram, map.end());
  UniqueFd file = std::move(*open_mapped_file(qemu->pid(), *guest_ram));
  ForkedAgent intruder([&] {
    static Result<SharedMapping> mapping = SharedMapping::map(file.get(), {0, kMiB});
  });
  intruder.wait_until_done();

  std::string message = refusal_of(qemu->options());

  EXPECT_NE(message.find("may write it unseen"), std::string::npos) << message;
}

TEST(QemuRefusals, RefusesAnotherProcessThanQemu) {
  RefusingQemu qemu(Backing::kFile);
  QemuOptions options = qemu->options();
  options.pid = getpid();

  EXPECT_NE(refusal_of(options).find("is it really this QEMU?"), std::string::npos);
}

TEST(QemuRefusals, RefusesDevicesThatShareMemory) {
  TestFolder folder("/dev/shm");
  RefusingQemu qemu(Backing::kFile, {"-object",
                                     "memory-backend-file,id=shared,share=on,size=1M,mem-path=" +
                                         folder.path("shared"),
                                     "-device", "ivshmem-plain,memdev=shared"});

  EXPECT_NE(refusal_of(qemu->options()).find("ivshmem"), std::string::npos);
}

TEST(QemuRefusals, RefusesWhatQemuCannotMigrate) {
  TestFolder shared_folder;
  RefusingQemu qemu(Backing::kFile,
                    {"-drive", "if=none,format=raw,file=fat:rw:" + shared_folder.path("")});

  std::string message = refusal_of(qemu->options());

  EXPECT_NE(message.find("does not support live migration"), std::string::npos) << message;
}

TEST(QemuRefusals, RefusesASourceThatWasNotStartedToWait) {
  RefusingQemu qemu(Backing::kFile);

  Result<std::unique_ptr<QemuDestinationGuest>> guest = QemuDestinationGuest::open(qemu->options());

  ASSERT_FALSE(guest);
  EXPECT_EQ(guest.error().code, Errc::kRefused);
  EXPECT_NE(to_string(guest.error()).find("-incoming defer"), std::string::npos);
}

TEST(QemuRefusals, SaysThatTheSocketIsTaken) {
  RefusingQemu qemu(Backing::kFile);
  auto other = qemu::QmpClient::connect(qemu->options().qmp_path, deadline_in(seconds(10)));
  ASSERT_TRUE(other);
  QemuOptions options = qemu->options();
  options.command_timeout = milliseconds(200);

  Result<std::unique_ptr<QemuSourceGuest>> guest = QemuSourceGuest::open(options);

  ASSERT_FALSE(guest);
  EXPECT_EQ(guest.error().code, Errc::kTimeout);
  EXPECT_NE(to_string(guest.error()).find("another client"), std::string::npos);
}

}  // namespace
}  // namespace godwit::test
