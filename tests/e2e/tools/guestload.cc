// SPDX-License-Identifier: Apache-2.0
//
// guestload: the work that the Linux test guest does while it is moved, checking its own memory as
// it goes.
//
//   guestload memory MIB          rewrites pages in random order; each is verified before it is
//   rewritten guestload disk DEVICE MIB     O_DIRECT random reads at queue depth 64 into a pool of
//   MIB, whose buffers are
//                                 verified when they arrive and again, however old, before they are
//                                 reused
//   guestload image FILE MIB      (on the host) writes the disk image that `disk` expects
//
// Both loads print "OK <load> <checks> uptime <seconds>" every second, and "BAD …" for ever after
// the first wrong word. Linked statically and without exceptions or streams: it is a program of an
// initramfs with nothing else.

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace {

constexpr uint64_t kMib = 1U << 20;
constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kRequestBytes = 16384;
constexpr unsigned kQueueDepth = 64;

// A bijection of 64-bit numbers (splitmix64's), so that no two words of one image or memory are the
// same.
uint64_t mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

class Random {
 public:
  uint64_t below(uint64_t limit) { return mix(state_++) % limit; }

 private:
  uint64_t state_ = 1;
};

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(2);
}

double uptime_s() {
  struct timespec now = {};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

uint64_t* map_memory(uint64_t size_bytes) {
  void* memory = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) {
    die("guestload: map memory");
  }
  return static_cast<uint64_t*>(memory);
}

// Says how the load is doing, once a second and from the first wrong word on.
class Heartbeat {
 public:
  explicit Heartbeat(const char* load) : load_(load) {}

  void checked() { checks_++; }

  void wrong(uint64_t place, uint64_t expected, uint64_t found) {
    if (bad_++ == 0) {
      std::printf("BAD %s at %#" PRIx64 ": expected %#" PRIx64 ", found %#" PRIx64 "\n", load_,
                  place, expected, found);
    }
  }

  void beat() {
    const double now_s = uptime_s();
    if (now_s < next_s_) {
      return;
    }
    next_s_ = now_s + 1;
    std::printf("%s %s %" PRIu64 " uptime %.1f\n", bad_ == 0 ? "OK" : "BAD", load_, checks_, now_s);
    std::fflush(stdout);
  }

 private:
  const char* load_;
  uint64_t checks_ = 0;
  uint64_t bad_ = 0;
  double next_s_ = 0;
};

void fill_words(uint64_t* words, uint64_t word_count, uint64_t first) {
  for (uint64_t i = 0; i < word_count; i++) {
    words[i] = mix(first + i);
  }
}

void check_words(const uint64_t* words, uint64_t word_count, uint64_t first, Heartbeat& heartbeat) {
  for (uint64_t i = 0; i < word_count; i++) {
    if (words[i] != mix(first + i)) {
      heartbeat.wrong(first + i, mix(first + i), words[i]);
      return;
    }
  }
  heartbeat.checked();
}

// A page's words depend on its index and its generation, so that an older version of it is wrong as
// well.
int load_memory(uint64_t size_bytes) {
  constexpr uint64_t kWords = kPageBytes / sizeof(uint64_t);
  const uint64_t page_count = size_bytes / kPageBytes;
  uint64_t* memory = map_memory(size_bytes);
  std::vector<uint32_t> generations(page_count, 0);
  Heartbeat heartbeat("memory");
  Random random;
  const auto first_word = [&](uint64_t page) {
    return (uint64_t{generations[page]} << 40) + page * kWords;
  };

  for (uint64_t page = 0; page < page_count; page++) {
    fill_words(memory + page * kWords, kWords, first_word(page));
  }
  while (true) {
    const uint64_t page = random.below(page_count);
    check_words(memory + page * kWords, kWords, first_word(page), heartbeat);
    generations[page]++;
    fill_words(memory + page * kWords, kWords, first_word(page));
    heartbeat.beat();
  }
}

// The pool of read buffers. All but those being read hold what lies at disk_requests_[i] on the
// disk.
class DiskLoad {
 public:
  DiskLoad(int device, uint64_t device_bytes, uint64_t pool_bytes)
      : device_(device),
        device_requests_(device_bytes / kRequestBytes),
        buffer_count_(pool_bytes / kRequestBytes),
        pool_(map_memory(pool_bytes)),
        disk_requests_(buffer_count_, kNeverRead) {
    if (syscall(SYS_io_setup, kQueueDepth, &context_) != 0) {
      die("guestload: io_setup");
    }
  }

