// SPDX-License-Identifier: Apache-2.0
#include "transports/loopback/loopback_transport.h"

#include <algorithm>

#include "transports/loopback/loopback_endpoint.h"

namespace godwit {
namespace {

class LoopbackRegion final : public MemoryRegion {
 public:
  LoopbackRegion(std::shared_ptr<LoopbackRegions> table, std::span<std::byte> bytes,
                 RemoteAccess access)
      : table_(std::move(table)), bytes_(bytes), key_(table_->add(bytes, access)) {}
  ~LoopbackRegion() override { table_->remove(key_); }

  std::span<std::byte> bytes() const override { return bytes_; }
  RemoteRegion describe() const override { return {0, bytes_.size(), key_}; }

 private:
  // Shared with the transport and its links, which may be destroyed earlier or later.
  std::shared_ptr<LoopbackRegions> table_;
  std::span<std::byte> bytes_;
  uint64_t key_;
};

class LoopbackListener final : public Listener {
 public:
  LoopbackListener(LoopbackNetwork& network, std::string address, LoopbackOptions options,
                   std::shared_ptr<LoopbackRegions> regions)
      : network_(network),
        address_(std::move(address)),
        options_(options),
        regions_(std::move(regions)) {}
  ~LoopbackListener() override { network_.remove_door(address_); }

  std::string address() const override { return address_; }

  Result<AcceptedLane> accept(LaneTickets& tickets, Deadline deadline) override {
    ASSIGN_OR_RETURN(LoopbackNetwork::Admitted admitted,
                     network_.admit(address_, tickets, regions_, deadline));
    return AcceptedLane{admitted.lane,
                        std::make_unique<LoopbackEndpoint>(
                            std::move(admitted.link), LinkSide::kAccepted,
                            FaultDecisions(options_.faults, admitted.lane),
                            options_.operations_in_flight_max, options_.before_operation)};
  }

  void shut_down() override { network_.close_door(address_); }

 private:
  LoopbackNetwork& network_;
  const std::string address_;
  const LoopbackOptions options_;
  // Shared with the transport and its links, which may be destroyed earlier or later.
  std::shared_ptr<LoopbackRegions> regions_;
};

}  // namespace

Result<std::string> LoopbackNetwork::open_door(const std::string& address) {
  std::lock_guard lock(mutex_);
  std::string name = address;
  if (address.empty() || address.ends_with(":0")) {
    name = fmt::format("{}:{}", address.substr(0, address.size() < 2 ? 0 : address.size() - 2),
                       ++last_number_);
  }
  if (doors_.contains(name)) return fail(Errc::kSystem, "listen on {}: it is in use", name);
  doors_[name];
  return name;
}

void LoopbackNetwork::close_door(const std::string& address) {
  std::lock_guard lock(mutex_);
  doors_[address].closed = true;
  changed_.notify_all();
}

void LoopbackNetwork::remove_door(const std::string& address) {
  std::lock_guard lock(mutex_);
  for (auto& visitor : doors_[address].visitors) visitor->state = Visitor::State::kRefused;
  doors_.erase(address);
  changed_.notify_all();
}

Result<std::shared_ptr<LoopbackLink>> LoopbackNetwork::visit(
    const std::string& address, const LaneTicket& ticket, std::shared_ptr<LoopbackRegions> regions,
    Deadline deadline) {
  std::unique_lock lock(mutex_);
  auto door = doors_.find(address);
  if (door == doors_.end() || door->second.closed) {
    return fail(Errc::kPeerLost, "connect to {}: nobody listens", address);
  }
  // Shared with the door, where it waits in line.
  auto visitor =
      std::make_shared<Visitor>(Visitor{.ticket = ticket, .regions = std::move(regions)});
  door->second.visitors.push_back(visitor);
  changed_.notify_all();
  changed_.wait_until(lock, deadline, [&] { return visitor->state != Visitor::State::kWaiting; });
  switch (visitor->state) {
    case Visitor::State::kAccepted:
      return visitor->link;
    case Visitor::State::kRefused:
      return fail(Errc::kRefused, "connect to {}: the ticket of lane {} was not accepted", address,
                  ticket.lane);
    case Visitor::State::kWaiting:
      break;
  }
  visitor->state = Visitor::State::kRefused;
  return fail(Errc::kTimeout, "connect to {}", address);
}

Result<LoopbackNetwork::Admitted> LoopbackNetwork::admit(const std::string& address,
                                                         LaneTickets& tickets,
                                                         std::shared_ptr<LoopbackRegions> regions,
                                                         Deadline deadline) {
  std::unique_lock lock(mutex_);
  Door& door = doors_[address];
  while (true) {
    while (!door.visitors.empty()) {
      std::shared_ptr<Visitor> visitor = door.visitors.front();
      door.visitors.pop_front();
      if (visitor->state != Visitor::State::kWaiting) continue;
      const bool welcome = tickets.redeem(visitor->ticket);
      visitor->state = welcome ? Visitor::State::kAccepted : Visitor::State::kRefused;
      if (welcome) {
        // Shared by the two endpoints.
        visitor->link = std::make_shared<LoopbackLink>(visitor->regions, std::move(regions));
      }
      changed_.notify_all();
      if (welcome) return Admitted{visitor->ticket.lane, visitor->link};
    }
    if (door.closed) return fail(Errc::kCancelled, "the listener on {} was shut down", address);
    if (Clock::now() >= deadline) {
      return fail(Errc::kTimeout, "wait for a lane on {}", address);
    }
    changed_.wait_until(lock, deadline, [&] { return !door.visitors.empty() || door.closed; });
  }
}

LoopbackTransport::LoopbackTransport(LoopbackNetwork& network, LoopbackOptions options)
    : network_(network), options_(options), regions_(std::make_shared<LoopbackRegions>()) {}

Capabilities LoopbackTransport::capabilities() const {
  return {.name = "loopback",
          .one_sided = true,
          .messages_bytes_max = kLoopbackMessageBytesMax,
          .operations_in_flight_max = options_.operations_in_flight_max};
}

Result<std::unique_ptr<MemoryRegion>> LoopbackTransport::make_region(std::span<std::byte> bytes,
                                                                     RemoteAccess access,
                                                                     PageStability) {
  return std::make_unique<LoopbackRegion>(regions_, bytes, access);
}

Result<std::unique_ptr<Endpoint>> LoopbackTransport::connect(const std::string& address,
                                                             const LaneTicket& ticket,
                                                             Deadline deadline) {
  ASSIGN_OR_RETURN(std::shared_ptr<LoopbackLink> link,
                   network_.visit(address, ticket, regions_, deadline));
  return std::make_unique<LoopbackEndpoint>(
      std::move(link), LinkSide::kConnected, FaultDecisions(options_.faults, ticket.lane),
      options_.operations_in_flight_max, options_.before_operation);
}

Result<std::unique_ptr<Listener>> LoopbackTransport::listen(const std::string& address) {
  ASSIGN_OR_RETURN(std::string bound, network_.open_door(address));
  return std::make_unique<LoopbackListener>(network_, std::move(bound), options_, regions_);
}

}  // namespace godwit
