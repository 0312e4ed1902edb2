// Memory layout of a dict segment (structs and words only; the protocol is in dict.h).
//
//   offset        what                          size
//   0             DictHeader                    4 KiB: identity, limits, hints, wake word
//   history_at    DictHistory[history]          16 B a revision
//   ages_at       u32[1 << age_bits]            dicts that evict by age: when it was last met
//   pages_at      u64[]                         hint: one bit per directory page that is backed
//   nodes_at      u64[2 << levels_max]          bucket words in heap order: level L begins at 2^L
//   rows_at       DictRow[kDictRowsMax]         2 KiB a thread: journal, magazines, accounts
//   groups_at     DictGroup[extents / 64]       256 B: which extents may have something free
//   controls_at   DictExtent[extents]           256 B: what an extent is for, its free chunks
//   area_at       extents * 64 KiB              blocks, arrays of buckets, records, large values
//
// Chunks are numbered by the 64 B line at which they begin, counted from area_at; extent 0 stays
// unused, so 0 is no chunk. An extent that was carved once keeps its class for ever: a word that
// was a stamp or a revision never becomes somebody's bytes. Everything up to the first page of
// nodes is backed by who formats; rows, groups, controls, directory pages and extents are reserved
// with fallocate() by whoever needs them first.
//
// Words
//   reference   generation 36 | line 28               names one life of a chunk
//   stamp       generation 36 | row 16 | class 5 | flags 5 | state 2   first word of every chunk
//   bucket      version 32 | block 28 | flags 4
//   pair        tag 31 (top bits of the hash) | deleted 1 | spare 4 | record 28
//   rev         of a record: UNASSIGNED | generation, or its revision
//   history     lap 4 | generation 32 | line 28        record that has the revision of the place
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "proto/shm/segment_header.h"
#include "proto/shm/wake_word.h"

