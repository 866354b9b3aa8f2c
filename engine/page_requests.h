// SPDX-License-Identifier: Apache-2.0
//
// INTERFACE: pages that a VMM asks its source for, in post-copy by its own means: taken out of what
// it says, and put into what it is told, each exactly once. A VMM adapter implements it.
//
// A request that is taken out is not lost when it is never answered: the source sends every page
// that is missing in an order of its own, and what is put in before only comes sooner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "engine/wire/messages.h"

namespace godwit {

// What a VMM asks for at a time: one page of the block's page size.
struct RequestedPage {
  uint32_t block;  // of those that PageRequests was made for
  uint64_t offset_bytes;
  uint64_t size_bytes;  // at most kRequestedBytesMax
};
inline constexpr uint64_t kRequestedBytesMax = 2 * kMiB;

// Thread: take_requests() and end_of_requests() by one, everything else by one at a time.
class PageRequests {
 public:
  // What the VMM says.
  class Said {
   public:
    virtual Status pass_on(std::span<const std::byte> bytes) = 0;
    virtual void request(const RequestedPage& page) = 0;

   protected:
    ~Said() = default;
  };
  // What it is told.
  class Told {
   public:
    virtual Status pass_on(std::span<const std::byte> bytes) = 0;
    // Pages may be put in here.
    virtual Status at_border() = 0;

   protected:
    ~Told() = default;
  };

  virtual ~PageRequests() = default;
  PageRequests(const PageRequests&) = delete;
  PageRequests& operator=(const PageRequests&) = delete;

  // Ownership: what is passed on may be gone after the call. Errors: the output's; that the stream
  // cannot go on.
  virtual Status take_requests(std::span<const std::byte> piece, Said& output) = 0;
  virtual Status end_of_requests(Said& output) = 0;

  // The source's stream: leaves out what was put in before. Errors: as above.
  virtual Status take_apart(std::span<const std::byte> piece, Told& output) = 0;
  virtual Status finish(Told& output) = 0;

  // Whether it is at a border, of a stream that pages can be put into by now.
  virtual bool may_insert() const = 0;
  // Appends what to pass on here for this page; nothing if the VMM was told it before.
  // Requires: may_insert(); the page was requested, and `content` is all of it.
  virtual void insert(const RequestedPage& page, std::span<const std::byte> content,
                      std::vector<std::byte>& output) = 0;

 protected:
  PageRequests() = default;
};

// Makes one for pages of these blocks, which are the source's.
using MakePageRequests =
    std::function<std::unique_ptr<PageRequests>(const std::vector<BlockDescription>& blocks)>;

}  // namespace godwit
