// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/rail_name.h"

#include <charconv>

namespace godwit {
namespace {

// Ports and GID indices as verbs counts them: ports from 1, in 8 bits (IB specification), the GID
// table with 16.
constexpr uint32_t kPortMax = 255;
constexpr uint32_t kGidIndexMax = 65535;

std::optional<uint32_t> parse_number(std::string_view text, uint32_t max) {
  uint32_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || rest != end || number > max) return std::nullopt;
  return number;
}

tl::unexpected<Error> not_a_rail(std::string_view text, const char* why) {
  return fail(Errc::kRefused, "'{}' is not a rail: {} (DEVICE[:PORT][/GID], e.g. mlx5_0:1/3)", text,
              why);
}

}  // namespace

Result<RailName> parse_rail_name(std::string_view text) {
  RailName name;
  std::string_view rest = text;
  if (const size_t slash = rest.find('/'); slash != std::string_view::npos) {
    name.gid_index = parse_number(rest.substr(slash + 1), kGidIndexMax);
    if (!name.gid_index) return not_a_rail(text, "the GID index is a number from 0");
    rest = rest.substr(0, slash);
  }
  if (const size_t colon = rest.find(':'); colon != std::string_view::npos) {
    const std::optional<uint32_t> port = parse_number(rest.substr(colon + 1), kPortMax);
    if (!port || *port == 0) return not_a_rail(text, "the port is a number from 1");
    name.port = static_cast<uint8_t>(*port);
    rest = rest.substr(0, colon);
  }
  if (rest.empty() && !text.empty()) return not_a_rail(text, "the device has no name");
  name.device = rest;
  return name;
}

}  // namespace godwit
