// SPDX-License-Identifier: Apache-2.0
#include "cli/launcher/job_matrix.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "cli/bench_reception.h"
#include "cli/lane_rails.h"
#include "cli/launcher/job_card.h"
#include "cli/launcher/job_key.h"
#include "cli/peer_listener.h"
#include "engine/qualify/link_facts.h"
#include "transports/address/own_addresses.h"

namespace godwit::cli {
namespace {

// Whoever coordinates connects to everybody as soon as it knows where they are.
constexpr seconds kCoordinatorMax{60};

// Slurm's name for the host where there is one: several may be on one machine.
std::string own_name() {
  const char* node = std::getenv("SLURMD_NODENAME");  // NOLINT(concurrency-mt-unsafe): as above
  if (node != nullptr) return node;
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

// The fastest first: what is meant to be qualified is rarely the network for administration.
Result<std::vector<std::string>> serving_hosts(const std::string& interface) {
  std::vector<OwnAddress> addresses = own_addresses();
  if (!interface.empty())
    std::erase_if(addresses, [&](const OwnAddress& own) { return own.interface != interface; });
  if (addresses.empty())
    return fail(Errc::kRefused, "--interface {}: it has no address here", interface);
  std::ranges::stable_sort(addresses, std::greater<>(), [](const OwnAddress& own) {
    return qualify::describe_interface(own.interface, "/sys").line_rate_bits_per_s;
  });
  std::vector<std::string> hosts;
  for (const OwnAddress& own : addresses) hosts.push_back(own.host);
  return hosts;
}

bool is_ipv6(const std::string& host) {
  return host.starts_with('[');
}

// The listener, and where the others find it.
struct Desk {
  std::unique_ptr<ControlListener> listener;
  std::vector<std::string> addresses;
};

Result<Desk> open_desk(const MatrixCliOptions& options) {
  // What this host lacks is said now.
  ASSIGN_OR_RETURN(const LaneRails lanes, make_lane_rails(options.agent));
  ASSIGN_OR_RETURN(std::vector<std::string> hosts, serving_hosts(options.interface));
  const bool only_ipv6 = std::ranges::all_of(hosts, is_ipv6);
  if (!only_ipv6) std::erase_if(hosts, is_ipv6);
  const std::string any = only_ipv6 ? "[::]:0" : "0.0.0.0:0";
  ASSIGN_OR_RETURN(const ControlSecurity security, choose_security(options.agent, any));
  Desk desk;
  ASSIGN_OR_RETURN(desk.listener, listen_for_peers(any, security));
  const std::string& bound = desk.listener->address();
  for (const std::string& host : hosts)
    desk.addresses.push_back(host + bound.substr(bound.rfind(':')));
  return desk;
}

// A key of the job's own, unless the user said how the hosts know each other.
Result<std::optional<JobKeyFile>> share_key(Job& job, AgentOptions& agent) {
  if (!agent.psk_file.empty() || !agent.tls_folder.empty() || agent.insecure) return std::nullopt;
  std::string key = "none";
  if (job.rank() == 0) {
    ASSIGN_OR_RETURN(key, new_job_key());
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> keys, job.exchange(key));
  ASSIGN_OR_RETURN(JobKeyFile file, JobKeyFile::make(keys.front()));
  agent.psk_file = file.path();
  return std::optional(std::move(file));
}

Result<std::vector<ServingHost>> share_cards(Job& job, const Result<Desk>& desk) {
  ServingHost own{.name = own_name(), .addresses = {}, .lost = {}};
  if (desk) own.addresses = desk->addresses;
  if (!desk) own.lost = to_string(desk.error());
  ASSIGN_OR_RETURN(const std::vector<std::string> cards, job.exchange(encode_job_card(own)));
  std::vector<ServingHost> hosts;
  for (const std::string& card : cards) {
    ASSIGN_OR_RETURN(ServingHost host, decode_job_card(card));
    hosts.push_back(std::move(host));
  }
  make_names_unique(hosts);
  return hosts;
}

// A desk at which somebody serves, and whether whoever coordinates has come.
class StaffedDesk {
 public:
  StaffedDesk(const Desk& desk, const AgentOptions& agent, const InterruptWatcher& interrupts)
      : listener_(*desk.listener),
        reception_({.agent = agent,
                    .lane_listen = {},
                    .interrupts = interrupts,
                    .tell = [](std::string_view) {},
                    .on_begin = [this] { note_coordinator(); },
                    .on_end = [this](const Status&) { listener_.shut_down(); },
                    .on_refused = [] {}}),
        clerk_([this] { (void)reception_.take_all(listener_); }) {}
  ~StaffedDesk() { close(); }
  StaffedDesk(const StaffedDesk&) = delete;
  StaffedDesk& operator=(const StaffedDesk&) = delete;

  // Ends what runs.
  void close() {
    listener_.shut_down();
    reception_.stop();
  }

  // Returns when the matrix is over here.
  Status wait() {
    {
      std::unique_lock lock(mutex_);
      const bool came = changed_.wait_for(lock, kCoordinatorMax, [this] { return coordinated_; });
      if (!came) {
        lock.unlock();
        close();
      }
    }
    clerk_.join();
    RETURN_IF_ERROR(reception_.wait());
    if (coordinated_) return {};
    return fail(Errc::kPeerLost, "the first process of the job did not come here");
  }

 private:
  void note_coordinator() {
    std::lock_guard lock(mutex_);
    coordinated_ = true;
    changed_.notify_all();
  }

  ControlListener& listener_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool coordinated_ = false;
  BenchReception reception_;
  std::jthread clerk_;
};

}  // namespace

Result<std::optional<MatrixOutcome>> measure_in_job(Job& job, const MatrixCliOptions& options,
                                                    InterruptWatcher& interrupts) {
  MatrixCliOptions own = options;
  ASSIGN_OR_RETURN(const std::optional<JobKeyFile> key, share_key(job, own.agent));
  const Result<Desk> desk = open_desk(own);
  // Also without a desk: the others wait for this card.
  ASSIGN_OR_RETURN(const std::vector<ServingHost> hosts, share_cards(job, desk));
  std::optional<StaffedDesk> staffed;
  if (desk) staffed.emplace(*desk, own.agent, interrupts);
  if (job.rank() > 0) {
    if (!desk) return tl::unexpected<Error>(desk.error());
    interrupts.set_action([&] { staffed->close(); });
    const Status served = staffed->wait();
    interrupts.set_action({});
    RETURN_IF_ERROR(served);
    return std::nullopt;
  }
  Result<MatrixOutcome> outcome = coordinate_matrix(own, hosts, interrupts);
  if (!outcome) return tl::unexpected<Error>(outcome.error());
  outcome->launcher = job.launcher();
  return std::optional(std::move(*outcome));
}

}  // namespace godwit::cli
