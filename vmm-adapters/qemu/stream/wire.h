// SPDX-License-Identifier: Apache-2.0
//
// The numbers of QEMU's migration stream, 7.2 to 10.x: migration/savevm.h, ram.c, savevm.c,
// migration.c and multifd.h there. All integers in the stream are big-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace godwit::qemu::stream {

using Bytes = std::span<const std::byte>;

inline constexpr uint32_t kFileMagic = 0x5145564d;  // "QEVM"
inline constexpr uint32_t kFileVersion = 3;

// The byte that an item outside sections begins with.
enum class ItemType : uint8_t {
  kEndOfStream = 0x00,
  kSectionStart = 0x01,
  kSectionPart = 0x02,
  kSectionEnd = 0x03,
  kSectionFull = 0x04,
  kSubsection = 0x05,
  kVmDescription = 0x06,
  kConfiguration = 0x07,
  kCommand = 0x08,
  kFooter = 0x7e,
};

// Flags of a RAM record: in the bits of its first word that an offset of whole pages leaves free.
inline constexpr uint64_t kFlagZero = 0x002;
inline constexpr uint64_t kFlagMemorySize = 0x004;
inline constexpr uint64_t kFlagPage = 0x008;
inline constexpr uint64_t kFlagEndOfSection = 0x010;
inline constexpr uint64_t kFlagContinue = 0x020;
inline constexpr uint64_t kFlagXbzrle = 0x040;
inline constexpr uint64_t kFlagHook = 0x080;
inline constexpr uint64_t kFlagCompressed = 0x100;    // until 9.0
inline constexpr uint64_t kFlagMultifdFlush = 0x200;  // from 8.1

inline constexpr uint32_t kRamSectionVersion = 4;
inline constexpr uint32_t kBitmapSectionVersion = 1;

// Flags of a chunk in a section "dirty-bitmap" (migration/block-dirty-bitmap.c).
inline constexpr uint8_t kBitmapEndOfSection = 0x01;
inline constexpr uint8_t kBitmapZeroes = 0x02;
inline constexpr uint8_t kBitmapHasName = 0x04;
inline constexpr uint8_t kBitmapHasDevice = 0x08;
inline constexpr uint8_t kBitmapStart = 0x10;
inline constexpr uint8_t kBitmapComplete = 0x20;
inline constexpr uint8_t kBitmapBits = 0x40;

inline constexpr uint8_t kXbzrleEncoding = 0x01;

enum class CommandId : uint16_t {
  kOpenReturnPath = 1,
  kPing = 2,
  kPostCopyAdvise = 3,
  kPostCopyListen = 4,
  kPostCopyRun = 5,
  kPostCopyDiscard = 6,
  kPackaged = 7,
  kEnableColo = 8,
  kPostCopyResume = 9,
  kReceivedBitmap = 10,
  kSwitchoverStart = 11,
};

// Messages of the return path, from the destination to the source.
enum class ReturnMessageType : uint16_t {
  kShut = 1,
  kPong = 2,
  kRequestPagesOfBlock = 3,
  kRequestPages = 4,
  kReceivedBitmap = 5,
  kResumeAck = 6,
  kSwitchoverAck = 7,
};
inline constexpr uint16_t kReturnBodyBytesMax = 512;
inline constexpr uint64_t kBitmapEndMark = 0x0123456789abcdef;

inline constexpr uint32_t kMultifdMagic = 0x11223344;
inline constexpr uint32_t kMultifdVersion = 1;
inline constexpr size_t kMultifdHelloBytes = 64;
inline constexpr size_t kMultifdHeaderBytes = 320;  // followed by the offsets
inline constexpr size_t kMultifdDeviceStateHeaderBytes = 276;
inline constexpr size_t kMultifdPacketBytes = 512 * 1024;  // that the pages of one packet have
inline constexpr size_t kMultifdBlockNameBytes = 256;
inline constexpr uint32_t kMultifdFlagSync = 0x01;
inline constexpr uint32_t kMultifdFlagsCompression = 0x3e;
inline constexpr uint32_t kMultifdFlagDeviceState = 0x40;

}  // namespace godwit::qemu::stream
