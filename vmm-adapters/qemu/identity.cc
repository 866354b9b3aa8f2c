// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/identity.h"

#include <charconv>

namespace godwit::qemu {
namespace {

constexpr std::string_view kCpuidPrefix = "cpuid.";

std::string value_or(const GuestIdentity& identity, const std::string& key,
                     const std::string& otherwise) {
  auto found = identity.find(key);
  return found == identity.end() ? otherwise : found->second;
}

bool parse_version(const std::string& text, Version& version) {
  const char* end = text.data() + text.size();
  auto major = std::from_chars(text.data(), end, version.major);
  if (major.ec != std::errc() || major.ptr == end || *major.ptr != '.') return false;
  auto minor = std::from_chars(major.ptr + 1, end, version.minor);
  return minor.ec == std::errc();
}

uint64_t parse_features(const std::string& text) {
  uint64_t features = 0;
  std::from_chars(text.data(), text.data() + text.size(), features, 16);
  return features;
}

Status check_equal(const GuestIdentity& source, const GuestIdentity& destination,
                   const std::string& key, std::string_view meaning) {
  std::string there = value_or(source, key, "unknown");
  std::string here = value_or(destination, key, "unknown");
  if (there == here) return {};
  return fail(Errc::kRefused, "{} differs: '{}' at the source, '{}' at the destination", meaning,
              there, here);
}

Status check_versions(const std::string& source_text, const std::string& destination_text) {
  Version source{};
  Version destination{};
  if (!parse_version(source_text, source) || !parse_version(destination_text, destination)) {
    return fail(Errc::kRefused, "QEMU version '{}' or '{}' cannot be understood", source_text,
                destination_text);
  }
  bool older =
      std::pair(destination.major, destination.minor) < std::pair(source.major, source.minor);
  if (older) {
    return fail(Errc::kRefused, "QEMU is older at the destination: {} at the source, {} there",
                source_text, destination_text);
  }
  return {};
}

Status check_cpu_features(const GuestIdentity& source, const GuestIdentity& destination) {
  for (const auto& [key, value] : source) {
    if (!key.starts_with(kCpuidPrefix)) continue;
    uint64_t missing = parse_features(value) & ~parse_features(value_or(destination, key, "0"));
    if (missing != 0) {
      return fail(Errc::kRefused,
                  "the destination's CPU lacks features that the guest has: {} bits {:#x}; start "
                  "both with a CPU model that both hosts have",
                  key, missing);
    }
  }
  return {};
}

void add_cpu_features(const Json& words, GuestIdentity& identity) {
  if (!words.is_array()) return;
  for (const Json& word : words) {
    int64_t features = integer_or(word, "features", 0);
    if (features == 0) continue;
    identity[fmt::format("{}{:x}.{:x}.{}", kCpuidPrefix, integer_or(word, "cpuid-input-eax", 0),
                         integer_or(word, "cpuid-input-ecx", 0),
                         string_or(word, "cpuid-register", "?"))] = fmt::format("{:x}", features);
  }
}

}  // namespace

Result<Version> query_version(QmpClient& client, Deadline deadline) {
  ASSIGN_OR_RETURN(Json answer, client.execute("query-version", {}, deadline));
  const Json& qemu = field(answer, "qemu");
  return Version{integer_or(qemu, "major", 0), integer_or(qemu, "minor", 0),
                 integer_or(qemu, "micro", 0)};
}

Result<GuestIdentity> query_identity(QmpClient& client, Deadline deadline) {
  GuestIdentity identity;
  identity["vmm"] = "qemu";
  ASSIGN_OR_RETURN(Version version, query_version(client, deadline));
  identity["version"] = fmt::format("{}.{}.{}", version.major, version.minor, version.micro);

  ASSIGN_OR_RETURN(
      Json machine,
      client.execute("qom-get", {{"path", "/machine"}, {"property", "type"}}, deadline));
  if (machine.is_string()) {
    std::string name = machine.get<std::string>();
    constexpr std::string_view kSuffix = "-machine";
    if (name.ends_with(kSuffix)) name.resize(name.size() - kSuffix.size());
    identity["machine"] = name;
  }

  ASSIGN_OR_RETURN(Json cpus, client.execute("query-cpus-fast", {}, deadline));
  identity["cpus"] = fmt::format("{}", cpus.size());
  if (cpus.is_array() && !cpus.empty()) {
    std::string path = string_or(cpus[0], "qom-path", "");
    ASSIGN_OR_RETURN(Json type,
                     client.execute("qom-get", {{"path", path}, {"property", "type"}}, deadline));
    if (type.is_string()) identity["cpu"] = type.get<std::string>();
    // Only x86 CPUs have this property; without it the model's name has to do.
    Result<Json> words =
        client.execute("qom-get", {{"path", path}, {"property", "feature-words"}}, deadline);
    if (words) add_cpu_features(*words, identity);
  }

  ASSIGN_OR_RETURN(Json kvm, client.execute("query-kvm", {}, deadline));
  identity["accelerator"] = is_true(kvm, "enabled") ? "kvm" : "tcg";
  return identity;
}

Status check_identities(const GuestIdentity& source, const GuestIdentity& destination) {
  RETURN_IF_ERROR(check_equal(source, destination, "vmm", "the kind of VMM"));
  RETURN_IF_ERROR(
      check_versions(value_or(source, "version", ""), value_or(destination, "version", "")));
  RETURN_IF_ERROR(check_equal(source, destination, "machine", "machine type"));
  RETURN_IF_ERROR(check_equal(source, destination, "accelerator", "accelerator"));
  RETURN_IF_ERROR(check_equal(source, destination, "cpu", "CPU model"));
  RETURN_IF_ERROR(check_equal(source, destination, "cpus", "number of CPUs"));
  return check_cpu_features(source, destination);
}

}  // namespace godwit::qemu
