// SPDX-License-Identifier: Apache-2.0
//
// INTERFACE: tells the pages of guest memory in a VMM's migration stream from the rest of it, so
// that they can be put where they belong. A VMM adapter implements it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/wire/messages.h"

namespace godwit {

// Thread: one.
class PageExtractor {
 public:
  // What a stream consists of, in its order. Blocks are those that the extractor was made for.
  class Output {
   public:
    // What the VMM at the other end has to read.
    virtual Status pass_on(std::span<const std::byte> bytes) = 0;
    // A part of a page. It lies in its memory before anything is read that is passed on later.
    virtual Status place(uint32_t block, uint64_t offset_bytes,
                         std::span<const std::byte> content) = 0;
    // Whole pages that are zero.
    virtual Status clear(uint32_t block, uint64_t offset_bytes, uint64_t size_bytes) = 0;
    // Returns when all that was placed and cleared is as it has to be.
    virtual Status settle() = 0;
    // The guest has stopped, and everything that changed since was placed: returns when it is there
    // as it is here. To be called before anything is passed on that relies on it.
    // Errors: kCorrupt when pages do not arrive as they are.
    virtual Status complete() = 0;

   protected:
    ~Output() = default;
  };

  virtual ~PageExtractor() = default;
  PageExtractor(const PageExtractor&) = delete;
  PageExtractor& operator=(const PageExtractor&) = delete;

  // Ownership: what is placed lies in the piece; what is passed on may be gone after the call.
  // Errors: the output's; that the stream cannot go on.
  virtual Status take_apart(std::span<const std::byte> piece, Output& output) = 0;

  // The stream has ended.
  virtual Status finish(Output& output) = 0;

  // Why pages are passed on from somewhere on; empty as long as they are placed.
  virtual const std::string& note() const = 0;

 protected:
  PageExtractor() = default;
};

// Makes one for pages of these blocks, which are the destination's.
using MakePageExtractor =
    std::function<std::unique_ptr<PageExtractor>(const std::vector<BlockDescription>& blocks)>;

}  // namespace godwit
