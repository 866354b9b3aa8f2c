// SPDX-License-Identifier: Apache-2.0
//
// Guest RAM at one end of a migration that QEMU itself runs, so that pages can be placed past its
// stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "engine/base/time.h"
#include "vmm-adapters/qemu/guest_ram.h"

namespace godwit::qemu {

// Whether somebody takes the pages out of QEMU's multifd channels, where it has any.
enum class MultifdPages : uint8_t { kLeft = 1, kTaken = 2 };

// Of a destination. Asks the QEMU behind `qmp_path`, and lets it go again: somebody else drives it.
// Errors: kRefused when pages cannot be placed past its migration, saying why.
Result<GuestRam> open_destination_ram(const std::string& qmp_path, MultifdPages multifd,
                                      Deadline deadline);

enum class SourceRamUse : uint8_t {
  kSent = 1,      // pages are sent from it, past the stream
  kRequested = 2  // post-copy is on: pages that the destination asks for are read from it
};
struct SourceRam {
  GuestRam ram;
  SourceRamUse use;
  size_t multifd_channels;  // by which QEMU will send pages; 0: none
};
// At the source of a migration that somebody else drives. Errors: kRefused when it can be used for
// neither.
Result<SourceRam> open_source_ram(const std::string& qmp_path, Deadline deadline);

// kRefused unless that QEMU is who has the other end of a migration's unix socket.
Status check_channel_of(const GuestRam& ram, int socket);

}  // namespace godwit::qemu
