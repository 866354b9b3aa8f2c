// SPDX-License-Identifier: Apache-2.0
//
// The boot-sector guest: what it is started with, and checking its memory from outside. The guest
// itself and the invariant of its memory: tests/e2e/guests/boot_sector.S.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/memory/guest_memory.h"
#include "tests/vmm-adapters/qemu/qemu_process.h"

namespace godwit::test {

struct BootGuest {
  uint32_t fill_end = 48U << 20;
  uint32_t dirty_end = 1U << 20;  // with nothing to dirty it idles on a timer
  uint32_t seed = 0x9e3779b9;

  void write_image(const std::string& path) const;

  // How many words of a stopped guest's memory are wrong. `low` is the block at guest address 0.
  uint64_t count_wrong_words(const GuestBlock& low) const;
};

// Grows while the guest runs.
uint32_t heartbeat(const GuestBlock& low);

// Waits until the guest's heartbeat is past `after`; false when it does not come.
bool wait_for_heartbeat(const GuestBlock& low, uint32_t after = 0);

// Copies all of one guest's memory into another's.
void copy_memory(const GuestMemory& from, const GuestMemory& to);

// How a test backs its guest.
enum class Backing : uint8_t {
  kFile = 1,
  kMemfd = 2,
  kPrivate = 3,
  kFileNotShared = 4,
  kFilePreallocated = 5,  // QEMU maps and allocates all of it at its start
};

// A guest's command line. The memory files lie in a folder on tmpfs that goes with this object.
class GuestArguments {
 public:
  GuestArguments(const BootGuest& guest, Backing backing, uint64_t size_mib = 64);

  // Each call has memory files of its own, so that source and destination can come from one object.
  std::vector<std::string> make(const std::vector<std::string>& more = {});
  std::vector<std::string> make_incoming() { return make({"-incoming", "defer"}); }

 private:
  TestFolder folder_{"/dev/shm"};
  Backing backing_;
  uint64_t size_mib_;
  int made_ = 0;
};

}  // namespace godwit::test
