// SPDX-License-Identifier: Apache-2.0
//
// What a peer that has not said who it is makes us hold while we wait for it: at most 64 KiB, and
// 32 KiB of scratch while one of its messages is looked at (by the one thread that serves all of
// them, so once). Counts OpenSSL's own allocations, which is why this is a program of its own: they
// can be redirected only before the first.
#include <gtest/gtest.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "engine/base/units.h"
#include "tests/transports/control/connected_pair.h"
#include "tests/transports/control/tls_files.h"
#include "transports/control/handshake.h"

namespace {

std::atomic<size_t> allocated_bytes{0};
std::atomic<size_t> peak_bytes{0};

void count(void* pointer) {
  if (pointer == nullptr) return;
  size_t now = allocated_bytes += malloc_usable_size(pointer);
  size_t peak = peak_bytes;
  while (now > peak && !peak_bytes.compare_exchange_weak(peak, now)) {
  }
}

void discount(void* pointer) {
  if (pointer != nullptr) allocated_bytes -= malloc_usable_size(pointer);
}

void* counted_malloc(size_t size, const char*, int) {
  void* pointer = std::malloc(size);
  count(pointer);
  return pointer;
}

void* counted_realloc(void* old, size_t size, const char*, int) {
  discount(old);
  void* pointer = std::realloc(old, size);
  count(pointer);
  return pointer;
}

void counted_free(void* pointer, const char*, int) {
  discount(pointer);
  std::free(pointer);
}

}  // namespace

namespace godwit::control_test {
namespace {

control::HandshakeTerms terms_for(const ControlSecurity& security, control::TlsSide side) {
  Result<control::HandshakeTerms> terms = control::make_terms(security, side);
  EXPECT_TRUE(terms);
  return *terms;
}

struct Cost {
  size_t held_bytes = 0;  // the most between two steps
  size_t peak_bytes = 0;  // the most at any moment
};

// Goes through a whole handshake and returns what the server's end of it had allocated.
Cost measure_server(const control::HandshakeTerms& client, const control::HandshakeTerms& server) {
  int sockets[2] = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets), 0);
  control::Handshake client_side(UniqueFd{sockets[0]}, client, "server");
  const size_t base = allocated_bytes;
  control::Handshake server_side(UniqueFd{sockets[1]}, server, "client");

  // Only the server's steps are counted: what is allocated in between is the client's.
  size_t client_bytes = 0;
  Cost cost;
  control::IoState state = control::IoState::kWaitReadable;
  while (state != control::IoState::kMoved) {
    const size_t before = allocated_bytes;
    EXPECT_TRUE(client_side.advance());
    client_bytes += allocated_bytes - before;
    peak_bytes = allocated_bytes.load();
    Result<control::IoState> advanced = server_side.advance();
    if (!advanced) {
      ADD_FAILURE() << advanced.error().text();
      return {};
    }
    state = *advanced;
    cost.peak_bytes = std::max(cost.peak_bytes, peak_bytes - base - client_bytes);
    cost.held_bytes = std::max(cost.held_bytes, allocated_bytes - base - client_bytes);
  }
  return cost;
}

// The most that a stranger can cost is what one with the right certificate does.
TEST(PendingPeer, HoldsAtMost64KibInTheMiddleOfItsHandshake) {
  TemporaryFolder folder;
  CertificateAuthority authority;
  write_complete_folder(authority, folder.path());
  const ControlSecurity security = with_certificates(folder.path());
  control::HandshakeTerms client = terms_for(security, control::TlsSide::kClient);
  const control::HandshakeTerms server = terms_for(security, control::TlsSide::kServer);
  client.expected_hostname = "localhost";
  measure_server(client, server);  // what OpenSSL keeps for the whole process

  const Cost cost = measure_server(client, server);

  RecordProperty("held_bytes", std::to_string(cost.held_bytes));
  RecordProperty("peak_bytes", std::to_string(cost.peak_bytes));
  EXPECT_GT(cost.held_bytes, 4 * kKiB) << "nothing was counted";
  EXPECT_LE(cost.held_bytes + sizeof(control::Handshake), 64 * kKiB);
  EXPECT_LE(cost.peak_bytes - cost.held_bytes, 32 * kKiB);
}

}  // namespace
}  // namespace godwit::control_test

int main(int argc, char** argv) {
  if (CRYPTO_set_mem_functions(counted_malloc, counted_realloc, counted_free) != 1) return 1;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
