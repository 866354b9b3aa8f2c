// SPDX-License-Identifier: Apache-2.0
//
// What a missing page costs at least: a thread touches pages of shared memory that a userfaultfd
// watches (MINOR), in no order, and another serves each touch by copying 4 KiB into a second
// mapping and UFFDIO_CONTINUE. No network, no VMM. Prints one line of JSON: how long the touches
// took when the server polled and when it slept in poll(), and the frequency of the time-stamp
// counter, by which guests measure.
//
// usage: fault_floor [PAGES]
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kPageSize = 4096;
// As far apart as the touches of a guest that does something between them.
constexpr auto kBetweenTouches = std::chrono::microseconds(20);

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "fault_floor: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

std::byte* map(int fd, size_t size) {
  void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (address == MAP_FAILED) die("mmap");
  return static_cast<std::byte*>(address);
}

enum class Wait { kPolling, kSleeping };

struct Memory {
  std::byte* watched;
  std::byte* alias;
  std::byte* source;
  size_t pages;
};

int watch(const Memory& memory) {
  const int fd =
      static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY));
  if (fd < 0) die("userfaultfd");
  uffdio_api api{.api = UFFD_API, .features = UFFD_FEATURE_MINOR_SHMEM};
  if (ioctl(fd, UFFDIO_API, &api) != 0) die("UFFDIO_API");
  uffdio_register range{
      .range = {reinterpret_cast<uintptr_t>(memory.watched), memory.pages * kPageSize},
      .mode = UFFDIO_REGISTER_MODE_MINOR};
  if (ioctl(fd, UFFDIO_REGISTER, &range) != 0) die("UFFDIO_REGISTER");
  return fd;
}

void serve(int fd, const Memory& memory, Wait wait, const std::atomic<bool>& end) {
  while (!end.load(std::memory_order_relaxed)) {
    if (wait == Wait::kSleeping) {
      pollfd event{.fd = fd, .events = POLLIN, .revents = 0};
      (void)poll(&event, 1, 10);
    }
    uffd_msg message;
    if (read(fd, &message, sizeof message) != sizeof message) continue;
    const uintptr_t address = message.arg.pagefault.address & ~(kPageSize - 1);
    const size_t offset = address - reinterpret_cast<uintptr_t>(memory.watched);
    std::memcpy(memory.alias + offset, memory.source + offset, kPageSize);
    uffdio_continue request{.range = {address, kPageSize}};
    if (ioctl(fd, UFFDIO_CONTINUE, &request) != 0) die("UFFDIO_CONTINUE");
  }
}

std::vector<double> measure(const Memory& memory, Wait wait) {
  const int fd = watch(memory);
  std::atomic<bool> end{false};
  std::thread server([&] { serve(fd, memory, wait, end); });
  std::vector<double> latencies_us;
  latencies_us.reserve(memory.pages);
  size_t page = 0;
  for (size_t i = 0; i < memory.pages; ++i) {
    page = (page * 1664525 + 1013904223) & (memory.pages - 1);
    const Clock::time_point start = Clock::now();
    (void)*static_cast<volatile std::byte*>(memory.watched + page * kPageSize);
    const Clock::time_point now = Clock::now();
    latencies_us.push_back(std::chrono::duration<double, std::micro>(now - start).count());
    while (Clock::now() - now < kBetweenTouches) _mm_pause();
  }
  end = true;
  server.join();
  close(fd);
  if (madvise(memory.watched, memory.pages * kPageSize, MADV_DONTNEED) != 0) die("MADV_DONTNEED");
  std::sort(latencies_us.begin(), latencies_us.end());
  return latencies_us;
}

void print(const char* name, const std::vector<double>& sorted) {
  const auto at = [&](double part) {
    return sorted[static_cast<size_t>(part * static_cast<double>(sorted.size() - 1))];
  };
  std::printf("\"%s\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f}, ", name, at(0.5), at(0.9),
              at(0.99));
}

double ticks_per_second() {
  const Clock::time_point start = Clock::now();
  const uint64_t first = __rdtsc();
  while (Clock::now() - start < std::chrono::milliseconds(100)) _mm_pause();
  const uint64_t last = __rdtsc();
  return static_cast<double>(last - first) /
         std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

int main(int argument_count, char** arguments) {
  // A power of two, which the order of the touches needs.
  size_t pages = 4096;
  if (argument_count > 1) pages = std::strtoull(arguments[1], nullptr, 0);
  if (pages == 0 || (pages & (pages - 1)) != 0) {
    std::fputs("usage: fault_floor [PAGES], a power of two\n", stderr);
    return 2;
  }
  const size_t size = pages * kPageSize;
  const int fd = memfd_create("fault_floor", MFD_CLOEXEC);
  const int source_fd = memfd_create("fault_floor_source", MFD_CLOEXEC);
  if (fd < 0 || source_fd < 0 || ftruncate(fd, static_cast<off_t>(size)) != 0 ||
      ftruncate(source_fd, static_cast<off_t>(size)) != 0) {
    die("make memory");
  }
  const Memory memory{map(fd, size), map(fd, size), map(source_fd, size), pages};
  std::memset(memory.alias, 1, size);
  std::memset(memory.source, 2, size);
  std::printf("{");
  print("polling_us", measure(memory, Wait::kPolling));
  print("sleeping_us", measure(memory, Wait::kSleeping));
  std::printf("\"ticks_per_s\": %.0f}\n", ticks_per_second());
  return 0;
}
