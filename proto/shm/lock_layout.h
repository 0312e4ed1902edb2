// Layout of a lock segment: many locks, events and barriers of one owner, group and mode in one
// memfd.
//
//   offset       what                        written by
//   0            LockSegmentHeader (4 KiB)   the broker at creation; two hints by anybody
//   lines_at     LockLine[lines_max]         allotted by the broker; words by CAS by everybody
//   links_at     u64[blocks_max]             what each block belongs to: by CAS
//   blocks_at    CellBlock[blocks_max]       cells by CAS
//
// A LockLine is two cache lines: what an uncontended acquire touches, and the rest. A cell is a
// cache line of its own: two readers side by side must not take a line away from each other.
//
// Memory. The broker reserves (fallocate) the page of a line before it allots the line; whoever
// links a block reserves the block's pages first. Lines and blocks are never punched.
//
// Blocks. The link word is `state 2 | owner 16 | line 24 | next 22`. A lock starts with the blocks
// that the broker gave it; who needs one more claims it, FREE -> CLAIMED(me), hangs it behind the
// last one by a CAS of that one's `next`, and marks it LINKED. Dead in between: the reaper finds
// CLAIMED(dead), and whether the chain reaches it decides between LINKED and FREE. Frozen in
// between: it pins that one block.
//
// A handle names a line and its generation. A line that was deleted gets the next generation
// before it serves another lock; its token, its head and its cells' sequences step on at the end of
// a lock and never go back. So whoever loads a word, then finds the generation unchanged, then does
// a CAS, changes the lock that it meant, or nothing.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "proto/shm/lock_word.h"
#include "proto/shm/segment_header.h"

namespace heddle::shm {

inline constexpr uint32_t kLockVersion = 2;
inline constexpr uint32_t kCellsPerBlock = 8;
inline constexpr uint32_t kNoBlock = 0;  // block numbers are stored plus one

enum class LockKind : uint8_t {
  kNone = 0,  // the line is free
  kMutex = 1,
  kRlock = 2,
  kRw = 3,
  kSemaphore = 4,  // owned permits
  kCounting = 5,   // unowned: a count that anybody may raise
  kCondition = 6,  // with a mutex of its own
  kEvent = 7,
  kBarrier = 8,
};
enum class DeathPolicy : uint8_t { kFlag = 0, kSilent = 1, kPoison = 2 };
enum class Fairness : uint8_t { kBarging = 0, kStrict = 1 };

struct LockOptions {
  LockKind kind = LockKind::kMutex;
  DeathPolicy policy = DeathPolicy::kFlag;
  Fairness fair = Fairness::kBarging;
  uint32_t count = 0;      // permits, first count, or parties
  uint32_t count_max = 0;  // kCounting: a release beyond is refused; 0 = no bound
};

// `head`, the second word of the kinds that have one. Its low half is a futex.
//   semaphores  high: free count (kCounting);
//               low: seq 28 | remote | handed off | starving | sleepers
//   event       low: seq 30 | set | sleepers; seq grows with every set
//   barrier     high: which of the last 32 generations broke, the latest in bit 0;
//               low: generation 31 | broken for good
inline constexpr uint64_t kHeadSleepers = 1;
inline constexpr uint64_t kHeadStarving = 2;
inline constexpr uint64_t kHeadHandOff = 4;
// Another one with each change that the broker makes to the count for a remote caller: tells its
// successor whether the last one was made.
inline constexpr uint64_t kHeadRemote = 8;
inline constexpr uint64_t kHeadSeqOne = 16;
inline constexpr uint64_t kEventSet = 2;
inline constexpr uint64_t kEventSeqOne = 4;
inline constexpr uint64_t kBarrierBroken = 1;

struct alignas(128) LockLine {
  std::atomic<uint64_t> word;
  std::atomic<uint64_t> base;
  std::atomic<uint32_t> generation;  // by the broker alone; odd = allotted
  std::atomic<uint8_t> kind;         // LockKind, by the broker alone, like the next three
  std::atomic<uint8_t> policy;
  std::atomic<uint8_t> fair;
  std::atomic<uint8_t> reserved0;
  std::atomic<uint32_t> reserved1;
  std::atomic<uint32_t> blocks;    // first block + 1
  std::atomic<uint64_t> head;      // see above
  std::atomic<uint32_t> drain;     // futex of the one writer that waits for readers
  std::atomic<uint32_t> limit;     // permits or parties, by the broker alone
  std::atomic<uint32_t> all_upto;  // kCondition: waiters up to this ticket are notified
  std::atomic<uint32_t> ticket;    // kCondition, strict locks: the last one given
  // kRlock: token low << 32 | entries beyond the first. Counts for the grant of that token alone,
  // so what a dead owner left means nothing to the next.
  std::atomic<uint64_t> depth;
  // Second cache line: rarely touched.
  std::atomic<uint64_t> dead_by;    // token low << 32 | holder of the last owner that died
  std::atomic<uint32_t> armed;      // the broker waits for remote callers
  std::atomic<uint32_t> count_max;  // by the broker alone
  std::atomic<uint64_t> object_id;  // by the broker alone
  std::atomic<uint64_t> seen;       // token low << 32 | coarse ms when a waiter first met it
  // kRlock, by the broker alone: the last request of its remote owner, and token low << 32 | the
  // entries that there were before it. See objects::Lock::take_inherited.
  std::atomic<uint64_t> request;
  std::atomic<uint64_t> request_at;
  uint8_t reserved2[16];
};
static_assert(sizeof(LockLine) == 128 && offsetof(LockLine, head) == 32);
static_assert(offsetof(LockLine, dead_by) == 64);

struct alignas(64) Cell {
  std::atomic<uint64_t> word;
  // seq of the claim << 32 | ticket of a waiter, or generation and flags of an arrival; by its
  // owner.
  std::atomic<uint64_t> note;
  uint8_t reserved[48];
};
struct CellBlock {
  Cell cells[kCellsPerBlock];
};
static_assert(sizeof(Cell) == 64 && sizeof(CellBlock) == 512);

enum class LinkState : uint8_t { kFree = 0, kClaimed = 1, kLinked = 2 };

struct LinkWord {
  LinkState state;
  uint16_t owner;
  uint32_t line;  // 24 bits
  uint32_t next;  // block + 1, 22 bits

