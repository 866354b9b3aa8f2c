// SPDX-License-Identifier: Apache-2.0
//
// A real QEMU under a test: started with a guest, two QMP sockets (the adapter's and the test's
// own), killed and its files removed at the end.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "vmm-adapters/qemu/options.h"
#include "vmm-adapters/qemu/qmp_client.h"

namespace godwit::test {

// "7.2" is Debian 12's; "10.0" is there when the project's setup has fetched it.
bool qemu_available(const std::string& version);
std::vector<std::string> available_qemus();

// A folder for one test, gone with it.
class TestFolder {
 public:
  explicit TestFolder(const std::string& parent = "/tmp");
  ~TestFolder();
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  std::string path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

class QemuProcess {
 public:
  // `arguments` follow -nodefaults, the accelerator and the QMP sockets.
  QemuProcess(const std::string& version, const std::vector<std::string>& arguments);
  ~QemuProcess();
  QemuProcess(const QemuProcess&) = delete;
  QemuProcess& operator=(const QemuProcess&) = delete;

  pid_t pid() const { return pid_; }
  bool alive();
  void kill_now();
  // Sends a signal to QEMU, if it is alive.
  void signal(int number);
  QemuOptions options() const;

  // Runs a command on the test's own connection and expects it to succeed.
  qemu::Json command(const std::string& name, const qemu::Json& arguments = {});
  std::string human(const std::string& command_line);
  std::string run_state();

 private:
  TestFolder folder_;
  pid_t pid_ = -1;
  std::unique_ptr<qemu::QmpClient> client_;
};

}  // namespace godwit::test
