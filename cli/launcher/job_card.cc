// SPDX-License-Identifier: Apache-2.0
#include "cli/launcher/job_card.h"

#include <algorithm>
#include <map>

#include "cli/launcher/job.h"
#include "engine/wire/messages.h"

namespace godwit::cli {
namespace {

constexpr size_t kReasonMax = 300;

// Launchers separate their own words by some of these.
std::string printable(std::string text) {
  for (char& letter : text) {
    const bool plain = letter > ' ' && letter < '\x7f' && letter != ';' && letter != '=' &&
                       letter != '|' && letter != ',';
    if (!plain) letter = '_';
  }
  return text;
}

std::string cut_off(std::string& text, char separator) {
  const size_t end = std::min(text.find(separator), text.size());
  std::string first = text.substr(0, end);
  text.erase(0, end + 1);
  return first;
}

}  // namespace

std::string encode_job_card(const ServingHost& host) {
  const std::string reason = "|" + printable(host.lost.substr(0, kReasonMax));
  std::string card = printable(host.name.substr(0, kNameBytesMax)) + "|";
  size_t addresses = 0;
  for (const std::string& address : host.addresses) {
    const std::string text = (addresses > 0 ? "," : "") + printable(address);
    if (addresses == kPeerAddressesMax ||
        card.size() + text.size() + reason.size() > kJobTextBytesMax)
      break;
    card += text;
    ++addresses;
  }
  return card + reason;
}

Result<ServingHost> decode_job_card(const std::string& text) {
  if (std::ranges::count(text, '|') != 2)
    return fail(Errc::kCorrupt, "a process of the job says what it is no card: {}", text);
  std::string rest = text;
  ServingHost host{.name = cut_off(rest, '|'), .addresses = {}, .lost = {}};
  std::string addresses = cut_off(rest, '|');
  host.lost = rest;
  std::ranges::replace(host.lost, '_', ' ');
  while (!addresses.empty()) host.addresses.push_back(cut_off(addresses, ','));
  if (host.lost.empty() && host.addresses.empty())
    return fail(Errc::kCorrupt, "{} tells no address", host.name);
  return host;
}

void make_names_unique(std::vector<ServingHost>& hosts) {
  std::map<std::string, int> counts;
  for (const ServingHost& host : hosts) ++counts[host.name];
  for (size_t rank = 0; rank < hosts.size(); ++rank) {
    if (counts[hosts[rank].name] > 1) hosts[rank].name += fmt::format("/{}", rank);
  }
}

}  // namespace godwit::cli
