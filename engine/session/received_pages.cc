// SPDX-License-Identifier: Apache-2.0
//
// The header is a function of the guest's memory alone. So making the file is writing the header
// that belongs to this memory, and checking it is comparing, field by field for a clear message.
#include "engine/session/received_pages.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>

#include "engine/base/units.h"

namespace godwit {
namespace {

constexpr char kFile[] = "received";
constexpr char kFileInMaking[] = "received.new";
constexpr std::array<char, 16> kMagic = {'g', 'o', 'd', 'w', 'i', 't', ' ', 'r',
                                         'e', 'c', 'e', 'i', 'v', 'e', 'd', '\n'};
constexpr uint32_t kVersion = 1;
constexpr size_t kNameBytes = 256;  // as long as a block's name is on the wire, at most

struct Header {
  std::array<char, 16> magic;
  uint32_t version;
  uint32_t block_count;
  uint64_t file_bytes;
};
static_assert(sizeof(Header) == 32);

struct BlockEntry {
  std::array<char, kNameBytes> name;  // padded with zeroes
  uint64_t page_size_bytes;
  uint64_t page_count;
  uint64_t words_offset_bytes;
};
static_assert(sizeof(BlockEntry) == kNameBytes + 24);

// SAFETY: the words of a mapped file are used as atomics, here and in a later process. They are
// aligned (blocks start at pages), and a lock-free atomic has no state but its value.
static_assert(std::atomic<uint64_t>::is_always_lock_free);
static_assert(sizeof(std::atomic<uint64_t>) == sizeof(uint64_t));

struct Layout {
  Header header;
  std::vector<BlockEntry> blocks;

  size_t entries_bytes() const { return blocks.size() * sizeof(BlockEntry); }
};

uint64_t words_bytes(const BlockEntry& entry) {
  return postcopy::received_words(entry.page_count) * sizeof(uint64_t);
}

std::string_view name_of(const BlockEntry& entry) {
  return {entry.name.data(), ::strnlen(entry.name.data(), entry.name.size())};
}

Result<Layout> layout_of(const GuestMemory& memory) {
  Layout layout{{kMagic, kVersion, static_cast<uint32_t>(memory.size()), 0}, {}};
  uint64_t offset = round_up(sizeof(Header) + memory.size() * sizeof(BlockEntry), kBasePageBytes);
  for (const GuestBlock& block : memory) {
    if (block.name.size() > kNameBytes) {
      return fail(Errc::kRefused, "RAM block '{}': the name is longer than {} bytes", block.name,
                  kNameBytes);
    }
    BlockEntry entry{{}, block.page_size_bytes, block.page_count(), offset};
    std::copy(block.name.begin(), block.name.end(), entry.name.begin());
    offset += round_up(words_bytes(entry), kBasePageBytes);
    layout.blocks.push_back(entry);
  }
  layout.header.file_bytes = offset;
  return layout;
}

// A record lock is this process's alone: a child that is forked has no part in it, and it goes with
// the process, however that ends.
Status lock(const UniqueFd& file) {
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (::fcntl(file.get(), F_SETLK, &whole) == 0) return {};
  if (errno != EACCES && errno != EAGAIN)
    return fail_errno(errno, "lock the file of received pages");
  struct flock holder = whole;
  pid_t pid = ::fcntl(file.get(), F_GETLK, &holder) == 0 ? holder.l_pid : 0;
  return fail(Errc::kRefused, "process {} still receives this session's pages", pid);
}

Result<std::span<std::byte>> map(const UniqueFd& file, uint64_t size_bytes) {
  // Populated, so that not even the first mark in a page waits for the kernel.
  void* start =
      ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file.get(), 0);
  if (start == MAP_FAILED) return fail_errno(errno, "map the file of received pages");
  return std::span<std::byte>(static_cast<std::byte*>(start), size_bytes);
}

// Makes the file's content under a name that nobody looks for.
Result<std::span<std::byte>> fill(const UniqueFd& file, const Layout& layout) {
  RETURN_IF_ERROR(lock(file));
  // A hole in a mapped file is a SIGBUS to come, when space has run out by then.
  const auto size = static_cast<off_t>(layout.header.file_bytes);
  if (int error = ::posix_fallocate(file.get(), 0, size); error != 0) {
    return fail_errno(error, "allocate {} KiB for the bits of received pages", size / 1024);
  }
  ASSIGN_OR_RETURN(std::span<std::byte> bytes, map(file, layout.header.file_bytes));
  std::memcpy(bytes.data(), &layout.header, sizeof layout.header);
  std::memcpy(bytes.data() + sizeof layout.header, layout.blocks.data(), layout.entries_bytes());
  return bytes;
}

Status check_header(const Layout& wanted, const Header& found, uint64_t file_bytes) {
  if (found.magic != kMagic) {
    return fail(Errc::kCorrupt, "'{}' in the session's folder is no file of received pages", kFile);
  }
  if (found.version != kVersion) {
    return fail(Errc::kCorrupt, "received pages: the file is of version {}, this program's is {}",
                found.version, kVersion);
  }
  if (found.block_count != wanted.header.block_count) {
    return fail(Errc::kCorrupt, "received pages: the file is about {} RAM blocks, the guest has {}",
                found.block_count, wanted.header.block_count);
  }
  if (found.file_bytes != file_bytes) {
    return fail(Errc::kCorrupt, "received pages: the file has {} bytes instead of {}", file_bytes,
                found.file_bytes);
  }
  return {};
}

Status check_block(const BlockEntry& wanted, const BlockEntry& found) {
  if (found.name != wanted.name) {
    return fail(Errc::kCorrupt,
                "received pages: the file has RAM block '{}' where the guest has '{}'",
                name_of(found), name_of(wanted));
  }
  if (found.page_size_bytes != wanted.page_size_bytes || found.page_count != wanted.page_count) {
    return fail(Errc::kCorrupt,
                "received pages: RAM block '{}' has {} pages of {} bytes in the file, but {} of {} "
                "bytes in the guest",
                name_of(wanted), found.page_count, found.page_size_bytes, wanted.page_count,
                wanted.page_size_bytes);
  }
  if (found.words_offset_bytes != wanted.words_offset_bytes) {
    return fail(Errc::kCorrupt, "received pages: the bits of RAM block '{}' are out of place",
                name_of(wanted));
  }
  return {};
}

Status read_exactly(const UniqueFd& file, void* into, size_t bytes, uint64_t offset) {
  ssize_t size = ::pread(file.get(), into, bytes, static_cast<off_t>(offset));
  if (size < 0) return fail_errno(errno, "read the file of received pages");
  if (static_cast<size_t>(size) != bytes) {
    return fail(Errc::kCorrupt, "received pages: the file is cut short");
  }
  return {};
}

Status check_file(const UniqueFd& file, const Layout& wanted) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    return fail_errno(errno, "look at the file of received pages");
  }
  Header header{};
  RETURN_IF_ERROR(read_exactly(file, &header, sizeof header, 0));
  RETURN_IF_ERROR(check_header(wanted, header, static_cast<uint64_t>(status.st_size)));
  std::vector<BlockEntry> blocks(wanted.blocks.size());
  RETURN_IF_ERROR(read_exactly(file, blocks.data(), wanted.entries_bytes(), sizeof header));
  for (size_t i = 0; i < blocks.size(); ++i) {
    RETURN_IF_ERROR(check_block(wanted.blocks[i], blocks[i]));
  }
  // All blocks are the same and the file is as long as it says: it says what we would.
  if (header.file_bytes != wanted.header.file_bytes) {
    return fail(Errc::kCorrupt, "received pages: the file has {} bytes instead of {}",
                header.file_bytes, wanted.header.file_bytes);
  }
  return {};
}