  static constexpr LinkWord decode(uint64_t w) {
    return {static_cast<LinkState>(w & 3), static_cast<uint16_t>(w >> 2),
            static_cast<uint32_t>(w >> 18 & 0xffffff), static_cast<uint32_t>(w >> 42)};
  }
  constexpr uint64_t encode() const {
    return static_cast<uint64_t>(state) | (uint64_t{owner} << 2) | (uint64_t{line} << 18) |
           (uint64_t{next} << 42);
  }
};

struct LockGeometry {
  uint32_t lines_max, blocks_max;
  uint64_t lines_at, links_at, blocks_at, bytes;

  static constexpr LockGeometry of(uint32_t lines_max, uint32_t blocks_max) {
    LockGeometry g{lines_max, blocks_max, 4096, 0, 0, 0};
    g.links_at = g.lines_at + uint64_t{lines_max} * sizeof(LockLine);
    g.blocks_at = (g.links_at + uint64_t{blocks_max} * 8 + 4095) / 4096 * 4096;
    g.bytes = (g.blocks_at + uint64_t{blocks_max} * sizeof(CellBlock) + 4095) / 4096 * 4096;
    return g;
  }
};

struct LockSegmentHeader {
  SegmentHeader segment;
  uint32_t lines_max;
  uint32_t blocks_max;
  std::atomic<uint32_t> lines_used;  // lines below this were ever allotted; by the broker alone
  std::atomic<uint32_t> block_hint;  // where the search for a free block starts
  std::atomic<uint32_t> dirty;       // an armed lock was released: the broker looks
  uint8_t reserved0[44];
  // A bit per line. `sleepers`: where the broker's scan has to look; set after somebody went to
  // sleep, cleared by the broker alone. `dirty_lines`: which armed locks changed; set before
  // `dirty`.
  std::atomic<uint64_t> sleepers[128];
  std::atomic<uint64_t> dirty_lines[128];
  uint8_t reserved1[4096 - 128 - 2048];
};
static_assert(sizeof(LockSegmentHeader) == 4096);

inline constexpr uint32_t kLinesMax = 128 * 64;

}  // namespace heddle::shm
