// SPDX-License-Identifier: Apache-2.0
#include "transports/control/psk_file.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "engine/base/unique_fd.h"

namespace godwit {
namespace {

constexpr size_t kKeyBytes = 32;     // of a new key
constexpr size_t kKeyBytesMin = 16;  // of a key that somebody else made
constexpr size_t kKeyBytesMax = 64;
constexpr size_t kIdentityBytesMax = 128;
constexpr size_t kFileBytesMax = 4096;

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The first line that is neither empty nor a comment.
std::string_view first_line(std::string_view text) {
  while (!text.empty()) {
    size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    if (!line.empty() && line.front() != '#') return line;
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return {};
}

Result<PreSharedKey> parse_key(std::string_view text, const std::string& path) {
  std::string_view line = first_line(text);
  size_t colon = line.rfind(':');
  PreSharedKey result;
  result.identity = colon == std::string_view::npos ? "godwit" : std::string(line.substr(0, colon));
  std::string_view digits = colon == std::string_view::npos ? line : line.substr(colon + 1);
  bool size_fits = digits.size() % 2 == 0 && digits.size() >= 2 * kKeyBytesMin &&
                   digits.size() <= 2 * kKeyBytesMax;
  bool valid = size_fits && !result.identity.empty() && result.identity.size() <= kIdentityBytesMax;
  for (size_t i = 0; valid && i < digits.size(); i += 2) {
    int high = hex_value(digits[i]);
    int low = hex_value(digits[i + 1]);
    valid = high >= 0 && low >= 0;
    result.key.push_back(static_cast<unsigned char>(high * 16 + low));
  }
  if (valid) return result;
  return fail(Errc::kRefused,
              "{} holds no key: it must be one line of {} to {} hex digits, as `godwit keygen` "
              "writes it, or identity:digits",
              path, 2 * kKeyBytesMin, 2 * kKeyBytesMax);
}

Status write_line(const UniqueFd& file, const std::string& line, const std::string& path) {
  ssize_t written = ::write(file.get(), line.data(), line.size());
  if (written != static_cast<ssize_t>(line.size())) return fail_errno(errno, "write {}", path);
  if (::fsync(file.get()) != 0) return fail_errno(errno, "save {}", path);
  return {};
}

}  // namespace

Result<PreSharedKey> read_pre_shared_key(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.valid() && errno == ENOENT) {
    return fail(Errc::kRefused,
                "the key file {} does not exist: make one with `godwit keygen {}` and "
                "copy it to the other host",
                path, path);
  }
  if (!file.valid()) return fail_errno(errno, "open the key file {}", path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return fail_errno(errno, "look at {}", path);
  if (!S_ISREG(status.st_mode)) return fail(Errc::kRefused, "{} is not a file", path);
  if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return fail(Errc::kRefused, "the key file {} is open to others than its owner: chmod 600 {}",
                path, path);
  }
  std::array<char, kFileBytesMax> text{};
  ssize_t size = ::read(file.get(), text.data(), text.size());
  if (size < 0) return fail_errno(errno, "read the key file {}", path);
  Result<PreSharedKey> key = parse_key({text.data(), static_cast<size_t>(size)}, path);
  OPENSSL_cleanse(text.data(), text.size());
  return key;
}

Status write_new_pre_shared_key(const std::string& path) {
  std::array<unsigned char, kKeyBytes> key{};
  if (::getrandom(key.data(), key.size(), 0) != static_cast<ssize_t>(key.size())) {
    return fail_errno(errno, "get {} random bytes", key.size());
  }
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.valid() && errno == EEXIST) {
    return fail(Errc::kRefused, "{} exists already: a key is never written over", path);
  }
  if (!file.valid()) return fail_errno(errno, "make the key file {}", path);

  std::string line;
  for (unsigned char byte : key) line += fmt::format("{:02x}", byte);
  line += '\n';
  Status written = write_line(file, line, path);
  OPENSSL_cleanse(key.data(), key.size());
  OPENSSL_cleanse(line.data(), line.size());
  if (!written) ::unlink(path.c_str());  // half a key is worse than none
  return written;
}

}  // namespace godwit