namespace heddle::shm {

inline constexpr uint32_t kDictVersion = 1;
inline constexpr uint64_t kDictPage = 4096;
inline constexpr uint32_t kDictLineBytes = 64;
inline constexpr uint32_t kDictExtentBytes = 64 * 1024;
inline constexpr uint32_t kDictExtentLines = kDictExtentBytes / kDictLineBytes;
inline constexpr uint32_t kDictExtentsMax = (1u << 28) / kDictExtentLines;
inline constexpr uint32_t kDictRowsMax = 1024;
inline constexpr uint32_t kDictLevelMin = 4;
inline constexpr uint32_t kDictLevelMax = 26;
inline constexpr uint32_t kDictKeyBytesMax = 4096;
inline constexpr uint64_t kDictValueBytesMax = 16ull << 20;
inline constexpr uint32_t kDictHistoryMax = 1u << 20;
inline constexpr uint32_t kDictPairs = 7;
inline constexpr uint32_t kDictSlots = 16;  // buckets of an array below the last level
inline constexpr uint32_t kDictSlotBits = 4;
inline constexpr uint32_t kDictMagazine = 16;
/// How often an operation may lose a race before it calls the segment damaged: somebody else makes
/// progress each time.
inline constexpr uint32_t kDictTriesMax = 1'000'000;
/// A walk from a hint to a bucket is much shorter, unless the words contradict each other.
inline constexpr uint32_t kDictWalkMax = 256;

// Classes of chunks, in lines. 0: blocks; 1: arrays of buckets; from 2: records.
inline constexpr uint16_t kDictClassLines[] = {1,  3,  1,  2,  3,  4,   6,   8,   12, 16,
                                               24, 32, 48, 64, 96, 128, 192, 256, 512};
inline constexpr uint32_t kDictClasses = sizeof kDictClassLines / sizeof kDictClassLines[0];
inline constexpr uint32_t kDictClassBlock = 0, kDictClassArray = 1, kDictClassRecord = 2;
inline constexpr uint32_t kDictClassEmpty = kDictClasses;  // of whole extents, in DictGroup
inline constexpr uint64_t kDictRecordBytesMax =
    uint64_t{kDictClassLines[kDictClasses - 1]} * kDictLineBytes;
/// The smallest class of records with room for so many bytes, which are at most
/// kDictRecordBytesMax.
constexpr uint32_t dict_class_for(uint64_t bytes) {
  uint32_t c = kDictClassRecord;
  while (kDictClassLines[c] * uint64_t{kDictLineBytes} < bytes) ++c;
  return c;
}
/// Owners of ephemeral entries share bits; a bit too many costs a walk.
inline constexpr uint64_t kDictOwnerBits = 1024;
constexpr uint32_t dict_chunks(uint32_t size_class) {
  return kDictExtentLines / kDictClassLines[size_class];
}
/// How many free chunks of a class a thread keeps.
constexpr uint32_t dict_magazine(uint32_t size_class) {
  if (size_class == kDictClassArray) return 2;
  return kDictClassLines[size_class] <= 4    ? 16
         : kDictClassLines[size_class] <= 16 ? 8
         : kDictClassLines[size_class] <= 64 ? 4
                                             : 2;
}

/// What a write does that would pass max_entries or max_bytes.
enum class DictAtLimit : uint8_t {
  kReject = 0,            // refused: kFull
  kEvictOldestWrite = 1,  // of a sample, the entry written longest ago goes
  kEvictLru = 2,          // of a sample, the one read or written longest ago, as far as is known
  kEvictTtlFirst = 3,     // of a sample, the one that expires first; else the oldest write
};
/// What becomes of an entry's expiry when a write does not say.
enum class DictOnOverwrite : uint8_t { kClear = 0, kKeep = 1, kDefault = 2 };

struct DictLimits {
  uint64_t max_entries = 1'000'000;
  uint64_t max_bytes = 256ull << 20;  // of keys and values
  uint64_t max_value_bytes = kDictValueBytesMax;
  uint32_t max_key_bytes = kDictKeyBytesMax;
  uint32_t history = 1024;      // revisions kept; rounded up to a power of two, at least 16
  uint64_t default_ttl_ms = 0;  // of what is created without an expiry; 0: none
  uint8_t keep_previous = 1;    // the history keeps what a value replaced
  DictAtLimit at_limit = DictAtLimit::kReject;
  DictOnOverwrite on_overwrite = DictOnOverwrite::kClear;
  uint8_t reserved[5] = {};
  friend bool operator==(const DictLimits&, const DictLimits&) = default;
};
static_assert(sizeof(DictLimits) == 48);

struct DictGeometry {
  uint32_t extents;
  uint32_t levels_max;  // deepest level of the directory
  uint32_t history;     // power of two
  uint32_t age_bits;    // 0: no ages
  uint64_t history_at, ages_at, pages_at, nodes_at, rows_at, groups_at, controls_at, area_at, bytes;

