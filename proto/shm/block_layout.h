// Memory layout of a block's segment (structs and words only; the protocol is in block.h).
//
//   offset        what            size
//   0             BlockHeader     4 KiB
//   4096          data            `size` bytes, up to whole pages
//
// State word:   version 36 | owner 16 | thread 10 | TORN 1 | WRITING 1
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "proto/shm/segment_header.h"
#include "proto/shm/wake_word.h"

namespace heddle::shm {

inline constexpr uint32_t kBlockVersion = 1;
inline constexpr uint64_t kBlockDataAt = 4096;
inline constexpr uint64_t kBlockBytesMax = uint64_t{1} << 36;

struct BlockHeader {
  SegmentHeader segment;
  uint64_t size;  // of the data; immutable
  alignas(64) std::atomic<uint64_t> state;
  // Of the write that is going on; it counts if write_version is the version it began at.
  std::atomic<uint64_t> write_at, write_bytes, write_version;
  // What a writer that died has left half written, if TORN: written by the reaper before TORN.
  std::atomic<uint64_t> torn_at, torn_end;
  WakeWord changed;
  std::atomic<uint32_t> ended;  // by the broker: 1, it was deleted
};
static_assert(sizeof(BlockHeader) <= kBlockDataAt && sizeof(SegmentHeader) == 64);

inline constexpr uint64_t kBlockWriting = 1, kBlockTorn = 2;
inline constexpr uint64_t kBlockVersionMask = (uint64_t{1} << 36) - 1;
constexpr uint64_t make_block_state(uint64_t version, uint64_t flags) {
  return (version & kBlockVersionMask) << 28 | flags;
}
constexpr uint64_t block_writing(uint64_t state, uint16_t owner, uint16_t thread) {
  return (state & ~uint64_t{0x0ffffffd}) | uint64_t{owner} << 12 | uint64_t{thread & 0x3ffu} << 2 |
         kBlockWriting;
}
constexpr uint64_t block_version(uint64_t state) { return state >> 28; }
constexpr uint16_t block_owner(uint64_t state) { return static_cast<uint16_t>(state >> 12); }
constexpr uint16_t block_thread(uint64_t state) {
  return static_cast<uint16_t>(state >> 2 & 0x3ff);
}
static_assert(std::atomic<uint64_t>::is_always_lock_free);

}  // namespace heddle::shm
