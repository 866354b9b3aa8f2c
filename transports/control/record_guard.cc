// SPDX-License-Identifier: Apache-2.0
#include "transports/control/record_guard.h"

#include <algorithm>

namespace godwit::control {
namespace {

constexpr size_t kClientHelloBytesMax = size_t{8} * 1024;
constexpr size_t kTotalBytesMax = size_t{48} * 1024;
constexpr size_t kRecordHeaderBytes = 5;
constexpr size_t kHandshakeHeaderBytes = 4;
constexpr uint8_t kHandshakeRecord = 22;

}  // namespace

Status RecordGuard::inspect(std::span<const std::byte> bytes) {
  total_bytes_ += bytes.size();
  if (total_bytes_ > kTotalBytesMax) {
    return fail(Errc::kCorrupt, "sent more than {} bytes without saying who it is", kTotalBytesMax);
  }
  while (!bytes.empty()) {
    if (skip_bytes_ > 0) {
      size_t skipped = std::min(skip_bytes_, bytes.size());
      skip_bytes_ -= skipped;
      bytes = bytes.subspan(skipped);
      continue;
    }
    header_[header_bytes_++] = static_cast<uint8_t>(bytes.front());
    bytes = bytes.subspan(1);
    if (header_bytes_ < kRecordHeaderBytes) continue;

    size_t length = static_cast<size_t>(header_[3]) * 256 + header_[4];
    bool handshake = header_[0] == kHandshakeRecord;
    if (handshake && length < kHandshakeHeaderBytes) {
      return fail(Errc::kCorrupt, "sent a TLS handshake in splinters");
    }
    if (handshake && header_bytes_ < header_.size()) continue;
    if (handshake) RETURN_IF_ERROR(inspect_handshake_header());
    skip_bytes_ = length - (header_bytes_ - kRecordHeaderBytes);
    header_bytes_ = 0;
  }
  return {};
}

Status RecordGuard::inspect_handshake_header() const {
  size_t record = static_cast<size_t>(header_[3]) * 256 + header_[4];
  size_t message = (static_cast<size_t>(header_[6]) << 16) |
                   (static_cast<size_t>(header_[7]) << 8) | static_cast<size_t>(header_[8]);
  if (message > kClientHelloBytesMax || message + kHandshakeHeaderBytes != record) {
    return fail(Errc::kCorrupt, "sent a TLS handshake message of {} bytes in a record of {}",
                message, record);
  }
  return {};
}

}  // namespace godwit::control
