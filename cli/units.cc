// SPDX-License-Identifier: Apache-2.0
#include "cli/units.h"

#include <array>
#include <charconv>
#include <cmath>

namespace godwit::cli {
namespace {

struct NamedUnit {
  std::string_view name;
  double factor;
};

constexpr std::array kTimeUnits = {
    NamedUnit{"us", 1e-6},
    NamedUnit{"ms", 1e-3},
    NamedUnit{"s", 1.0},
    NamedUnit{"min", 60.0},
};

// Per second; "/s" may follow.
constexpr std::array kRateUnits = {
    NamedUnit{"bit", 1.0 / 8},      NamedUnit{"kbit", 1e3 / 8},
    NamedUnit{"Mbit", 1e6 / 8},     NamedUnit{"Gbit", 1e9 / 8},
    NamedUnit{"Tbit", 1e12 / 8},    NamedUnit{"B", 1.0},
    NamedUnit{"kB", 1e3},           NamedUnit{"MB", 1e6},
    NamedUnit{"GB", 1e9},           NamedUnit{"TB", 1e12},
    NamedUnit{"KiB", 1024.0},       NamedUnit{"MiB", 1024.0 * 1024},
    NamedUnit{"GiB", 1073741824.0}, NamedUnit{"TiB", 1099511627776.0},
};

constexpr std::array kSizeUnits = {
    NamedUnit{"B", 1.0},
    NamedUnit{"kB", 1e3},
    NamedUnit{"MB", 1e6},
    NamedUnit{"GB", 1e9},
    NamedUnit{"KiB", 1024.0},
    NamedUnit{"MiB", 1024.0 * 1024},
    NamedUnit{"GiB", 1073741824.0},
};

constexpr double kSizeMax = 1e18;
constexpr double kSecondsMax = 86'400;  // a day
constexpr double kRateMin = 1000;       // slower than 1 kB/s is a slip of the pen
constexpr double kRateMax = 1e15;

template <size_t N>
Result<double> parse(std::string_view text, std::string_view suffix,
                     const std::array<NamedUnit, N>& units, std::string_view example) {
  double number = 0;
  auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit = text.substr(static_cast<size_t>(parsed.ptr - text.data()));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  if (!suffix.empty() && unit.ends_with(suffix)) unit.remove_suffix(suffix.size());
  if (parsed.ec == std::errc() && std::isfinite(number) && number >= 0) {
    for (const NamedUnit& candidate : units) {
      if (candidate.name == unit) return number * candidate.factor;
    }
  }
  return fail(Errc::kRefused, "'{}' is not understood: a number and its unit, like {}", text,
              example);
}

}  // namespace

Result<Clock::duration> parse_duration(std::string_view text) {
  ASSIGN_OR_RETURN(double s, parse(text, "", kTimeUnits, "30ms or 1.5s"));
  if (s > kSecondsMax) return fail(Errc::kRefused, "'{}' is longer than a day", text);
  return std::chrono::round<Clock::duration>(std::chrono::duration<double>(s));
}

Result<uint64_t> parse_size(std::string_view text) {
  ASSIGN_OR_RETURN(const double bytes, parse(text, "", kSizeUnits, "64KiB or 1MiB"));
  if (bytes < 1 || bytes > kSizeMax) return fail(Errc::kRefused, "'{}' is no size", text);
  return static_cast<uint64_t>(std::llround(bytes));
}

Result<uint64_t> parse_rate(std::string_view text) {
  ASSIGN_OR_RETURN(double bytes, parse(text, "/s", kRateUnits, "10Gbit or 1.5GB/s"));
  if (bytes < kRateMin || bytes > kRateMax) {
    return fail(Errc::kRefused, "'{}' is not between 1 kB/s and 1000 TB/s", text);
  }
  return static_cast<uint64_t>(std::llround(bytes));
}

std::string format_bytes(uint64_t bytes) {
  constexpr std::array<std::string_view, 5> kNames = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t name = 0;
  while (value >= 1024 && name + 1 < kNames.size()) {
    value /= 1024;
    ++name;
  }
  if (name == 0) return fmt::format("{} B", bytes);
  return fmt::format("{:.{}f} {}", value, value < 10 ? 2 : value < 100 ? 1 : 0, kNames[name]);
}

std::string format_rate(double bytes_per_s) {
  if (bytes_per_s >= 1e9) return fmt::format("{:.2f} GB/s", bytes_per_s / 1e9);
  if (bytes_per_s >= 1e6) return fmt::format("{:.0f} MB/s", bytes_per_s / 1e6);
  return fmt::format("{:.0f} kB/s", bytes_per_s / 1e3);
}

std::string format_milliseconds(double ms) {
  if (ms >= 1000) return fmt::format("{:.2f} s", ms / 1000);
  return fmt::format("{:.1f} ms", ms);
}

}  // namespace godwit::cli
