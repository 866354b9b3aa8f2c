// SPDX-License-Identifier: Apache-2.0
//
// An endpoint that has served a read of a page looks for the next one before it sleeps. However
// long that is, its caller gets what it would have got from one that sleeps.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <thread>

#include "tests/support/connected_endpoints.h"
#include "transports/tcp/tcp_transport.h"

namespace godwit::tcp_test {
namespace {

constexpr auto kFarAway = std::chrono::hours(1);

class LookForReads : public testing::Test {
 protected:
  LookForReads()
      : source_(TcpTransport::open({.look_for_reads = kFarAway}).value()),
        destination_(TcpTransport::open().value()),
        served_(source_->register_memory(there_, RemoteAccess::kRead).value()),
        local_(destination_->register_memory(here_, RemoteAccess::kNone).value()),
        ends_(
            test::connect_endpoints(*source_, *destination_, "127.0.0.1:0", test::make_ticket(0))) {
    there_.fill(std::byte{7});
  }

  // Requires: a thread is in the source's receive().
  void read_a_page() {
    const TransferOp op{local_.get(), 0, served_->describe(), 0, kBasePageBytes, 0};
    ASSERT_EQ(ends_.destination->post_reads({&op, 1}).value(), 1U);
    std::array<Completion, 1> completions;
    ASSERT_EQ(ends_.destination->poll(completions, deadline_in(seconds(20))).value(), 1U);
    ASSERT_EQ(completions[0].status, OpStatus::kOk);
    ASSERT_EQ(here_, there_);
  }

  std::array<std::byte, kBasePageBytes> there_{};
  std::array<std::byte, kBasePageBytes> here_{};
  std::unique_ptr<TcpTransport> source_;
  std::unique_ptr<TcpTransport> destination_;
  std::unique_ptr<MemoryRegion> served_;
  std::unique_ptr<MemoryRegion> local_;
  test::ConnectedEndpoints ends_;
  std::array<std::byte, 64> message_;
};

TEST_F(LookForReads, EndsAtTheCallersDeadline) {
  std::atomic<int> time_outs{0};
  std::jthread serving([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const Result<size_t> message = ends_.source->receive(message_, deadline_in(milliseconds(5)));
      ASSERT_EQ(message.error().code, Errc::kTimeout);
      ++time_outs;
      time_outs.notify_all();
    }
  });

  read_a_page();
  const int before = time_outs;

  // The second of these began after the read.
  time_outs.wait(before);
  time_outs.wait(before + 1);
  read_a_page();
}

TEST_F(LookForReads, EndsWhenTheEndpointIsShutDown) {
  Result<size_t> message = 0;
  std::jthread serving([&] { message = ends_.source->receive(message_, Deadline::max()); });
  read_a_page();

  ends_.source->shut_down();
  serving.join();

  ASSERT_FALSE(message);
  EXPECT_EQ(message.error().code, Errc::kCancelled);
}

}  // namespace
}  // namespace godwit::tcp_test
