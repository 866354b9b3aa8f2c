// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/key_exchange.h"

#include <bit>

namespace godwit {

static_assert(std::endian::native == std::endian::little);

Result<KeyMessage> decode_key_message(std::span<const std::byte> bytes) {
  KeyMessage message{};
  if (bytes.size() != sizeof(message))
    return fail(Errc::kCorrupt, "a key message of {} bytes", bytes.size());
  std::memcpy(&message, bytes.data(), sizeof(message));
  if (message.kind < KeyMessageKind::kWanted || message.kind > KeyMessageKind::kFailed)
    return fail(Errc::kCorrupt, "a key message of kind {}", static_cast<uint32_t>(message.kind));
  return message;
}

RemoteKeys::Region& RemoteKeys::find(const RemoteRegion& region) {
  if (last_ == nullptr || last_->name != region.key)
    last_ = &regions_.try_emplace(region.key, region.key, region.size_bytes).first->second;
  return *last_;
}

Status RemoteKeys::learn(const KeyMessage& answer) {
  const auto found = regions_.find(answer.region);
  if (found == regions_.end() || answer.chunk >= found->second.map.count() ||
      found->second.states[answer.chunk] != Region::State::kAsked)
    return fail(Errc::kCorrupt, "the key of a chunk that nobody asked for");
  found->second.keys[answer.chunk] = answer.key;
  found->second.states[answer.chunk] = Region::State::kKnown;
  return {};
}

}  // namespace godwit