std::vector<postcopy::ReceivedWords> words_in(std::span<std::byte> bytes, const Layout& layout) {
  std::vector<postcopy::ReceivedWords> words;
  for (const BlockEntry& entry : layout.blocks) {
    // SAFETY: see the asserts above; layout_of() has the file end behind the last block's words.
    auto* first = reinterpret_cast<std::atomic<uint64_t>*>(bytes.data() + entry.words_offset_bytes);
    words.emplace_back(first, postcopy::received_words(entry.page_count));
  }
  return words;
}

// Never in place of another: that may be all that is known of a running guest's memory.
Status put_in_place(int folder_fd) {
  if (::renameat2(folder_fd, kFileInMaking, folder_fd, kFile, RENAME_NOREPLACE) == 0) return {};
  if (errno == EEXIST) {
    return fail(Errc::kRefused, "this session has received pages already: resume it");
  }
  return fail_errno(errno, "put the file of received pages in place");
}

}  // namespace

Result<std::unique_ptr<ReceivedPages>> ReceivedPages::create(int folder_fd,
                                                             const GuestMemory& memory) {
  ASSIGN_OR_RETURN(Layout layout, layout_of(memory));
  // What an agent left that died while it made one.
  ::unlinkat(folder_fd, kFileInMaking, 0);
  UniqueFd file(
      ::openat(folder_fd, kFileInMaking, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.valid()) return fail_errno(errno, "make the file of received pages");

  Result<std::span<std::byte>> bytes = fill(file, layout);
  Status placed = bytes ? put_in_place(folder_fd) : tl::unexpected<Error>(bytes.error());
  if (!placed) ::unlinkat(folder_fd, kFileInMaking, 0);
  if (!placed && bytes) ::munmap(bytes->data(), bytes->size());
  RETURN_IF_ERROR(placed);
  return std::unique_ptr<ReceivedPages>(
      new ReceivedPages(std::move(file), *bytes, words_in(*bytes, layout)));
}

Result<std::unique_ptr<ReceivedPages>> ReceivedPages::open(int folder_fd,
                                                           const GuestMemory& memory) {
  ASSIGN_OR_RETURN(Layout layout, layout_of(memory));
  UniqueFd file(::openat(folder_fd, kFile, O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  if (!file.valid() && errno == ENOENT) {
    return fail(Errc::kRefused, "this session has received no pages in post-copy");
  }
  if (!file.valid()) return fail_errno(errno, "open the file of received pages");
  RETURN_IF_ERROR(lock(file));
  RETURN_IF_ERROR(check_file(file, layout));
  ASSIGN_OR_RETURN(std::span<std::byte> bytes, map(file, layout.header.file_bytes));
  return std::unique_ptr<ReceivedPages>(
      new ReceivedPages(std::move(file), bytes, words_in(bytes, layout)));
}

ReceivedPages::ReceivedPages(UniqueFd file, std::span<std::byte> bytes,
                             std::vector<postcopy::ReceivedWords> words)
    : file_(std::move(file)), bytes_(bytes), words_(std::move(words)) {}

void ReceivedPages::remove(int folder_fd) {
  ::unlinkat(folder_fd, kFile, 0);
}

ReceivedPages::~ReceivedPages() {
  ::munmap(bytes_.data(), bytes_.size());
}

}  // namespace godwit
