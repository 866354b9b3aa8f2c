// SPDX-License-Identifier: Apache-2.0
#include "cli/lane_address.h"

namespace godwit::cli {

LaneAddress choose_lane_address(const std::string& asked, const std::string& control) {
  std::string control_host = control.substr(0, control.rfind(':'));
  if (asked.empty()) return {control_host + ":0", ""};
  std::string host = asked.substr(0, asked.rfind(':'));
  bool all_addresses = host == "0.0.0.0" || host == "[::]";
  return {asked, all_addresses ? control_host : ""};
}

}  // namespace godwit::cli
