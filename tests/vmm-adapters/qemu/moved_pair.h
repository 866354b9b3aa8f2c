// SPDX-License-Identifier: Apache-2.0
//
// A boot-sector guest that runs under one QEMU and another QEMU of the same version that waits for
// it, each held by its adapter.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/vmm-adapters/qemu/boot_guest.h"
#include "vmm-adapters/qemu/qemu_destination_guest.h"
#include "vmm-adapters/qemu/qemu_source_guest.h"

namespace godwit::test {

class MovedPair {
 public:
  struct Options {
    Backing backing = Backing::kFile;
    uint64_t size_mib = 64;
    std::vector<std::string> destination_arguments = {};
    Clock::duration destination_timeout = seconds(10);  // for a QMP command
  };
  MovedPair(const std::string& version, const BootGuest& boot)
      : MovedPair(version, boot, Options{}) {}
  MovedPair(const std::string& version, const BootGuest& boot, const Options& options)
      : arguments_(boot, options.backing, options.size_mib),
        source_qemu_(version, arguments_.make()),
        destination_qemu_(version, destination_arguments(options)) {
    auto source = QemuSourceGuest::open(source_qemu_.options());
    EXPECT_TRUE(source) << to_string(source.error());
    source_ = std::move(*source);
    QemuOptions destination_options = destination_qemu_.options();
    destination_options.command_timeout = options.destination_timeout;
    auto destination = QemuDestinationGuest::open(destination_options);
    EXPECT_TRUE(destination) << to_string(destination.error());
    destination_ = std::move(*destination);
    EXPECT_TRUE(wait_for_heartbeat(source_->memory()[0]));
  }

  QemuProcess& source_qemu() { return source_qemu_; }
  QemuProcess& destination_qemu() { return destination_qemu_; }
  QemuSourceGuest& source() { return *source_; }
  QemuDestinationGuest& destination() { return *destination_; }

  // Lets go of the destination.
  void close_destination() { destination_.reset(); }

  // Pauses the guest for good. Returns its device state.
  std::vector<std::byte> pause_and_save() {
    Status paused = source_->pause();
    EXPECT_TRUE(paused) << to_string(paused.error());
    std::vector<std::byte> state;
    Status saved = source_->save_state([&](std::span<const std::byte> piece) -> Status {
      state.insert(state.end(), piece.begin(), piece.end());
      return {};
    });
    EXPECT_TRUE(saved) << to_string(saved.error());
    return state;
  }

 private:
  std::vector<std::string> destination_arguments(const Options& options) {
    std::vector<std::string> arguments = arguments_.make_incoming();
    arguments.insert(arguments.end(), options.destination_arguments.begin(),
                     options.destination_arguments.end());
    return arguments;
  }

  GuestArguments arguments_;
  QemuProcess source_qemu_;
  QemuProcess destination_qemu_;
  std::unique_ptr<QemuSourceGuest> source_;
  std::unique_ptr<QemuDestinationGuest> destination_;
};

}  // namespace godwit::test
