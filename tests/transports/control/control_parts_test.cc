// SPDX-License-Identifier: Apache-2.0
//
// The control transport's small parts: addresses, key files, the guard before OpenSSL.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string_view>

#include "tests/transports/control/connected_pair.h"
#include "tests/transports/control/tls_files.h"
#include "transports/control/control_address.h"
#include "transports/control/psk_file.h"
#include "transports/control/record_guard.h"

namespace godwit::control_test {
namespace {

using control::RecordGuard;

TEST(ControlAddress, NeedsNoSecurityOnlyOnLoopback) {
  EXPECT_TRUE(require_loopback("127.0.0.1:7471"));
  EXPECT_TRUE(require_loopback("127.9.9.9:7471"));
  EXPECT_TRUE(require_loopback("[::1]:7471"));
  EXPECT_TRUE(require_loopback("localhost:7471"));
  for (const char* address : {"0.0.0.0:7471", "192.0.2.1:7471", "[::]:7471", "[2001:db8::1]:7471",
                              "[::ffff:192.0.2.1]:7471"}) {
    Status refused = require_loopback(address);
    ASSERT_FALSE(refused) << address;
    EXPECT_EQ(refused.error().code, Errc::kRefused);
    for (const char* option : {"--psk-file", "--tls-dir", "--insecure"}) {
      EXPECT_NE(refused.error().text().find(option), std::string_view::npos);
    }
  }
}

TEST(KeyFile, IsReadAsItWasWritten) {
  TemporaryFolder folder;
  ASSERT_TRUE(write_new_pre_shared_key(folder.file("key")));

  Result<PreSharedKey> key = read_pre_shared_key(folder.file("key"));

  ASSERT_TRUE(key);
  EXPECT_EQ(key->identity, "godwit");
  EXPECT_EQ(key->key.size(), 32U);
}

TEST(KeyFile, IsNeverWrittenOver) {
  TemporaryFolder folder;
  ASSERT_TRUE(write_new_pre_shared_key(folder.file("key")));
  std::vector<unsigned char> before = read_pre_shared_key(folder.file("key"))->key;

  Status again = write_new_pre_shared_key(folder.file("key"));

  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::kRefused);
  EXPECT_EQ(read_pre_shared_key(folder.file("key"))->key, before);
}

TEST(KeyFile, IsRefusedWhenOthersCanReadIt) {
  TemporaryFolder folder;
  ASSERT_TRUE(write_new_pre_shared_key(folder.file("key")));
  for (mode_t mode : {mode_t{0640}, mode_t{0604}}) {
    ASSERT_EQ(::chmod(folder.file("key").c_str(), mode), 0);
    Result<PreSharedKey> key = read_pre_shared_key(folder.file("key"));
    ASSERT_FALSE(key);
    EXPECT_EQ(key.error().code, Errc::kRefused);
    EXPECT_NE(key.error().text().find("chmod 600"), std::string_view::npos);
  }
}

TEST(KeyFile, IsRefusedWhenItHoldsNoKey) {
  TemporaryFolder folder;
  for (const char* text :
       {"", "\n", "0011\n", "zz112233445566778899aabbccddeeff\n",
        "00112233445566778899aabbccddeef\n", ":00112233445566778899aabbccddeeff\n"}) {
    write_file(folder.file("key"), text, 0600);
    Result<PreSharedKey> key = read_pre_shared_key(folder.file("key"));
    ASSERT_FALSE(key) << text;
    EXPECT_EQ(key.error().code, Errc::kRefused);
  }
  EXPECT_FALSE(read_pre_shared_key(folder.file("missing")));
}

TEST(CertificateFolder, IsRefusedWhenAFileIsMissing) {
  TemporaryFolder folder;
  CertificateAuthority authority;
  authority.write_own_certificate(folder.path());

  Result<std::unique_ptr<ControlListener>> listener =
      ControlListener::listen("127.0.0.1:0", with_certificates(folder.path()));

  ASSERT_FALSE(listener);
  EXPECT_EQ(listener.error().code, Errc::kRefused);
  EXPECT_NE(listener.error().text().find("server-cert.pem"), std::string_view::npos);
}

TEST(CertificateFolder, IsRefusedWhenEverybodyCanReadTheKey) {
  TemporaryFolder folder;
  CertificateAuthority authority;
  write_complete_folder(authority, folder.path());
  ASSERT_EQ(::chmod(folder.file("server-key.pem").c_str(), 0644), 0);

  EXPECT_FALSE(ControlListener::listen("127.0.0.1:0", with_certificates(folder.path())));
}

std::vector<std::byte> record(unsigned char type, size_t length, size_t announced_message) {
  std::vector<std::byte> bytes(5 + length);
  bytes[0] = std::byte{type};
  bytes[3] = static_cast<std::byte>(length >> 8);
  bytes[4] = static_cast<std::byte>(length);
  for (size_t i = 0; i < 3 && 6 + i < bytes.size(); ++i) {
    bytes[6 + i] = static_cast<std::byte>(announced_message >> (16 - 8 * i));
  }
  return bytes;
}

TEST(RecordGuard, LetsOrdinaryHandshakesPassBytewise) {
  RecordGuard guard;
  for (const std::vector<std::byte>& bytes :
       {record(22, 300, 296), record(20, 1, 0), record(23, 5000, 0), record(23, 50, 0)}) {
    for (const std::byte& byte : bytes) ASSERT_TRUE(guard.inspect({&byte, 1}));
  }
}

TEST(RecordGuard, StopsAMessageThatDoesNotFillItsRecord) {
  RecordGuard larger;
  RecordGuard smaller;
  RecordGuard splinter;

  EXPECT_FALSE(larger.inspect(record(22, 300, 297)));
  EXPECT_FALSE(smaller.inspect(record(22, 300, 100)));
  EXPECT_FALSE(splinter.inspect(record(22, 3, 0)));
}

TEST(RecordGuard, StopsTooMuchOfAnything) {
  RecordGuard large_hello;
  RecordGuard many;

  EXPECT_FALSE(large_hello.inspect(record(22, 16000, 15996)));
  Status passed;
  for (int i = 0; i < 10 && passed; ++i) passed = many.inspect(record(23, 16384, 0));
  EXPECT_FALSE(passed);
}

}  // namespace
}  // namespace godwit::control_test
