// SPDX-License-Identifier: Apache-2.0
//
// Takes the pages of guest memory out of QEMU's migration stream.
//
// QEMU's destination never sees records of pages that are placed, nor of pages that become zero
// there: it would clear them when it gets to it, maybe after a newer page was placed. Where the
// stream has records that change a page instead of replacing it (XBZRLE), or announces that QEMU
// will give memory back (post-copy), everything is passed on from there, in its order.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/page_extractor.h"
#include "vmm-adapters/qemu/multifd_meeting.h"

namespace godwit::qemu {

std::unique_ptr<PageExtractor> make_page_extractor(const std::vector<BlockDescription>& blocks);

// One that places none of them, and says why.
std::unique_ptr<PageExtractor> make_passing_extractor(const std::vector<BlockDescription>& blocks,
                                                      std::string why);

// One for a main channel that has multifd channels beside it if anybody is expected at the meeting:
// its syncs are kept with them, and in their stead the stream has the pages of theirs that cannot
// be placed. What would end the placing is an error then.
// Ownership: the meeting outlives the extractor.
std::unique_ptr<PageExtractor> make_page_extractor_with_channels(
    const std::vector<BlockDescription>& blocks, MultifdMeeting& meeting);

// The same where the channels go on to the destination's QEMU: it keeps the syncs as well.
std::unique_ptr<PageExtractor> make_page_extractor_beside_channels(
    const std::vector<BlockDescription>& blocks, MultifdMeeting& meeting);

// Whether a stream that begins like this is the main channel of a migration.
bool begins_migration(std::span<const std::byte> bytes);
inline constexpr size_t kMigrationMagicBytes = 4;

}  // namespace godwit::qemu
