// SPDX-License-Identifier: Apache-2.0
//
// One command that the agent runs for somebody at the other end of a connection.
//
// Its standard streams are pipes, so that the caller gets its output and nothing else. It is the
// leader of a session of its own, so that signals reach all that it has started.
#pragma once

#include <sys/types.h>

#include <string>

#include "lab/guest/frames.h"

namespace godwit::lab {

class Command {
 public:
  // Starts what a kRequest frame asks for. A command that cannot be started says so in its error
  // output, and ends with 126 or 127 as in a shell.
  Command(int connection, const std::string& request);
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;
  ~Command();

  // Moves input and output until the command ends, and sends its status. Kills it when the caller
  // goes away.
  void run();

 private:
  enum class Progress { kGoesOn, kHasEnded, kCallerIsGone };
  struct Output {
    int fd;
    Kind kind;
  };

  Progress step();
  bool receive();
  void feed_input();
  // Sends what the command has written by now. Returns false when the caller is gone.
  bool forward(Output& output);
  void close_input();
  void signal_all(int number) const;

  int connection_;
  pid_t process_ = -1;
  int exit_fd_ = -1;
  int input_fd_ = -1;
  std::string input_;
  bool input_is_complete_ = false;
  Output outputs_[2];
};

}  // namespace godwit::lab
