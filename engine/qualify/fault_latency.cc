// SPDX-License-Identifier: Apache-2.0
//
// The thread that measures touches pages; that of the lane serves the faults. Whoever
// touches waits in the kernel until the page is there, and cannot be told anything: so the serving
// thread disarms the view whatever it ends with, which lets everybody go on.
#include "engine/qualify/fault_latency.h"

#include <poll.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <random>

#include "engine/base/thread_priority.h"
#include "engine/base/wake_event.h"
#include "engine/qualify/latency.h"

namespace godwit::qualify {
namespace {

constexpr Clock::duration kReadMax = seconds(10);
constexpr uint64_t kSeed = 1;

Status read_page(BenchLane& lane, uint64_t offset_bytes) {
  const TransferOp op{.local = lane.local,
                      .local_offset_bytes = offset_bytes,
                      .remote = lane.remote,
                      .remote_offset_bytes = offset_bytes,
                      .size_bytes = kBasePageBytes,
                      .tag = 0};
  const Deadline deadline = deadline_in(kReadMax);
  for (size_t accepted = 0; accepted == 0;) {
    if (Clock::now() >= deadline) return fail(Errc::kTimeout, "the lane takes no read");
    ASSIGN_OR_RETURN(accepted, lane.endpoint().post_reads({&op, 1}));
  }
  std::array<Completion, 1> completion;
  ASSIGN_OR_RETURN(const size_t count, lane.endpoint().poll(completion, deadline));
  if (count == 0 || completion[0].status != OpStatus::kOk)
    return fail(Errc::kPeerLost, "the read of a page failed");
  return {};
}

// Serves faults until told to stop.
class FaultServer {
 public:
  FaultServer(BenchLane& lane, PageFaults& faults, WakeEvent wake)
      : lane_(lane), faults_(faults), wake_(std::move(wake)) {
    lane_.owner->start([this] { run(); });
  }
  ~FaultServer() { (void)stop(); }
  FaultServer(const FaultServer&) = delete;
  FaultServer& operator=(const FaultServer&) = delete;

  bool failed() const { return failed_.load(); }

  Status stop() {
    stopping_.store(true);
    wake_.raise();
    lane_.owner->wait();
    return ended_;
  }

 private:
  void run() {
    // An urgent thread sleeps while it waits for its page, as it does in a migration.
    if (make_this_thread_urgent() == Urgency::kRealTime)
      (void)lane_.endpoint().sleep_with(wake_.fd());
    ended_ = serve();
    if (!ended_) failed_.store(true);
    const Status disarmed = faults_.disarm();
    if (ended_) ended_ = disarmed;
  }

  Status serve() {
    while (!stopping_.load()) {
      std::array<pollfd, 2> waited = {pollfd{faults_.fd(), POLLIN, 0},
                                      pollfd{wake_.fd(), POLLIN, 0}};
      if (::poll(waited.data(), waited.size(), -1) < 0 && errno != EINTR)
        return fail_errno(errno, "wait for page faults");
      std::array<PageFault, 16> faults;
      ASSIGN_OR_RETURN(const size_t count, faults_.read(faults));
      for (const PageFault& fault : std::span(faults).first(count)) {
        RETURN_IF_ERROR(read_page(lane_, fault.page * kBasePageBytes));
        RETURN_IF_ERROR(faults_.install(fault.block, {fault.page, 1}));
      }
    }
    return {};
  }

  BenchLane& lane_;
  PageFaults& faults_;
  WakeEvent wake_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> failed_{false};
  Status ended_ = {};
};

}  // namespace

Result<Latency> measure_fault_latency(BenchLane& lane, FaultView& view, const StopRule& rule,
                                      const Interruption& interruption) {
  ASSIGN_OR_RETURN(WakeEvent wake, WakeEvent::make());
  FaultServer server(lane, *view.faults, std::move(wake));
  std::mt19937_64 random(kSeed);
  const uint64_t pages = lane.size_bytes / kBasePageBytes;
  const auto touch = [&]() -> Result<Clock::duration> {
    std::byte* page = &view.bytes[lane.offset_bytes + random() % pages * kBasePageBytes];
    // Out of the page tables, as if it had never been here; the page itself stays.
    if (::madvise(page, kBasePageBytes, MADV_DONTNEED) != 0)
      return fail_errno(errno, "forget a page");
    const Clock::time_point begin = Clock::now();
    // SAFETY: the page is written by nobody while it is in this mapping; volatile, so that it is
    // touched although nobody wants what is in it.
    (void)*static_cast<volatile std::byte*>(page);
    const Clock::duration time = Clock::now() - begin;
    if (server.failed()) return fail(Errc::kPeerLost, "page faults are not served any more");
    return time;
  };
  const Result<Latency> measured = measure_latency_of(touch, rule, interruption);
  const Status served = server.stop();
  RETURN_IF_ERROR(interruption.check());
  RETURN_IF_ERROR(served);
  return measured;
}

}  // namespace godwit::qualify
