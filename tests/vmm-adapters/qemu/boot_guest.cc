// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm-adapters/qemu/boot_guest.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>

#include "engine/base/units.h"

namespace godwit::test {
namespace {

constexpr size_t kParametersOffset = 494;
constexpr uint64_t kHeartbeatOffset = 0x9000;
constexpr auto kPatience = seconds(30);

uint32_t word_at(const GuestBlock& block, uint64_t offset) {
  // SAFETY: volatile, the guest may be writing it; aligned by the caller.
  return *reinterpret_cast<const volatile uint32_t*>(&block.memory[offset]);
}

}  // namespace

void BootGuest::write_image(const std::string& path) const {
  std::ifstream source(GODWIT_BOOT_SECTOR, std::ios::binary);
  std::string sector((std::istreambuf_iterator<char>(source)), {});
  ASSERT_EQ(sector.size(), 512U);
  const uint32_t parameters[] = {fill_end, dirty_end, 20, seed};
  std::memcpy(&sector[kParametersOffset], parameters, sizeof(parameters));
  std::ofstream(path, std::ios::binary) << sector;
}

uint64_t BootGuest::count_wrong_words(const GuestBlock& low) const {
  uint64_t wrong = 0;
  uint32_t first_count = 0;
  uint32_t last_count = 0;
  for (uint64_t offset = kMiB; offset < fill_end; offset += sizeof(uint32_t)) {
    uint32_t value = word_at(low, offset) - (seed + static_cast<uint32_t>(offset));
    bool counter = offset < dirty_end && offset % kBasePageBytes == 0;
    if (!counter) {
      wrong += value != 0;
      continue;
    }
    // Counters stay or step down by one, once, along memory.
    if (offset == kMiB) first_count = last_count = value;
    bool stays = value == last_count;
    bool steps = last_count == first_count && value + 1 == first_count;
    wrong += !stays && !steps;
    last_count = value;
  }
  return wrong;
}

uint32_t heartbeat(const GuestBlock& low) {
  return word_at(low, kHeartbeatOffset);
}

bool wait_for_heartbeat(const GuestBlock& low, uint32_t after) {
  const Deadline deadline = deadline_in(kPatience);
  // Firmware uses this memory before the guest does: the guest is there when its memory is filled.
  while (heartbeat(low) <= after || word_at(low, kMiB + 4) == 0) {
    if (Clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

void copy_memory(const GuestMemory& from, const GuestMemory& to) {
  ASSERT_EQ(from.size(), to.size());
  for (size_t i = 0; i < from.size(); i++) {
    ASSERT_EQ(from[i].name, to[i].name);
    ASSERT_EQ(from[i].size_bytes(), to[i].size_bytes());
    std::memcpy(to[i].memory.data(), from[i].memory.data(), from[i].size_bytes());
  }
}

GuestArguments::GuestArguments(const BootGuest& guest, Backing backing, uint64_t size_mib)
    : backing_(backing), size_mib_(size_mib) {
  guest.write_image(folder_.path("boot"));
}

std::vector<std::string> GuestArguments::make(const std::vector<std::string>& more) {
  std::string size = std::to_string(size_mib_) + "M";
  std::string file = folder_.path("ram" + std::to_string(made_++));
  std::string backend;
  switch (backing_) {
    case Backing::kFile:
      backend = "memory-backend-file,share=on,mem-path=" + file;
      break;
    case Backing::kMemfd:
      backend = "memory-backend-memfd,share=on";
      break;
    case Backing::kPrivate:
      backend = "memory-backend-ram";
      break;
    case Backing::kFilePreallocated:
      backend = "memory-backend-file,share=on,prealloc=on,mem-path=" + file;
      break;
    case Backing::kFileNotShared:
      backend = "memory-backend-file,share=off,mem-path=" + file;
      break;
  }
  // One machine type that both versions have.
  std::vector<std::string> arguments = {
      "-machine", "pc-i440fx-7.2,memory-backend=ram0",
      "-m",       size,
      "-object",  backend + ",id=ram0,size=" + size,
      "-drive",   "if=floppy,format=raw,read-only=on,file=" + folder_.path("boot"),
  };
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

}  // namespace godwit::test
