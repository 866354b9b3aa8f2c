// SPDX-License-Identifier: Apache-2.0
#include "transports/tcp/handshake.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <span>

#include "transports/tcp/checksum.h"
#include "transports/tcp/socket.h"

namespace godwit {

Status greet(int socket, const LaneTicket& ticket, Deadline deadline) {
  std::array<std::byte, kFrameHeaderBytes + kHelloBodyBytes> frame;
  const auto body = std::span(frame).subspan<kFrameHeaderBytes>();
  encode_hello(ticket, body);
  encode_header({.type = FrameType::kHello,
                 .flags = 0,
                 .segment_count = 0,
                 .body_bytes = kHelloBodyBytes,
                 .payload_bytes = 0,
                 .sequence = 0,
                 .body_checksum = crc32c(body)},
                std::span(frame).first<kFrameHeaderBytes>());
  RETURN_IF_ERROR(send_all(socket, frame, deadline));
  std::array<std::byte, kFrameHeaderBytes> answer;
  if (Status status = receive_all(socket, answer, deadline); !status) {
    if (status.error().code != Errc::kPeerLost) return status;
    return fail(Errc::kRefused, "the other side did not accept the ticket of lane {}: {}",
                ticket.lane, status.error().text());
  }
  ASSIGN_OR_RETURN(FrameHeader header, decode_header(answer));
  if (header.type != FrameType::kWelcome || header.sequence != 0) {
    return fail(Errc::kCorrupt, "a frame of type {} instead of a welcome",
                static_cast<int>(header.type));
  }
  return {};
}

Status welcome(int socket, Deadline deadline) {
  std::array<std::byte, kFrameHeaderBytes> frame;
  encode_header({.type = FrameType::kWelcome,
                 .flags = 0,
                 .segment_count = 0,
                 .body_bytes = 0,
                 .payload_bytes = 0,
                 .sequence = 0,
                 .body_checksum = crc32c({})},
                frame);
  return send_all(socket, frame, deadline);
}

Result<std::optional<LaneTicket>> Newcomer::read_ticket() {
  const auto left = std::span(bytes_).subspan(received_bytes_);
  const ssize_t count = ::recv(socket_.get(), left.data(), left.size(), MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  if (count <= 0) return fail(Errc::kPeerLost, "closed before its ticket was complete");
  received_bytes_ += static_cast<size_t>(count);
  if (received_bytes_ < kFrameHeaderBytes) return std::nullopt;
  ASSIGN_OR_RETURN(FrameHeader header, decode_header(std::span(bytes_).first<kFrameHeaderBytes>()));
  if (header.type != FrameType::kHello) {
    return fail(Errc::kCorrupt, "starts with a frame of type {}", static_cast<int>(header.type));
  }
  if (received_bytes_ < bytes_.size()) return std::nullopt;
  const auto body = std::span<const std::byte>(bytes_).subspan(kFrameHeaderBytes);
  RETURN_IF_ERROR(check_body(header, body));
  ASSIGN_OR_RETURN(LaneTicket ticket, decode_hello(body));
  return ticket;
}

}  // namespace godwit
