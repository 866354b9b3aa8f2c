// SPDX-License-Identifier: Apache-2.0
#include "transports/control/handshake.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "engine/base/check.h"
#include "transports/control/control_address.h"

namespace godwit::control {

Result<HandshakeTerms> make_terms(const ControlSecurity& security, TlsSide side) {
  HandshakeTerms terms{side, security.kind, nullptr, security.tls_hostname};
  if (security.kind == SecurityKind::kInsecure) return terms;
  ASSIGN_OR_RETURN(terms.tls, TlsContext::create(security, side));
  return terms;
}

Handshake::Handshake(UniqueFd socket, const HandshakeTerms& terms, std::string peer)
    : terms_(terms),
      peer_(std::move(peer)),
      step_(terms.side == TlsSide::kClient ? Step::kSendPreamble : Step::kReceivePreamble),
      plain_(std::make_unique<PlainStream>(std::move(socket))) {}

int Handshake::fd() const {
  return stream().fd();
}

ByteStream& Handshake::stream() const {
  if (tls_ != nullptr) return *tls_;
  return *plain_;
}

Result<IoState> Handshake::advance() {
  while (step_ != Step::kDone) {
    ASSIGN_OR_RETURN(IoState state, perform());
    if (state == IoState::kEnded) return tl::unexpected<Error>(ended_early());
    if (state != IoState::kMoved) return state;
    step_ = next_step();
    moved_bytes_ = 0;
    if (step_ == Step::kSendHello) RETURN_IF_ERROR(start_hello());
  }
  return IoState::kMoved;
}

Result<IoState> Handshake::perform() {
  switch (step_) {
    case Step::kSendPreamble: {
      Preamble preamble = make_preamble(terms_.kind);
      return send(preamble);
    }
    case Step::kReceivePreamble:
      return receive_preamble();
    case Step::kTls:
      return advance_tls();
    case Step::kSendHello:
      return send(hello_);
    case Step::kReceiveHello:
      return receive_hello();
    case Step::kDone:
      return IoState::kMoved;
  }
  CHECK(false && "a Step outside its enumerators");
}

Handshake::Step Handshake::next_step() const {
  Step secured = terms_.kind == SecurityKind::kInsecure ? Step::kSendHello : Step::kTls;
  bool client = terms_.side == TlsSide::kClient;
  switch (step_) {
    case Step::kSendPreamble:
      return client ? Step::kReceivePreamble : secured;
    case Step::kReceivePreamble:
      return client ? secured : Step::kSendPreamble;
    case Step::kTls:
      return Step::kSendHello;
    case Step::kSendHello:
      return Step::kReceiveHello;
    case Step::kReceiveHello:
    case Step::kDone:
      return Step::kDone;
  }
  CHECK(false && "a Step outside its enumerators");
}

Result<IoState> Handshake::receive_preamble() {
  Result<IoState> state = receive(peer_preamble_);
  if (!state) return state;
  std::span<const std::byte> received(peer_preamble_.data(), moved_bytes_);
  Status judged = check_preamble(received, terms_.kind, peer_);
  if (judged) return state;
  // The other side shall be able to say what is wrong, too.
  if (terms_.side == TlsSide::kServer) {
    Preamble ours = make_preamble(terms_.kind);
    static_cast<void>(stream().write_some(ours));
  }
  return tl::unexpected<Error>(judged.error());
}

Result<IoState> Handshake::advance_tls() {
  if (tls_ == nullptr) {
    ASSIGN_OR_RETURN(tls_, TlsStream::create(plain_->take_socket(), terms_.tls,
                                             {peer_, terms_.expected_hostname}));
  }
  ASSIGN_OR_RETURN(IoStep step, tls_->advance_handshake());
  return step.state;
}

Status Handshake::start_hello() {
  Nonce nonce{};
  if (::getrandom(nonce.data(), nonce.size(), 0) != static_cast<ssize_t>(nonce.size())) {
    return fail_errno(errno, "get {} random bytes", nonce.size());
  }
  Preamble preamble = make_preamble(terms_.kind);
  std::copy(preamble.begin(), preamble.end(), hello_.begin());
  std::copy(nonce.begin(), nonce.end(), hello_.begin() + sizeof(Preamble));
  return {};
}

Result<IoState> Handshake::receive_hello() {
  Result<IoState> state = receive(peer_hello_);
  if (!state || *state != IoState::kMoved) return state;
  if (!std::equal(peer_preamble_.begin(), peer_preamble_.end(), peer_hello_.begin())) {
    return fail(Errc::kCorrupt, "somebody between here and {} changed the first bytes", peer_);
  }
  return state;
}

Result<IoState> Handshake::send(std::span<const std::byte> bytes) {
  while (moved_bytes_ < bytes.size()) {
    ASSIGN_OR_RETURN(IoStep step, stream().write_some(bytes.subspan(moved_bytes_)));
    if (step.state != IoState::kMoved) return step.state;
    moved_bytes_ += step.bytes;
  }
  return IoState::kMoved;
}

Result<IoState> Handshake::receive(std::span<std::byte> bytes) {
  while (moved_bytes_ < bytes.size()) {
    ASSIGN_OR_RETURN(IoStep step, stream().read_some(bytes.subspan(moved_bytes_)));
    if (step.state != IoState::kMoved) return step.state;
    moved_bytes_ += step.bytes;
  }
  return IoState::kMoved;
}

Error Handshake::ended_early() const {
  if (step_ == Step::kSendPreamble || step_ == Step::kReceivePreamble) {
    return fail(Errc::kPeerLost,
                "{} closed the connection before it said anything: is that Godwit, and not busy "
                "with "
                "another migration?",
                peer_)
        .value();
  }
  return fail(Errc::kPeerLost, "{} closed the connection in the middle of the handshake", peer_)
      .value();
}

std::unique_ptr<ControlConnection> Handshake::take_connection() {
  CHECK(step_ == Step::kDone);
  Nonce ours{};
  Nonce theirs{};
  std::copy(hello_.begin() + sizeof(Preamble), hello_.end(), ours.begin());
  std::copy(peer_hello_.begin() + sizeof(Preamble), peer_hello_.end(), theirs.begin());
  ControlConnection::Ends ends{local_address(fd()), peer_};
  std::unique_ptr<ByteStream> secured;
  if (tls_ != nullptr) {
    tls_->trust_peer();
    secured = std::move(tls_);
  } else {
    bool client = terms_.side == TlsSide::kClient;
    plain_->set_nonces(client ? ours : theirs, client ? theirs : ours);
    secured = std::move(plain_);
  }
  return std::make_unique<ControlConnection>(std::move(secured), terms_.kind, std::move(ends));
}

}  // namespace godwit::control
