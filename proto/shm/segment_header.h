// The first line of every shared segment: what it is, which version, how large. The broker writes
// it once, before the segment has a second user; a mismatch at attach is an error that names both
// sides.
#pragma once

#include <cstdint>

namespace heddle::shm {

inline constexpr uint64_t kSegmentMagic = 0x31474553444c4448;  // "HDLDSEG1"

enum class SegmentKind : uint32_t {
  kQueue = 1,
  kPipe = 2,
  kDict = 3,
  kLocks = 4,
  kBlock = 5,
  kList = 6
};

struct alignas(64) SegmentHeader {
  uint64_t magic;
  uint32_t version;  // of the layout named by `kind`
  SegmentKind kind;
  uint64_t object_id;
  uint64_t bytes;  // size of the whole segment
  uint8_t reserved[32];
};
static_assert(sizeof(SegmentHeader) == 64);

}  // namespace heddle::shm
