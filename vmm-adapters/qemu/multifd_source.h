// SPDX-License-Identifier: Apache-2.0
//
// A QEMU that migrates with multifd into sockets of ours.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/channel_guest.h"
#include "vmm-adapters/linux/lasting_stream.h"
#include "vmm-adapters/qemu/identity.h"
#include "vmm-adapters/qemu/multifd_channel.h"
#include "vmm-adapters/qemu/multifd_meeting.h"
#include "vmm-adapters/qemu/qmp_client.h"

namespace godwit::qemu {

// When a channel of 7.2's breaks, its migration may wait for ever for a thread that has ended, and
// it crashes when that is then cleared away. 9.0 has that written anew.
inline constexpr Version kMultifdSince{9, 0, 0};

// Errors: kRefused when QEMU would send more by multifd than can be taken from its channels, or
// does not end in good order when one breaks.
Status check_multifd(QmpClient& client, const Version& version,
                     const std::vector<BlockDescription>& blocks, Deadline deadline);

struct MultifdConnections {
  std::unique_ptr<VmmStream> main;
  std::vector<std::unique_ptr<MultifdChannel>> channels;
  // Theirs. QEMU is not to see them end before its migration has: one that breaks may leave 10.0
  // waiting in multifd_send_sync_main() for a thread that has ended, with its monitor blocked.
  std::vector<LastingStream*> channel_streams;
};

// Begins the migration. `process` is QEMU's; `neighbour` a file in a folder that it can reach.
// Requires: MigrationSettings::use_channels() with as many.
// Errors: when QEMU does not connect; its migration is then to be settled.
Result<MultifdConnections> begin_multifd(QmpClient& client, pid_t process,
                                         const std::string& neighbour, const WantedChannels& wanted,
                                         MultifdMeeting& meeting, Deadline deadline);

}  // namespace godwit::qemu
