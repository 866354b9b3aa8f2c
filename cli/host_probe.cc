// SPDX-License-Identifier: Apache-2.0
#include "cli/host_probe.h"

#include <linux/io_uring.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/units.h"
#include "engine/base/check.h"
#include "engine/base/system_files.h"
#include "engine/base/unique_fd.h"
#include "engine/migration/options.h"
#include "vmm-adapters/linux/pagemap_scan.h"

namespace godwit::cli {
namespace {

using Verdict = Finding::Verdict;

Finding probe_kernel() {
  utsname name{};
  ::uname(&name);
  return {"kernel", Verdict::kFact, fmt::format("{} {}", name.sysname, name.release)};
}

Finding probe_dirty_tracking() {
  Status works = probe_pagemap_scan();
  if (!works) return {"dirty-tracking", Verdict::kMissing, to_string(works.error())};
  return {"dirty-tracking", Verdict::kGood,
          "PAGEMAP_SCAN with asynchronous write protection works"};
}

Finding probe_attaching() {
  // The kernel's own word on CAP_SYS_PTRACE, bit 19 of the effective capabilities.
  constexpr unsigned kCapSysPtrace = 19;
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("CapEff:")) continue;
    unsigned long long capabilities = std::stoull(line.substr(7), nullptr, 16);
    if ((capabilities >> kCapSysPtrace & 1) != 0) {
      return {"attaching", Verdict::kGood, "may attach to QEMU (CAP_SYS_PTRACE)"};
    }
  }
  return {"attaching", Verdict::kMissing,
          "may not attach to another user's QEMU: run as root, or with CAP_SYS_PTRACE"};
}

Finding probe_io_uring() {
  io_uring_params parameters{};
  UniqueFd ring(static_cast<int>(::syscall(SYS_io_uring_setup, 1, &parameters)));
  if (ring.valid()) return {"io-uring", Verdict::kGood, "io_uring works"};
  return {"io-uring", Verdict::kMissing,
          fmt::format("io_uring: {} (sysctl kernel.io_uring_disabled? a container's seccomp?)",
                      std::generic_category().message(errno))};
}

Finding probe_locked_memory() {
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) return {"locked-memory", Verdict::kFact, "unlimited"};
  return {"locked-memory", Verdict::kFact,
          fmt::format("at most {} (ulimit -l)", format_bytes(limit.rlim_cur))};
}

Finding probe_kvm() {
  if (::access("/dev/kvm", R_OK | W_OK) == 0) return {"kvm", Verdict::kFact, "/dev/kvm is usable"};
  return {"kvm", Verdict::kFact, "no /dev/kvm: guests of this host are emulated"};
}

Finding probe_huge_pages() {
  std::string text;
  for (const std::string& size : list_folder("/sys/kernel/mm/hugepages")) {
    std::string folder = "/sys/kernel/mm/hugepages/" + size;
    text += fmt::format("{}{}: {} of {} free", text.empty() ? "" : ", ", size.substr(10),
                        read_line(folder + "/free_hugepages"), read_line(folder + "/nr_hugepages"));
  }
  return {"huge-pages", Verdict::kFact, text.empty() ? "none" : text};
}

Finding probe_numa(const Result<numa::Topology>& topology) {
  if (!topology) return {"numa", Verdict::kFact, to_string(topology.error())};
  std::string text;
  for (const numa::NumaNode& node : topology->nodes) {
    text += fmt::format("{}node{}: CPUs {}", text.empty() ? "" : ", ", node.number,
                        numa::to_string(node.cpus()));
  }
  return {"numa", Verdict::kFact, text};
}

Finding probe_rdma_devices(const Result<numa::Topology>& topology) {
  if (!topology) return {"rdma-devices", Verdict::kFact, to_string(topology.error())};
  std::string text;
  for (const numa::Device& device : topology->devices) {
    if (device.kind != numa::Device::Kind::kRdma) continue;
    text +=
        fmt::format("{}{} (NUMA node {})", text.empty() ? "" : ", ", device.name,
                    device.node == numa::kUnknownNode ? "not known" : std::to_string(device.node));
  }
  return {"rdma-devices", Verdict::kFact, text.empty() ? "none" : text};
}

const char* to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kGood:
      return "good";
    case Verdict::kMissing:
      return "missing";
    case Verdict::kFact:
      return "fact";
  }
  CHECK(false && "a Verdict outside its enumerators");
}

}  // namespace

std::vector<Finding> probe_host(const Result<numa::Topology>& topology) {
  return {probe_kernel(),
          probe_dirty_tracking(),
          probe_attaching(),
          probe_io_uring(),
          probe_locked_memory(),
          probe_kvm(),
          probe_huge_pages(),
          probe_numa(topology),
          probe_rdma_devices(topology),
          {"lanes", Verdict::kFact, fmt::format("{} by default", default_lane_count())}};
}

std::string render_findings_json(const std::vector<Finding>& findings,
                                 const nlohmann::ordered_json& numa) {
  using Json = nlohmann::ordered_json;
  Json list = Json::array();
  bool ready = true;
  for (const Finding& finding : findings) {
    ready = ready && finding.verdict != Verdict::kMissing;
    list.push_back(
        {{"name", finding.name}, {"verdict", to_string(finding.verdict)}, {"text", finding.text}});
  }
  Json json = {{"schema", 1}, {"ready", ready}, {"findings", list}, {"numa", numa}};
  return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

std::string render_findings_text(const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& finding : findings) {
    const char* mark = finding.verdict == Verdict::kGood      ? "ok"
                       : finding.verdict == Verdict::kMissing ? "MISSING"
                                                              : "";
    text += fmt::format("{:<8}{:<16}{}\n", mark, finding.name, finding.text);
  }
  return text;
}

}  // namespace godwit::cli
