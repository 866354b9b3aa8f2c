// SPDX-License-Identifier: Apache-2.0
//
// Where the channels of a multifd migration that ends here wait for each other and for the main
// channel, as they would at a destination QEMU. A sync is one packet on every channel, and one
// point of the main channel: of a page that comes twice, once before and once after it, on whatever
// channel, the second must come out last.
//
// And where the main channel gets pages that cannot be placed: it has them before it goes past the
// sync that follows them.
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/units.h"

namespace godwit::qemu {

// Thread: any.
class MultifdMeeting {
 public:
  struct Page {
    std::string block;
    uint64_t offset_bytes;
    std::array<std::byte, kBasePageBytes> content;
  };

  // So many channels take part, and the main channel. As long as nobody said so, there are none.
  // Requires: nobody waits yet.
  void expect(size_t channels) { parties_ = channels + 1; }
  bool is_expected() const { return parties_ > 0; }

  // Returns true when all have come to this point; false when it will never be.
  bool wait();

  // One of them has ended: nobody waits any more, now and later.
  void end();

  // Errors: kGuest when there are too many.
  Status keep(const std::string& block, uint64_t offset_bytes, std::span<const std::byte> content);
  // What was kept, in its order.
  std::vector<Page> take();

 private:
  size_t parties_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t arrived_ = 0;
  uint64_t meetings_ = 0;
  bool ended_ = false;
  std::vector<Page> pages_;
};

}  // namespace godwit::qemu
