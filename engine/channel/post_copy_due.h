// SPDX-License-Identifier: Apache-2.0
//
// When a VMM that migrates by itself is told to go over to post-copy.
#pragma once

#include "engine/channel_guest.h"
#include "engine/migration/options.h"

namespace godwit {

// As in direct mode (engine/precopy/policy.h), in the VMM's figures: where rounds do not end, or
// sending what remains would bring what was sent beyond a share of the guest's memory.
bool post_copy_is_due(PostCopy wanted, const ChannelProgress& progress);

}  // namespace godwit
