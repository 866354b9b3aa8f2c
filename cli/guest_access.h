// SPDX-License-Identifier: Apache-2.0
//
// Which VMM adapter reaches the guest that the user named. The only file that knows.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cli/agent_options.h"
#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/channel_guest.h"
#include "engine/guest.h"
#include "vmm-adapters/qemu/options.h"

namespace godwit::cli {

Result<std::unique_ptr<SourceGuest>> open_source_guest(const AgentOptions& options);
Result<std::unique_ptr<DestinationGuest>> open_destination_guest(const AgentOptions& options);

// The same where the VMM migrates the guest by itself. 0: no limit, the VMM's own.
struct ChannelLimits {
  uint64_t bandwidth_bytes_per_s;
  Clock::duration downtime;
};
// `keep_open`: as QemuOptions'.
Result<std::unique_ptr<ChannelSourceGuest>> open_channel_source(
    const AgentOptions& options, const ChannelLimits& limits,
    std::function<void(int socket, KeptUntil until)> keep_open);
Result<std::unique_ptr<ChannelDestinationGuest>> open_channel_destination(
    const AgentOptions& options);

// For whoever settles after a dead agent: makes the guest behind this QMP socket run again.
// `break_stream`: who keeps the stream open (QemuOptions::keep_open) breaks it. Once this returns,
// all of them may.
Status resume_guest(const std::string& qmp, const std::function<void()>& break_stream = nullptr);

}  // namespace godwit::cli
