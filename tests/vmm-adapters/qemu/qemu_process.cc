// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm-adapters/qemu/qemu_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <thread>

namespace godwit::test {
namespace {

constexpr auto kStartTimeout = seconds(30);

std::vector<std::string> program_of(const std::string& version) {
  if (version == "7.2") return {"/usr/bin/qemu-system-x86_64"};
  std::string folder = GODWIT_QEMU_10_FOLDER;
  return {folder + "/usr/bin/qemu-system-x86_64",
          "-L",
          folder + "/usr/share/qemu",
          "-L",
          "/usr/share/seabios",
          "-L",
          "/usr/share/qemu"};
}

[[noreturn]] void run_program(std::vector<std::string> command) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::vector<char*> arguments;
  for (std::string& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  execv(arguments[0], arguments.data());
  _exit(127);
}

}  // namespace

bool qemu_available(const std::string& version) {
  return access(program_of(version)[0].c_str(), X_OK) == 0;
}

std::vector<std::string> available_qemus() {
  std::vector<std::string> versions;
  for (const char* version : {"7.2", "10.0"}) {
    if (qemu_available(version)) versions.emplace_back(version);
  }
  return versions;
}

TestFolder::TestFolder(const std::string& parent) : path_(parent + "/godwit-test-XXXXXX") {
  EXPECT_NE(mkdtemp(path_.data()), nullptr);
}

TestFolder::~TestFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

QemuProcess::QemuProcess(const std::string& version, const std::vector<std::string>& arguments) {
  std::vector<std::string> command = program_of(version);
  auto add = [&](const std::vector<std::string>& more) {
    command.insert(command.end(), more.begin(), more.end());
  };
  add({"-nodefaults", "-display", "none", "-accel", "tcg"});
  add({"-qmp", "unix:" + folder_.path("agent") + ",server=on,wait=off"});
  add({"-qmp", "unix:" + folder_.path("test") + ",server=on,wait=off"});
  add(arguments);
  pid_ = fork();
  if (pid_ == 0) run_program(command);
  EXPECT_GT(pid_, 0);

  const Deadline deadline = deadline_in(kStartTimeout);
  while (client_ == nullptr) {
    auto client = qemu::QmpClient::connect(folder_.path("test"), deadline);
    if (client) client_ = std::move(*client);
    if (!alive() || Clock::now() > deadline) break;
    std::this_thread::yield();
  }
  EXPECT_NE(client_, nullptr) << "QEMU did not start";
}

QemuProcess::~QemuProcess() {
  kill_now();
}

bool QemuProcess::alive() {
  if (pid_ > 0 && waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = -1;
  return pid_ > 0;
}

void QemuProcess::kill_now() {
  if (!alive()) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void QemuProcess::signal(int number) {
  // kill() with -1 would reach every process of the machine.
  if (alive()) kill(pid_, number);
}

QemuOptions QemuProcess::options() const {
  QemuOptions options;
  options.qmp_path = folder_.path("agent");
  return options;
}

qemu::Json QemuProcess::command(const std::string& name, const qemu::Json& arguments) {
  Result<qemu::Json> answer = client_->execute(name, arguments, deadline_in(kStartTimeout));
  EXPECT_TRUE(answer) << to_string(answer.error());
  return answer ? *answer : qemu::Json();
}

std::string QemuProcess::human(const std::string& command_line) {
  Result<std::string> answer = client_->execute_human(command_line, deadline_in(kStartTimeout));
  EXPECT_TRUE(answer) << to_string(answer.error());
  return answer ? *answer : "";
}

std::string QemuProcess::run_state() {
  return qemu::string_or(command("query-status"), "status", "");
}

}  // namespace godwit::test
