// SPDX-License-Identifier: Apache-2.0
//
// Peers that are not the right ones, and the words in which each side is told.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <string_view>

#include "tests/transports/control/connected_pair.h"
#include "tests/transports/control/tls_files.h"
#include "transports/control/control_address.h"
#include "transports/control/psk_file.h"

namespace godwit::control_test {
namespace {

struct Refusal {
  Error client;
  std::string server;
};

bool says(std::string_view text, std::string_view words) {
  return text.find(words) != std::string_view::npos;
}

class WrongPeer : public testing::Test {
 protected:
  ControlSecurity new_key(const std::string& name) {
    EXPECT_TRUE(write_new_pre_shared_key(folder_.file(name)));
    return with_key(folder_.file(name));
  }

  // Requires: it fails.
  static Refusal attempt(const ControlSecurity& server, const ControlSecurity& client) {
    Acceptor acceptor(server);
    Result<std::unique_ptr<ControlChannel>> connected =
        connect_control(acceptor.address(), client, deadline_in(kLong));
    EXPECT_FALSE(connected);
    return {connected ? Error{} : connected.error(), acceptor.first_rejection()};
  }

  TemporaryFolder folder_;
  TemporaryFolder other_folder_;
  CertificateAuthority authority_;
};

TEST_F(WrongPeer, WithAnotherKeyIsToldToCopyTheFile) {
  Refusal refusal = attempt(new_key("one"), new_key("two"));

  EXPECT_EQ(refusal.client.code, Errc::kRefused);
  EXPECT_TRUE(says(refusal.client.text(), "does not accept the pre-shared key"))
      << refusal.client.text();
  EXPECT_TRUE(says(refusal.server, "does not have the pre-shared key")) << refusal.server;
}

TEST_F(WrongPeer, WithAKeyOfAnotherNameIsToldToCopyTheFile) {
  write_file(folder_.file("named"), "vm1:00112233445566778899aabbccddeeff\n", 0600);

  Refusal refusal = attempt(new_key("one"), with_key(folder_.file("named")));

  EXPECT_TRUE(says(refusal.client.text(), "does not accept the pre-shared key"))
      << refusal.client.text();
  EXPECT_TRUE(says(refusal.server, "does not have the pre-shared key")) << refusal.server;
}

TEST_F(WrongPeer, UnderAnotherAuthorityIsRefusedByTheClient) {
  CertificateAuthority other_authority;
  write_complete_folder(authority_, folder_.path());
  write_complete_folder(other_authority, other_folder_.path());

  Refusal refusal =
      attempt(with_certificates(folder_.path()), with_certificates(other_folder_.path()));

  EXPECT_TRUE(says(refusal.client.text(), "is not signed by the CA in")) << refusal.client.text();
  EXPECT_TRUE(says(refusal.server, "does not know the CA that signed our certificate"))
      << refusal.server;
}

TEST_F(WrongPeer, WhoseClientCertificateIsOfAnotherAuthorityIsRefusedByTheServer) {
  CertificateAuthority other_authority;
  write_complete_folder(authority_, folder_.path());
  authority_.write_own_certificate(other_folder_.path());
  other_authority.issue(other_folder_.path(), {.role = "client"});

  Refusal refusal =
      attempt(with_certificates(folder_.path()), with_certificates(other_folder_.path()));

  EXPECT_TRUE(says(refusal.client.text(), "does not know the CA that signed our certificate"))
      << refusal.client.text();
  EXPECT_TRUE(says(refusal.server, "is not signed by the CA in")) << refusal.server;
}

TEST_F(WrongPeer, WithAnExpiredCertificateIsNamedSo) {
  write_complete_folder(authority_, folder_.path());
  authority_.issue(folder_.path(), {.role = "server", .starts_s = -7200, .ends_s = -3600});

  Refusal refusal = attempt(with_certificates(folder_.path()), with_certificates(folder_.path()));

  EXPECT_TRUE(says(refusal.client.text(), "has expired")) << refusal.client.text();
  EXPECT_TRUE(says(refusal.server, "says that our certificate")) << refusal.server;
}

TEST_F(WrongPeer, WithAnExpiredClientCertificateIsToldSo) {
  write_complete_folder(authority_, folder_.path());
  authority_.issue(folder_.path(), {.role = "client", .starts_s = -7200, .ends_s = -3600});

  Refusal refusal = attempt(with_certificates(folder_.path()), with_certificates(folder_.path()));

  EXPECT_TRUE(says(refusal.client.text(), "says that our certificate")) << refusal.client.text();
  EXPECT_TRUE(says(refusal.server, "has expired")) << refusal.server;
}

TEST_F(WrongPeer, WithARevokedCertificateIsRefused) {
  write_complete_folder(authority_, folder_.path());
  authority_.write_revocation_list(folder_.path());

  Refusal refusal = attempt(with_certificates(folder_.path()), with_certificates(folder_.path()));

  EXPECT_TRUE(says(refusal.client.text(), "has been revoked")) << refusal.client.text();
}

TEST_F(WrongPeer, WithAnotherHostsCertificateIsRefused) {
  write_complete_folder(authority_, folder_.path());
  authority_.issue(folder_.path(), {.role = "server", .names = "DNS:host-b.example"});

  Refusal refusal = attempt(with_certificates(folder_.path()), with_certificates(folder_.path()));

  EXPECT_TRUE(says(refusal.client.text(), "is not for '127.0.0.1'")) << refusal.client.text();
  EXPECT_TRUE(says(refusal.client.text(), "--tls-hostname")) << refusal.client.text();
}

TEST_F(WrongPeer, IsTheRightOneUnderTheNameThatTheUserGives) {
  write_complete_folder(authority_, folder_.path());
  authority_.issue(folder_.path(), {.role = "server", .names = "DNS:host-b.example"});
  ControlSecurity security = with_certificates(folder_.path());
  Acceptor acceptor(security);
  security.tls_hostname = "host-b.example";

  Result<std::unique_ptr<ControlChannel>> connected =
      connect_control(acceptor.address(), security, deadline_in(kLong));

  EXPECT_TRUE(connected) << connected.error().text();
}

TEST_F(WrongPeer, WithoutTlsIsToldToUseIt) {
  Refusal refusal = attempt(new_key("key"), ControlSecurity{});

  EXPECT_TRUE(says(refusal.client.text(), "uses TLS with a pre-shared key (--psk-file)"))
      << refusal.client.text();
  EXPECT_TRUE(says(refusal.server, "uses no TLS")) << refusal.server;
}

TEST_F(WrongPeer, WithTlsWhereNoneIsWantedIsToldSo) {
  Refusal refusal = attempt(ControlSecurity{}, new_key("key"));

  EXPECT_TRUE(says(refusal.client.text(), "uses no TLS")) << refusal.client.text();
  EXPECT_TRUE(says(refusal.server, "uses TLS with a pre-shared key")) << refusal.server;
}

TEST_F(WrongPeer, WithCertificatesInsteadOfAKeyIsToldSo) {
  write_complete_folder(authority_, folder_.path());

  Refusal refusal = attempt(new_key("key"), with_certificates(folder_.path()));

  EXPECT_TRUE(says(refusal.client.text(), "--psk-file")) << refusal.client.text();
  EXPECT_TRUE(says(refusal.server, "--tls-dir")) << refusal.server;
}

// Some other service: accepts, says its piece, listens no further.
class OtherService {
 public:
  explicit OtherService(std::string_view greeting)
      : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    // SAFETY: sockaddr_in is one of the forms that sockaddr stands for.
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
    EXPECT_EQ(::listen(socket_.get(), 1), 0);
    greeted_ = std::async(std::launch::async, [this, greeting] {
      UniqueFd client(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      ::send(client.get(), greeting.data(), greeting.size(), MSG_NOSIGNAL);
      return client;
    });
  }
  std::string address() const { return control::local_address(socket_.get()); }

