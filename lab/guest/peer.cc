// SPDX-License-Identifier: Apache-2.0
//
// lab-peer COMMAND…: runs a command on the other machine of the lab's pair, as if it ran here:
// input, output, errors, folder, environment, signals, exit status. When lab-peer is killed, so is
// the command. Exits with 125 when the other machine cannot be reached.
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

#include "lab/guest/frames.h"
#include "lab/guest/peer_address.h"

namespace {

using godwit::lab::Frame;
using godwit::lab::Kind;
using godwit::lab::send_frame;

constexpr int kNoPeer = 125;
constexpr int kForwardedSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

// Which machine this is: scripts/lab gave it its name, a or b.
bool is_machine_a() {
  FILE* file = std::fopen("/run/lab/node", "r");
  const int name = file != nullptr ? std::fgetc(file) : 'a';
  if (file != nullptr) std::fclose(file);
  return name == 'a';
}

int connect_to(const char* address) {
  const int connection = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(godwit::lab::kPeerPort);
  ::inet_pton(AF_INET, address, &to.sin_addr);
  return ::connect(connection, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0 ? connection : -1;
}

std::string request(int count, char** arguments, const std::string& environment_change) {
  std::string bytes;
  const auto add = [&bytes](const char* text) { bytes.append(text).push_back('\0'); };
  char* folder = ::get_current_dir_name();
  add(folder != nullptr ? folder : "/");
  add(std::to_string(count).c_str());
  for (int index = 0; index < count; ++index) add(arguments[index]);
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (std::strncmp(*variable, "GODWIT_LAB=", 11) != 0) add(*variable);
  }
  add(environment_change.c_str());
  return bytes;
}

// Sends our input and the signals that we get. A thread of its own, so that neither direction waits
// for the other.
void send_input_and_signals(int connection, int signals) {
  pollfd waits[] = {{signals, POLLIN, 0}, {0, POLLIN, 0}};
  char piece[godwit::lab::kPieceBytes];
  while (::poll(waits, 2, -1) >= 0) {
    if (waits[0].revents != 0) {
      signalfd_siginfo received{};
      if (::read(signals, &received, sizeof received) != sizeof received) return;
      const char number = static_cast<char>(received.ssi_signo);
      if (!send_frame(connection, Kind::kSignal, {&number, 1})) return;
    }
    if (waits[1].revents != 0) {
      const ssize_t got = ::read(0, piece, sizeof piece);
      const size_t length = got > 0 ? static_cast<size_t>(got) : 0;
      if (!send_frame(connection, Kind::kInput, {piece, length})) return;
      if (length == 0) waits[1].fd = -1;
    }
  }
}

int exit_status(const std::string& ended) {
  int status = 0;
  std::memcpy(&status, ended.data(), sizeof status);
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  const int number = WTERMSIG(status);
  std::fprintf(stderr, "lab-peer: the command died of signal %d (SIG%s)\n", number,
               sigabbrev_np(number));
  return 128 + number;
}

int receive_until_end(int connection, const char* peer) {
  while (const std::optional<Frame> frame = godwit::lab::receive_frame(connection)) {
    if (frame->kind == Kind::kEnded) return exit_status(frame->payload);
    godwit::lab::write_all(frame->kind == Kind::kError ? 2 : 1, frame->payload);
  }
  std::fprintf(stderr, "lab-peer: machine %s closed the connection\n", peer);
  return kNoPeer;
}

int run(int count, char** arguments) {
  const bool on_a = is_machine_a();
  const char* peer = on_a ? "b" : "a";
  const int connection = connect_to(on_a ? "10.77.255.2" : "10.77.255.1");
  if (connection < 0) {
    std::fprintf(stderr, "lab-peer: machine %s: %s (is this scripts/lab --pair?)\n", peer,
                 strerrordesc_np(errno));
    return kNoPeer;
  }
  sigset_t forwarded;
  sigemptyset(&forwarded);
  for (const int number : kForwardedSignals) sigaddset(&forwarded, number);
  ::pthread_sigmask(SIG_BLOCK, &forwarded, nullptr);
  const int signals = ::signalfd(-1, &forwarded, SFD_CLOEXEC);
  send_frame(connection, Kind::kRequest,
             request(count, arguments, std::string("GODWIT_LAB=") + peer));
  std::thread(send_input_and_signals, connection, signals).detach();
  return receive_until_end(connection, peer);
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) {
    std::fprintf(stderr, "usage: lab-peer COMMAND…\n");
    return 2;
  }
  // Not return: the other thread may wait for our input still.
  ::_exit(run(count - 1, arguments + 1));
}
