// SPDX-License-Identifier: Apache-2.0
#include "cli/matrix_options.h"

#include <algorithm>
#include <thread>

#include "cli/units.h"
#include "engine/base/units.h"

namespace godwit::cli {
namespace {

constexpr uint32_t kMatrixLanesMax = 4;  // where nobody says how many
// What is under way on a lane.
constexpr uint64_t kLaneBytesMin = 4 * kMiB;
constexpr Clock::duration kDirectionMin = milliseconds(200);

}  // namespace

Result<qualify::MatrixOptions> to_matrix_options(const MatrixCliOptions& options) {
  qualify::MatrixOptions result;
  ASSIGN_OR_RETURN(const Clock::duration time, parse_duration(options.time));
  if (time < kDirectionMin || time > milliseconds(kMeasureMsMax))
    return fail(Errc::kRefused, "--time {}: from 200ms to 10min for each direction", options.time);
  const auto time_ms = static_cast<uint32_t>(time / milliseconds(1));
  result.write_ms = time_ms * 6 / 10;
  result.read_ms = time_ms - result.write_ms;
  const uint32_t cpus = std::max(1U, std::thread::hardware_concurrency());
  result.lanes = options.lanes > 0 ? options.lanes : std::min(cpus, kMatrixLanesMax);
  ASSIGN_OR_RETURN(result.memory_bytes, parse_size(options.memory));
  if (result.memory_bytes > kBenchMemoryBytesMax || result.memory_bytes % kBasePageBytes != 0)
    return fail(Errc::kRefused, "--memory: whole pages, at most {}",
                format_bytes(kBenchMemoryBytesMax));
  if (result.memory_bytes / result.lanes < kLaneBytesMin)
    return fail(Errc::kRefused, "--memory {}: {} lanes need {}", options.memory, result.lanes,
                format_bytes(result.lanes * kLaneBytesMin));
  return result;
}

}  // namespace godwit::cli