  [[noreturn]] void run() {
    for (unsigned i = 0; i < kQueueDepth; i++) {
      submit(i);
    }
    while (true) {
      struct io_event events[kQueueDepth];
      const long count = syscall(SYS_io_getevents, context_, 1, kQueueDepth, events, nullptr);
      if (count < 0) {
        die("guestload: io_getevents");
      }
      for (long i = 0; i < count; i++) {
        complete(events[i]);
      }
      heartbeat_.beat();
    }
  }

 private:
  static constexpr uint64_t kNeverRead = ~uint64_t{0};
  static constexpr uint64_t kWords = kRequestBytes / sizeof(uint64_t);

  uint64_t* buffer(uint64_t index) { return pool_ + index * kWords; }

  void check(uint64_t index) {
    check_words(buffer(index), kWords, disk_requests_[index] * kWords, heartbeat_);
  }

  void submit(unsigned slot) {
    uint64_t index = next_buffer_;
    next_buffer_ = (next_buffer_ + 1) % buffer_count_;
    if (disk_requests_[index] != kNeverRead) {
      check(index);
    }
    disk_requests_[index] = random_.below(device_requests_);
    struct iocb request = {};
    request.aio_data = (index << 16) | slot;
    request.aio_lio_opcode = IOCB_CMD_PREAD;
    request.aio_fildes = static_cast<uint32_t>(device_);
    request.aio_buf = reinterpret_cast<uint64_t>(buffer(index));
    request.aio_nbytes = kRequestBytes;
    request.aio_offset = static_cast<int64_t>(disk_requests_[index] * kRequestBytes);
    struct iocb* requests[] = {&request};
    if (syscall(SYS_io_submit, context_, 1, requests) != 1) {
      die("guestload: io_submit");
    }
  }

  void complete(const struct io_event& event) {
    if (event.res != static_cast<int64_t>(kRequestBytes)) {
      std::printf("BAD disk read: %" PRId64 "\n", static_cast<int64_t>(event.res));
      std::exit(2);
    }
    check(event.data >> 16);
    submit(static_cast<unsigned>(event.data & 0xffff));
  }

  int device_;
  uint64_t device_requests_;
  uint64_t buffer_count_;
  uint64_t* pool_;
  std::vector<uint64_t> disk_requests_;
  uint64_t next_buffer_ = 0;
  aio_context_t context_ = 0;
  Heartbeat heartbeat_{"disk"};
  Random random_;
};

int load_disk(const char* path, uint64_t pool_bytes) {
  const int device = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
  const off_t device_bytes = device < 0 ? -1 : lseek(device, 0, SEEK_END);
  if (device_bytes <= 0) {
    die("guestload: open disk");
  }
  DiskLoad(device, static_cast<uint64_t>(device_bytes), pool_bytes).run();
}

int write_image(const char* path, uint64_t size_bytes) {
  FILE* file = std::fopen(path, "wb");
  if (file == nullptr) {
    die("guestload: create image");
  }
  std::vector<uint64_t> words(kMib / sizeof(uint64_t));
  for (uint64_t offset = 0; offset < size_bytes; offset += kMib) {
    fill_words(words.data(), words.size(), offset / sizeof(uint64_t));
    if (std::fwrite(words.data(), sizeof(uint64_t), words.size(), file) != words.size()) {
      die("guestload: write image");
    }
  }
  if (std::fflush(file) != 0 || fsync(fileno(file)) != 0 || std::fclose(file) != 0) {
    die("guestload: write image");
  }
  return 0;
}

}  // namespace

int main(int argument_count, char** arguments) {
  const std::string mode = argument_count > 1 ? arguments[1] : "";
  if (mode == "memory" && argument_count == 3) {
    return load_memory(std::strtoull(arguments[2], nullptr, 10) * kMib);
  }
  if (mode == "disk" && argument_count == 4) {
    return load_disk(arguments[2], std::strtoull(arguments[3], nullptr, 10) * kMib);
  }
  if (mode == "image" && argument_count == 4) {
    return write_image(arguments[2], std::strtoull(arguments[3], nullptr, 10) * kMib);
  }
  std::fputs("usage: guestload memory MIB | disk DEVICE MIB | image FILE MIB\n", stderr);
  return 2;
}
