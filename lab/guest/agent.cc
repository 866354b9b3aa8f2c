// SPDX-License-Identifier: Apache-2.0
//
// Process 1 of a lab machine: runs the command of scripts/lab, which comes through a virtio-serial
// port, and those of lab-peer on the other machine of a pair, which come over TCP. Small and linked
// statically, because it starts before anything of the host's root is in memory. What it has to say
// itself goes to the console.
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "lab/guest/command.h"
#include "lab/guest/frames.h"
#include "lab/guest/peer_address.h"

namespace {

using godwit::lab::Command;
using godwit::lab::Frame;
using godwit::lab::Kind;

// The machine cannot go on; power_off() follows, and scripts/lab shows the console.
[[noreturn]] void fail(const char* what) {
  std::perror(what);
  ::_exit(1);
}

void serve(int connection) {
  const std::optional<Frame> request = godwit::lab::receive_frame(connection);
  if (request && request->kind == Kind::kRequest) Command(connection, request->payload).run();
}

int listen_for_peer() {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(godwit::lab::kPeerPort);
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener, SOMAXCONN) != 0) {
    fail("lab: listen for the other machine");
  }
  return listener;
}

// Each connection has a process of its own.
[[noreturn]] void serve_peer(int listener) {
  ::signal(SIGCHLD, SIG_IGN);
  while (true) {
    const int connection = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    if (::fork() == 0) {
      ::signal(SIGCHLD, SIG_DFL);
      serve(connection);
      ::_exit(0);
    }
    ::close(connection);
  }
}

[[noreturn]] void serve_host() {
  const int port = ::open("/dev/lab/command", O_RDWR | O_CLOEXEC);
  if (port < 0) fail("lab: open the port to scripts/lab");
  godwit::lab::send_frame(port, Kind::kReady, "");
  serve(port);
  // scripts/lab stops the machine when it has read the status.
  while (true) ::pause();
}

void power_off() {
  const int trigger = ::open("/proc/sysrq-trigger", O_WRONLY);
  godwit::lab::write_all(trigger, "o");
}

}  // namespace

int main() {
  ::signal(SIGPIPE, SIG_IGN);
  const int listener = listen_for_peer();
  if (::fork() == 0) serve_peer(listener);
  ::close(listener);
  const pid_t service = ::fork();
  if (service == 0) serve_host();
  // All orphans of the machine are ours to reap.
  while (::wait(nullptr) != service) {
  }
  power_off();
  while (true) ::pause();
}
