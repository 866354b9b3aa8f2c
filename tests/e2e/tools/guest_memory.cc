// SPDX-License-Identifier: Apache-2.0
//
// guest_memory: looks at the boot-sector guest (tests/e2e/guests/boot_sector.S) from outside,
// through the files that its RAM lies in.
//
//   guest_memory check SEED FILL_END DIRTY_END FILE…    one JSON line; exit 1 if a word is wrong
//   guest_memory watch SOURCE DESTINATION     until stdin closes: the longest gaps of the heartbeat
//   guest_memory sample SOURCE DESTINATION    until stdin closes: lines of the time (monotonic, us)
//                                             and the heartbeat in both
//
// FILEs follow each other in guest-physical memory, as the guest's NUMA nodes do. Only a stopped
// guest can be checked; the counters of one that runs may form a step that moves while it is read.

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace {

constexpr uint64_t kPageSize = 4096;
constexpr uint64_t kFillStart = 1U << 20;
constexpr uint64_t kHeartbeatOffset = 0x9000;
constexpr uint64_t kPassesOffset = 0x9004;

[[noreturn]] void die(const char* what, const char* subject) {
  std::fprintf(stderr, "guest_memory: %s %s: %s\n", what, subject, std::strerror(errno));
  std::exit(2);
}

// One file of guest RAM, mapped for reading for as long as the program lives.
struct MappedFile {
  const uint8_t* bytes = nullptr;
  uint64_t size_bytes = 0;
};

MappedFile map_file(const char* path) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat status = {};
  if (fd < 0 || fstat(fd, &status) != 0) {
    die("open", path);
  }
  const auto size_bytes = static_cast<uint64_t>(status.st_size);
  void* address = mmap(nullptr, size_bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (address == MAP_FAILED) {
    die("map", path);
  }
  close(fd);
  return {static_cast<const uint8_t*>(address), size_bytes};
}

uint32_t load_word(const uint8_t* bytes, uint64_t offset) {
  // SAFETY: offset is a multiple of 4 inside a mapping; the guest's aligned stores of a word are
  // atomic.
  return __atomic_load_n(reinterpret_cast<const uint32_t*>(bytes + offset), __ATOMIC_RELAXED);
}

struct CheckResult {
  uint64_t pages = 0;
  uint64_t bad_pages = 0;
  uint64_t first_bad_page = 0;
  uint32_t first_counter = 0;
  uint32_t last_counter = 0;
  uint32_t steps_down = 0;
};

void mark_bad(CheckResult& result, uint64_t address) {
  if (result.bad_pages++ == 0) {
    result.first_bad_page = address;
  }
}

struct Expected {
  uint32_t seed = 0;
  uint64_t fill_end = 0;
  uint64_t dirty_end = 0;
};

void check_page(const uint8_t* page, uint64_t address, const Expected& expected,
                CheckResult& result) {
  const uint32_t base = expected.seed + static_cast<uint32_t>(address);
  const uint32_t counter = load_word(page, 0) - base;
  bool right = true;
  if (address >= expected.dirty_end) {
    right = counter == 0;
  } else if (address == kFillStart) {
    result.first_counter = result.last_counter = counter;
  } else if (counter != result.last_counter) {
    // The guest counts upwards through memory, so what it has not reached yet in this pass is one
    // behind, once.
    right = counter + 1 == result.last_counter && result.steps_down++ == 0;
    result.last_counter = counter;
  }
  for (uint64_t offset = 4; offset < kPageSize; offset += 4) {
    right &= load_word(page, offset) == base + static_cast<uint32_t>(offset);
  }
  result.pages++;
  if (!right) {
    mark_bad(result, address);
  }
}

int check(int argument_count, char** arguments) {
  if (argument_count < 6) {
    std::fputs("usage: guest_memory check SEED FILL_END DIRTY_END FILE…\n", stderr);
    return 2;
  }
  const Expected expected{.seed = static_cast<uint32_t>(std::strtoull(arguments[2], nullptr, 0)),
                          .fill_end = std::strtoull(arguments[3], nullptr, 0),
                          .dirty_end = std::strtoull(arguments[4], nullptr, 0)};
  CheckResult result;
  uint64_t file_start = 0;
  uint32_t heartbeat = 0;
  uint32_t passes = 0;
  for (int i = 5; i < argument_count; i++) {
    const MappedFile file = map_file(arguments[i]);
    if (i == 5) {
      heartbeat = load_word(file.bytes, kHeartbeatOffset);
      passes = load_word(file.bytes, kPassesOffset);
    }
    const uint64_t file_end = std::min(file_start + file.size_bytes, expected.fill_end);
    for (uint64_t address = std::max(file_start, kFillStart); address < file_end;
         address += kPageSize) {
      check_page(file.bytes + (address - file_start), address, expected, result);
    }
    file_start += file.size_bytes;
  }
  if (file_start < expected.fill_end) {
    std::fputs("guest_memory: the files are smaller than the filled memory\n", stderr);
    return 2;
  }
  std::printf("{\"pages\": %" PRIu64 ", \"bad_pages\": %" PRIu64 ", \"first_bad_page\": %" PRIu64
              ", \"counter\": %u, \"heartbeat\": %u, \"passes\": %u}\n",
              result.pages, result.bad_pages, result.first_bad_page, result.first_counter,
              heartbeat, passes);
  return result.bad_pages == 0 ? 0 : 1;
}

uint64_t now_us() {
  struct timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

bool end_requested() {
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  return poll(&input, 1, 0) != 0;
}

// Follows the heartbeat from the source's memory to the destination's. The destination counts as
// running from the first value beyond the source's last one; before that, what changes there are
// only copies that arrive.
int watch(int argument_count, char** arguments) {
  if (argument_count != 4) {
    std::fputs("usage: guest_memory watch SOURCE DESTINATION\n", stderr);
    return 2;
  }
  const MappedFile source = map_file(arguments[2]);
  const MappedFile destination = map_file(arguments[3]);
  constexpr struct timespec kPollPause = {.tv_sec = 0, .tv_nsec = 100000};

  uint32_t last_value = load_word(source.bytes, kHeartbeatOffset);
  uint64_t last_change_us = now_us();
  uint64_t longest_gap_us = 0;
  uint64_t longest_poll_us = 0;
  uint64_t handover_gap_us = 0;
  uint64_t previous_poll_us = last_change_us;
  // Whoever asks for the end may be quicker than the guest's first step in the destination: wait.
  constexpr uint64_t kLastChanceUs = 2000000;
  uint64_t asked_us = 0;
  while (asked_us == 0 || (handover_gap_us == 0 && now_us() - asked_us < kLastChanceUs)) {
    const uint64_t poll_us = now_us();
    asked_us = asked_us == 0 && end_requested() ? poll_us : asked_us;
    longest_poll_us = std::max(longest_poll_us, poll_us - previous_poll_us);
    previous_poll_us = poll_us;
    const uint32_t source_value = load_word(source.bytes, kHeartbeatOffset);
    const uint32_t destination_value = load_word(destination.bytes, kHeartbeatOffset);
    if (handover_gap_us == 0 && source_value != last_value) {
      longest_gap_us = std::max(longest_gap_us, poll_us - last_change_us);
      last_value = source_value;
      last_change_us = poll_us;
    } else if (static_cast<int32_t>(destination_value - last_value) > 0) {
      if (handover_gap_us == 0) {
        handover_gap_us = poll_us - last_change_us;
      } else {
        longest_gap_us = std::max(longest_gap_us, poll_us - last_change_us);
      }
      last_value = destination_value;
      last_change_us = poll_us;
    }
    nanosleep(&kPollPause, nullptr);
  }
  std::printf("{\"handover_gap_us\": %" PRIu64 ", \"longest_other_gap_us\": %" PRIu64
              ", \"longest_poll_us\": %" PRIu64 "}\n",
              handover_gap_us, longest_gap_us, longest_poll_us);
  return 0;
}

uint32_t read_heartbeat(int fd, const char* path) {
  uint32_t value = 0;
  if (pread(fd, &value, sizeof value, kHeartbeatOffset) != sizeof value) {
    die("read", path);
  }
  return value;
}

// Reads by pread(), which leaves a hole in a file a hole: a mapping would make it a page of zeroes,
// and QEMU, which waits for the guest to miss it, would never fetch it.
int sample(int argument_count, char** arguments) {
  if (argument_count != 4) {
    std::fputs("usage: guest_memory sample SOURCE DESTINATION\n", stderr);
    return 2;
  }
  const int source = open(arguments[2], O_RDONLY | O_CLOEXEC);
  const int destination = open(arguments[3], O_RDONLY | O_CLOEXEC);
  if (source < 0 || destination < 0) {
    die("open", arguments[source < 0 ? 2 : 3]);
  }
  constexpr struct timespec kPause = {.tv_sec = 0, .tv_nsec = 500000};
  struct Sample {
    uint64_t at_us;
    uint32_t source;
    uint32_t destination;
  };
  constexpr size_t kSamplesExpected = 200000;
  std::vector<Sample> samples;
  samples.reserve(kSamplesExpected);
  while (!end_requested()) {
    samples.push_back({now_us(), read_heartbeat(source, arguments[2]),
                       read_heartbeat(destination, arguments[3])});
    nanosleep(&kPause, nullptr);
  }
  for (const Sample& item : samples) {
    std::printf("%" PRIu64 " %u %u\n", item.at_us, item.source, item.destination);
  }
  return 0;
}

}  // namespace

int main(int argument_count, char** arguments) {
  const std::string mode = argument_count > 1 ? arguments[1] : "";
  if (mode == "check") {
    return check(argument_count, arguments);
  }
  if (mode == "watch") {
    return watch(argument_count, arguments);
  }
  if (mode == "sample") {
    return sample(argument_count, arguments);
  }
  std::fputs("usage: guest_memory check|watch|sample …\n", stderr);
  return 2;
}
