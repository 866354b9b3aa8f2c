// SPDX-License-Identifier: Apache-2.0
//
// Frames on a stream of bytes: how scripts/lab, the agent of a machine and lab-peer speak with each
// other. A frame is a letter that says what it is, the length of its payload (32 bits,
// little-endian), and the payload. The side that wants a command run sends kRequest, then kInput
// and kSignal as they come; the agent sends kOutput and kError, and kEnded as the last one.
// lab/frames.py is the same for scripts/lab.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace godwit::lab {

enum class Kind : char {
  kReady = 'H',    // from the agent: the machine is up
  kRequest = 'R',  // strings, each with a NUL behind it: folder, count of arguments, arguments,
                   // environment
  kInput = 'I',    // a piece of the command's standard input; an empty one is its end
  kSignal = 'S',   // one byte: a signal for the command and all that it has started
  kOutput = 'O',
  kError = 'E',
  kEnded = 'X',  // 32 bits: the command's status, as waitpid() has it
};

struct Frame {
  Kind kind;
  std::string payload;
};

// The longest payload of kInput, kOutput and kError: what a pipe can hold.
inline constexpr size_t kPieceBytes = 65536;

// Sends all of a frame. Returns false when the other side is gone.
bool send_frame(int fd, Kind kind, std::string_view payload);

// Waits for the next frame. Returns nothing when the other side is gone.
std::optional<Frame> receive_frame(int fd);

// Writes all of the bytes to a descriptor that blocks. Returns false when nobody can read them any
// more.
bool write_all(int fd, std::string_view bytes);

}  // namespace godwit::lab