 private:
  UniqueFd socket_;
  std::future<UniqueFd> greeted_;
};

TEST_F(WrongPeer, ThatIsAnotherServiceIsRecognised) {
  for (std::string_view greeting : {"SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 400 Bad Request\r\n",
                                    "G"
                                    "OD IS GREAT     "}) {
    OtherService service(greeting);

    Result<std::unique_ptr<ControlChannel>> connected =
        connect_control(service.address(), ControlSecurity{}, deadline_in(kLong));

    ASSERT_FALSE(connected);
    EXPECT_TRUE(says(connected.error().text(), "does not speak Godwit's protocol"));
  }
}

TEST_F(WrongPeer, OfAnotherVersionIsNamedSo) {
  OtherService service(std::string_view("GODWIT\r\n\x63\0\x01\0\0\0\0\0", 16));

  Result<std::unique_ptr<ControlChannel>> connected =
      connect_control(service.address(), ControlSecurity{}, deadline_in(kLong));

  ASSERT_FALSE(connected);
  EXPECT_TRUE(says(connected.error().text(), "speaks version 99 of the protocol"))
      << connected.error().text();
}

TEST_F(WrongPeer, ThatSaysNothingIsGivenUp) {
  OtherService service("");

  Result<std::unique_ptr<ControlChannel>> connected =
      connect_control(service.address(), ControlSecurity{}, deadline_in(milliseconds(20)));

  ASSERT_FALSE(connected);
  EXPECT_EQ(connected.error().code, Errc::kTimeout);
}

TEST_F(WrongPeer, ThatSaysNothingCanBeCancelled) {
  OtherService service("");
  UniqueFd interrupt(::eventfd(1, EFD_CLOEXEC));

  Result<std::unique_ptr<ControlChannel>> connected =
      connect_control(service.address(), ControlSecurity{}, deadline_in(kLong), interrupt.get());

  ASSERT_FALSE(connected);
  EXPECT_EQ(connected.error().code, Errc::kCancelled);
}

TEST_F(WrongPeer, ThatIsNotThereIsSaidToBeStartedFirst) {
  std::string address;
  {
    Acceptor acceptor(ControlSecurity{});
    address = acceptor.address();
  }

  Result<std::unique_ptr<ControlChannel>> connected =
      connect_control(address, ControlSecurity{}, deadline_in(kLong));

  ASSERT_FALSE(connected);
  EXPECT_EQ(connected.error().code, Errc::kPeerLost);
  EXPECT_TRUE(says(connected.error().text(), "start `godwit receive` there first"));
}

TEST_F(WrongPeer, WithTheKeyInQemusFormatIsTheRightOne) {
  write_file(folder_.file("keys.psk"), "# made by psktool\nqemu:00112233445566778899AABBCCDDEEFF\n",
             0600);

  ConnectedPair pair = connect_pair(with_key(folder_.file("keys.psk")));

  EXPECT_EQ(pair.server->security(), "TLS 1.3, pre-shared key");
}

}  // namespace
}  // namespace godwit::control_test