  static DictGeometry of(const DictLimits& limits);
  friend bool operator==(const DictGeometry&, const DictGeometry&) = default;
};

struct alignas(64) DictHeader {
  SegmentHeader segment;
  DictLimits created;  // immutable, like the next three
  DictGeometry geometry;
  uint64_t seed;                            // of the hash
  uint64_t hash_mask;                       // tests take bits of the hash away
  alignas(64) std::atomic<uint32_t> level;  // hint: where a walk begins
  std::atomic<uint32_t> base;               // levels below this one are gone
  std::atomic<uint32_t> extents_granted;    // extents [1, granted) may be backed
  std::atomic<uint32_t> extents_used;       // hint: extents below this were ever claimed
  std::atomic<uint32_t> rows_used;          // hint, likewise
  std::atomic<uint32_t> ended;              // by the broker: 1, it was deleted
  alignas(64) std::atomic<uint64_t> tail;   // hint: a place before which all revisions are done
  WakeWord changed;                         // those who wait for a revision
  // What was ever written, set before it is published: who finds nothing here need not look.
  alignas(64) std::atomic<uint64_t> expiring;        // 1: an entry with an expiry
  std::atomic<uint64_t> owned[kDictOwnerBits / 64];  // a bit per owner, by its number
  // What is left of max_entries and max_bytes, and the last transfer (dict_limits.cc).
  alignas(64) std::atomic<uint64_t> budget[2];
};
static_assert(sizeof(DictHeader) <= kDictPage);

/// Place p of the history is word p mod n. `done` is the last place that is finished here: the
/// record has its revision. It only grows, by CAS. Revision r has place r + n, so that place 0 is
/// never needed.
struct DictHistory {
  std::atomic<uint64_t> word;
  std::atomic<uint64_t> done;
};
static_assert(sizeof(DictHistory) == 16);

struct alignas(256) DictGroup {
  std::atomic<uint64_t> may_have[kDictClasses + 1];  // hint, a bit per extent of the group
};
static_assert(sizeof(DictGroup) == 256);

struct alignas(256) DictExtent {
  std::atomic<uint64_t> word;
  std::atomic<uint64_t> first_generation;  // reserved: stamps begin here after a punch
  uint64_t reserved[6];
  std::atomic<uint64_t> free[kDictExtentLines / 64];  // hint, a bit per chunk
};
static_assert(sizeof(DictExtent) == 256);

// Extent word: state 4 | class 8 | row 16 << 16, or of LENT: state 4 | line 28 << 4 |
// generation 32.
enum class DictExtentState : uint8_t {
  kEmpty = 0,
  kClaimed = 1,  // row sets it up
  kCarved = 2,   // chunks of one class, for ever
  kLent = 3,     // 64 KiB of the value of a record; freed with it
};
inline constexpr uint64_t kExtentBacked = 8;  // of EMPTY and LENT: memory is behind it
constexpr DictExtentState dict_extent_state(uint64_t w) {
  return static_cast<DictExtentState>(w & 7);
}
constexpr uint64_t dict_extent_claimed(uint32_t row) { return 1 | (uint64_t{row} << 16); }
constexpr uint64_t dict_extent_carved(uint32_t size_class) {
  return 2 | (uint64_t{size_class} << 4);
}
constexpr uint32_t dict_extent_class(uint64_t w) { return static_cast<uint32_t>(w >> 4 & 31); }

// Budget: left 14 | amount 15, signed | row 10 | number 25, in portions of 2^dict_portion_bits.
// Grant: portions 39, signed | number 25. The protocol is in dict_limits.cc.
inline constexpr uint64_t kBudgetNumberMask = (1u << 25) - 1;
constexpr int64_t budget_left(uint64_t w) { return static_cast<int64_t>(w >> 50); }
constexpr int64_t budget_amount(uint64_t w) { return static_cast<int64_t>(w << 14) >> 49; }
constexpr uint32_t budget_row(uint64_t w) { return static_cast<uint32_t>(w >> 25 & 1023); }
constexpr uint64_t budget_number(uint64_t w) { return w & kBudgetNumberMask; }
constexpr uint64_t make_budget(int64_t left, int64_t amount, uint32_t row, uint64_t number) {
  return static_cast<uint64_t>(left) << 50 | (static_cast<uint64_t>(amount) & 0x7fff) << 35 |
         uint64_t{row & 1023} << 25 | number;
}
constexpr int64_t grant_portions(uint64_t g) { return static_cast<int64_t>(g) >> 25; }
constexpr uint64_t grant_number(uint64_t g) { return g & kBudgetNumberMask; }
constexpr uint64_t make_grant(int64_t portions, uint64_t number) {
  return static_cast<uint64_t>(portions) << 25 | number;
}
/// 4,096 to 8,191 portions, or as many as the limit allows.
constexpr uint32_t dict_portion_bits(uint64_t limit) {
  uint32_t bits = 0;
  while (limit >> bits >= 8192) ++bits;
  return bits;
}
/// Before anything is granted.
constexpr uint64_t dict_budget(uint64_t limit) {
  return make_budget(static_cast<int64_t>(limit >> dict_portion_bits(limit)), 0, 0, 0);
}

// References and stamps.
inline constexpr uint64_t kDictLineMask = (1u << 28) - 1;
constexpr uint64_t dict_ref(uint64_t generation, uint32_t line) { return generation << 28 | line; }
constexpr uint32_t ref_line(uint64_t ref) { return static_cast<uint32_t>(ref & kDictLineMask); }
constexpr uint64_t ref_generation(uint64_t ref) { return ref >> 28; }

enum class DictChunkState : uint8_t {
  kFree = 0,
  kCached = 1,  // in the magazine of its row
  kUsed = 2,
  kDying = 3,  // its row gives back the extents of its value
};
inline constexpr uint64_t kStampLive = 4;        // in a bucket
inline constexpr uint64_t kStampHistory = 8;     // in the history
inline constexpr uint64_t kStampMine = 16;       // its writer is not done
inline constexpr uint64_t kStampPrevious = 32;   // what a record in the history replaced
inline constexpr uint64_t kStampPublished = 64;  // of a split block
inline constexpr uint64_t kStampPins = kStampLive | kStampHistory | kStampMine | kStampPrevious;
constexpr DictChunkState stamp_state(uint64_t s) { return static_cast<DictChunkState>(s & 3); }
constexpr uint32_t stamp_class(uint64_t s) {
  const auto c = static_cast<uint32_t>(s >> 7 & 31);
  return c < kDictClasses ? c : kDictClassRecord;
}
constexpr uint32_t stamp_row(uint64_t s) { return static_cast<uint32_t>(s >> 12 & 0xffff); }
constexpr uint64_t stamp_generation(uint64_t s) { return s >> 28; }
constexpr uint64_t make_stamp(uint64_t generation, uint32_t row, uint32_t size_class,
                              DictChunkState state) {
  return generation << 28 | uint64_t{row} << 12 | uint64_t{size_class} << 7 |
         static_cast<uint64_t>(state);
}
inline constexpr uint64_t kDictGenerationMask = (uint64_t{1} << 36) - 1;
constexpr uint64_t next_generation(uint64_t s) {
  return (stamp_generation(s) + 1) & kDictGenerationMask;
}
constexpr bool same_life(uint64_t stamp, uint64_t ref) {
  return stamp_generation(stamp) == ref_generation(ref);
}

/// LENT to the record that this reference names.
constexpr uint64_t dict_extent_lent(uint64_t ref) {
  return 3 | uint64_t{ref_line(ref)} << 4 | ref_generation(ref) << 32;
}

// Bucket words.
enum class NodeFlag : uint8_t {
  kEmpty = 0,    // of the directory: look one level up
  kNormal = 1,   // block, or 0: nothing there
  kMoved = 2,    // block = split block; anybody fills in the children
  kDone = 3,     // look one level down
  kArray = 4,    // block = array of kDictSlots buckets, by the next bits of the hash
  kPending = 9,  // block = pending block of a transaction, which says old and new block
};
constexpr NodeFlag node_flag(uint64_t w) { return static_cast<NodeFlag>(w & 15); }
constexpr uint32_t node_block(uint64_t w) { return static_cast<uint32_t>(w >> 4 & kDictLineMask); }
/// The word that follows `before`.
constexpr uint64_t next_node(uint64_t before, NodeFlag flag, uint32_t block) {
  return ((before >> 32) + 1) << 32 | uint64_t{block} << 4 | static_cast<uint64_t>(flag);
}
constexpr uint64_t first_node(uint32_t block) {
  return uint64_t{block} << 4 | static_cast<uint64_t>(NodeFlag::kNormal);
}
// Names of bucket words in a journal: the heap number, or of an array's: bit 63 | line << 4 | slot.
inline constexpr uint64_t kNodeInArray = uint64_t{1} << 63;

/// A block of pairs, compact, 0 ends it; or a split block, whose first two words are references to
/// the halves. Private until the bucket word names it, then immutable.
struct DictBlock {
  std::atomic<uint64_t> stamp;
  std::atomic<uint64_t> pair[kDictPairs];
};
static_assert(sizeof(DictBlock) == kDictLineBytes);
inline constexpr uint64_t kPairDeleted = uint64_t{1} << 32;
constexpr uint64_t make_pair_word(uint64_t tag, bool deleted, uint32_t record) {
  return tag << 33 | (deleted ? kPairDeleted : 0) | record;
}
constexpr uint64_t pair_tag(uint64_t pair) { return pair >> 33; }
constexpr uint32_t pair_record(uint64_t pair) {
  return static_cast<uint32_t>(pair & kDictLineMask);
}

struct DictArray {
  std::atomic<uint64_t> stamp;
  std::atomic<uint64_t> word[kDictSlots];
};
static_assert(sizeof(DictArray) <= 3 * kDictLineBytes);

/// A record; immutable but for stamp and rev once it is published. Behind it: the expiry word and
/// the owner word if the flags say so, the extents of a large value (u32 each), key, value.
struct DictRecord {
  std::atomic<uint64_t> stamp;
  std::atomic<uint64_t> rev;
  std::atomic<uint64_t> meta;             // value bytes 32 | key bytes 16 | kind 8 | flags 8
  std::atomic<uint64_t> create_revision;  // 0: its own
  std::atomic<uint64_t> version;
  std::atomic<uint64_t> previous;  // what it replaced; pinned while this is in the history
  std::byte* body() { return reinterpret_cast<std::byte*>(this + 1); }
};
static_assert(sizeof(DictRecord) == 48);
inline constexpr uint64_t kRevUnassigned = uint64_t{1} << 63;

// A pending block: the record of its transaction, the block of the bucket before it, the one after
// it (0: the same), the bucket, and the deleted records that the new block leaves out.
inline constexpr uint32_t kPendingList = 0, kPendingOld = 1, kPendingNew = 2, kPendingNode = 3;
inline constexpr uint32_t kPendingDropped = 4, kPendingDroppedMax = 3;

/// The record of a transaction (kList) has its decision in `version`, its shape in
/// `create_revision`, and behind it, instead of key and value, an entry for each change and then
/// the reference of the pending block of each bucket.
struct DictListEntry {
  std::atomic<uint64_t> change;    // record; 0: none
  std::atomic<uint64_t> replaced;  // what that replaces; 0: nothing
};
static_assert(sizeof(DictListEntry) == 16);
struct DictListShape {
  uint32_t changes;  // how many there are once it is decided
  uint32_t entries;  // how many there is room for
  uint32_t buckets;
};
constexpr uint64_t make_shape(const DictListShape& s) {
  return uint64_t{s.changes} | uint64_t{s.entries} << 16 | uint64_t{s.buckets} << 32;
}
constexpr DictListShape shape_of(uint64_t w) {
  return {static_cast<uint32_t>(w & 0xffff), static_cast<uint32_t>(w >> 16 & 0xffff),
          static_cast<uint32_t>(w >> 32 & 0xffff)};
}
inline constexpr uint32_t kDictTransactionMax = 1024;
enum class DictDecision : uint64_t { kOpen = 1, kMade = 2, kUndone = 3 };
// No version of a value has the top bit. Tries: how often it was begun before.
constexpr uint64_t make_decision(uint64_t generation, uint64_t tries, DictDecision d) {
  return uint64_t{1} << 63 | generation << 8 | tries << 2 | static_cast<uint64_t>(d);
}
inline constexpr uint64_t kDecisionTriesMax = 63;
constexpr uint64_t decision_tries(uint64_t v) { return v >> 2 & 63; }
/// Of this life of the record; anything else reads as undone.
constexpr DictDecision decision_of(uint64_t v, uint64_t generation) {
  const auto d = static_cast<DictDecision>(v & 3);
  const bool known = v >> 63 == 1 && (v >> 8 & ((uint64_t{1} << 36) - 1)) == generation;
  return known ? d : DictDecision::kUndone;
}
enum DictRecordFlags : uint8_t {
  kRecordExpires = 1,  // a word follows: dict_now_ms() from which it is gone; 0: never
  kRecordOwned = 2,    // a word follows: whose entry it is
  kRecordExtents = 4,
  kRecordMember = 8,  // of a transaction, which gives it its revision
};
inline constexpr uint8_t kRecordMore = kRecordExpires | kRecordOwned | kRecordExtents;
constexpr uint64_t make_meta(uint64_t value_bytes, uint32_t key_bytes, uint8_t kind,
                             uint8_t flags) {
  return value_bytes | uint64_t{key_bytes} << 32 | uint64_t{kind} << 48 | uint64_t{flags} << 56;
}
constexpr uint64_t dict_value_extents(uint64_t value_bytes) {
  return (value_bytes + kDictExtentBytes - 1) / kDictExtentBytes;
}

/// What a thread is about to do, so that it can be decided and finished after its death. Plain
/// stores by its thread; decisions by CAS or store of the reaper.
struct DictJournal {
  std::atomic<uint64_t> phase;  // of a write
  std::atomic<uint64_t> x, b;   // its new record and block
  std::atomic<uint64_t> o;      // the block it replaces
  // [0]: the value it replaces, which stays as `previous`; the others: deleted records it drops
  std::atomic<uint64_t> retired[4];
  std::atomic<uint64_t> entries, bytes;  // the row's accounts before it
  std::atomic<uint64_t> entries_more, bytes_more;
  std::atomic<uint64_t> hw, hplace, hprev;  // a step of the history: what it replaces, and where
  std::atomic<uint64_t> sphase;             // of a split
  std::atomic<uint64_t> s, l, r, so, snode;
  std::atomic<uint64_t> fs, fnode;  // somebody's split that it finishes
  std::atomic<uint64_t> dying;      // record whose extents it gives back
  std::atomic<uint64_t> claim;      // extent that it sets up
  std::atomic<uint64_t> seek;       // extent whose hint it takes away
  std::atomic<uint64_t> tphase;     // of a transaction: 0 none, 1 there is one
  std::atomic<uint64_t> list;       // its record
  std::atomic<uint64_t> reserved[6];
};
enum class DictPhase : uint64_t { kIdle = 0, kRun = 1, kPublished = 2, kUnpublished = 3 };
constexpr DictPhase dict_phase(uint64_t w) { return static_cast<DictPhase>(w & 3); }

struct alignas(128) DictRow {
  std::atomic<uint64_t> word;        // owner 16 | thread 16 << 16 | 1 << 32 | reaper; 0 = free
  std::atomic<uint64_t> entries;     // how many this row added less those it took away, mod 2^64
  std::atomic<uint64_t> bytes;       // of keys and values, likewise
  std::atomic<uint64_t> granted[2];  // how many entries and bytes it may have (dict_limits.cc)
  uint8_t reserved[24];
  DictJournal journal;
  uint8_t reserved1[2048 - 64 - sizeof(DictJournal) - (kDictClasses + 1) * kDictMagazine * 4];
  std::atomic<uint32_t> magazine[kDictClasses + 1][kDictMagazine];
};
static_assert(sizeof(DictRow) == 2048 && offsetof(DictRow, journal) == 64);
constexpr uint64_t dict_row_word(uint16_t owner, uint16_t thread) {
  return owner | uint64_t{thread} << 16 | uint64_t{1} << 32;
}
// Who reaps a row says so in it: his own row, plus one.
inline constexpr uint64_t kRowClaimed = uint64_t{0xffff} << 40;
constexpr uint64_t dict_row_claim(uint64_t w, uint32_t by) {
  return (w & ~kRowClaimed) | uint64_t{by + 1} << 40;
}
constexpr uint32_t dict_row_claimed_by(uint64_t w) {  // plus one; 0: nobody
  return static_cast<uint32_t>(w >> 40 & 0xffff);
}
constexpr bool dict_row_taken(uint64_t w) { return (w >> 32 & 1) != 0; }
constexpr uint16_t dict_row_owner(uint64_t w) { return static_cast<uint16_t>(w); }

static_assert(std::atomic<uint64_t>::is_always_lock_free);

}  // namespace heddle::shm
