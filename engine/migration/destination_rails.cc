// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/destination_rails.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

namespace godwit {
namespace {

// Makes memory known to the rail, and listens there.
Status open_rail(const Rail& rail, const GuestMemory& memory, RemoteAccess access,
                 DestinationRails& opened) {
  AcceptedRail accepted{.name = rail.name,
                        .transport = rail.transport->capabilities().name,
                        .address = {},
                        .numa_node = rail.numa_node,
                        .regions = {}};
  std::vector<std::unique_ptr<MemoryRegion>> regions;
  for (const GuestBlock& block : memory) {
    ASSIGN_OR_RETURN(std::unique_ptr<MemoryRegion> region,
                     rail.transport->register_memory(block.memory, access));
    accepted.regions.push_back(region->describe());
    regions.push_back(std::move(region));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Listener> listener, rail.transport->listen(rail.listen));
  accepted.address = listener->address();
  if (!rail.advertise_host.empty()) {
    accepted.address =
        rail.advertise_host +
        accepted.address.substr(std::min(accepted.address.rfind(':'), accepted.address.size()));
  }
  opened.accepted.push_back(std::move(accepted));
  opened.listeners.push_back(std::move(listener));
  opened.regions.push_back(std::move(regions));
  return {};
}

}  // namespace

Result<DestinationRails> DestinationRails::open(const std::vector<Rail>& rails,
                                                const GuestMemory& memory,
                                                std::span<const std::string> offered,
                                                MigrationReport& report, RemoteAccess access) {
  DestinationRails opened;
  std::vector<std::string> ours;
  std::optional<Error> first_error;
  for (const Rail& rail : rails) {
    ours.push_back(rail.transport->capabilities().name);
    if (std::ranges::find(offered, ours.back()) == offered.end()) continue;
    const Status status = open_rail(rail, memory, access, opened);
    if (status) continue;
    note_rail(report, rail.name, status.error());
    first_error = first_error.value_or(status.error());
  }
  if (!opened.accepted.empty()) return opened;
  if (first_error) return tl::unexpected<Error>(*first_error);
  return fail(Errc::kRefused,
              "the source can send by {}, the destination can receive by {}: give both the same "
              "--transport",
              fmt::join(offered, ", "), fmt::join(ours, ", "));
}

}  // namespace godwit
