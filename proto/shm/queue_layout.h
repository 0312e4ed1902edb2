// Memory layout of a queue segment (structs only; the algorithms are in queue_ring.h and
// chunk_pool.h).
//
//   offset            what                         size
//   0                 QueueHeader                  4 KiB: identity, limits, hints, wake words
//   rows_at           Row[kRowsMax]                128 B a row: one thread's share of the accounts
//   segments_at       SegmentControl[segments]     64 B a segment of slots
//   extents_at        u64[extents]                 extent words
//   chunk_words_at    u64[extents][256]            one word per chunk, neighbours 64 B apart
//   slots_at          Slot[segments][128]          128 B a slot, 16 KiB a segment
//   area_at           extents * 64 KiB             bodies over 96 bytes
//
// Control areas are never punched. Whoever needs a segment of slots, an extent or the control words
// of one first reserves its pages with fallocate(), so running out of memory is an outcome, never
// SIGBUS.
//
// Slots are reached through a chain of segments: position = sequence * 128 + index. A segment that
// all consumers have passed is claimed again for a later sequence, lowest index first, so a queue
// that holds three messages walks through two segments however large its limits are.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "proto/shm/segment_header.h"
#include "proto/shm/slot_word.h"
#include "proto/shm/wake_word.h"

namespace heddle::shm {

inline constexpr uint32_t kQueueVersion = 2;
inline constexpr uint32_t kSlotsPerSegment = 128;
inline constexpr uint32_t kInlineBytes = 96;
inline constexpr uint32_t kRowsMax = 1024;
inline constexpr uint64_t kExtentBytes = 64 * 1024;
inline constexpr uint32_t kChunksPerExtent = 256;
// 256 B .. 16 KiB; larger bodies are runs of extents
inline constexpr uint32_t kChunkClasses = 7;
inline constexpr uint32_t kClassRun = kChunkClasses;
inline constexpr uint32_t kHintCells = 8;
inline constexpr uint32_t kChunkNone = 0xffffffff;
/// How often an operation may lose a race before it calls the segment damaged: others make progress
/// each time, so only a peer that writes at random gets there.
inline constexpr uint32_t kTriesMax = 1'000'000;
inline constexpr uint32_t kQueueLenMax = (1u << 20) - 1;
inline constexpr uint64_t kMessageBytesMax = uint64_t{1} << 30;

enum class Overflow : uint8_t { kBlock = 0, kReject = 1, kDropOldest = 2 };
enum class Eos : uint8_t { kManual = 0, kLastProducer = 1 };
enum class OnProducerDeath : uint8_t { kWait = 0, kClose = 1, kError = 2 };

struct QueueLimits {
  uint32_t max_len = 1'000'000;  // ready + returned messages
  uint32_t max_leases = 65'536;  // leased + revoked + buried messages
  uint64_t max_bytes = 256ull << 20;
  uint64_t max_msg_bytes = 16ull << 20;
  uint32_t max_deliveries = 0;  // 0 = no limit
  Overflow overflow = Overflow::kBlock;
  Eos eos = Eos::kManual;
  OnProducerDeath on_producer_death = OnProducerDeath::kWait;
  uint8_t reserved = 0;
  friend bool operator==(const QueueLimits&, const QueueLimits&) = default;
};
static_assert(sizeof(QueueLimits) == 32);

/// Flags of a slot's message.
enum SlotFlags : uint8_t {
  kSlotChunk = 1,     // the body is in `chunk`, not in the slot
  // reserved: the body starts with an extension header (priority, times, key, headers ...)
  kSlotExtended = 2,
};

/// One message. `word` is the truth; the rest belongs to the producer while WRITING and is
/// immutable after that until the slot is free again. `leased_ms` belongs to the lease holder.
struct alignas(128) Slot {
  std::atomic<uint64_t> word;
  std::atomic<uint64_t> id;         // position at the time of the put; survives bumps
  std::atomic<uint32_t> length;     // bytes, extension included
  std::atomic<uint32_t> chunk;
  std::atomic<uint32_t> leased_ms;  // CLOCK_MONOTONIC_COARSE, low half, when last leased
  std::atomic<uint8_t> kind;        // MessageKind
  std::atomic<uint8_t> flags;
  std::atomic<uint16_t> extension_bytes;  // reserved with kSlotExtended
  std::atomic<uint64_t> body[kInlineBytes / 8];
};
static_assert(sizeof(Slot) == 128 && offsetof(Slot, body) == 32);

/// One segment of slots. `word` is the truth about its use, `next` about its successor.
struct alignas(64) SegmentControl {
  std::atomic<uint64_t> word;         // SegmentWord
  std::atomic<uint64_t> next;         // sequence 40 | successor 21 (kSegmentNone = none yet)
  std::atomic<uint64_t> returned[2];  // hint: slots that may be RETURNED; set before the CAS
  std::atomic<uint64_t> skips_at;     // sequence at which a producer stepped over a slot here
  std::atomic<uint64_t> crowded_at;   // hint: sequence at which most slots were found pinned
  std::atomic<uint64_t> skips_before;  // stepped-over slots of all sequences before this one
  uint8_t reserved[8];
};
static_assert(sizeof(SegmentControl) == 64);

/// Accounts of one thread (or of one producer registration). Counters only grow and have one
/// writer, the thread named in `word`; they stay when the row changes hands, so sums over all rows
/// are exact. Two lines, one written by puts, one by deliveries: a producer that adds up what came
/// in does not take the consumers' lines away from them.
struct alignas(128) Row {
  // owner 16 | thread 16 << 16 | RowState << 32; of a producer: 16 bits of its key stand for
  // the thread, the other 24 << 40
  std::atomic<uint64_t> word;
  std::atomic<uint64_t> bytes_in;
  std::atomic<uint64_t> puts;
  // announced before it is used, so that no two threads use it twice
  std::atomic<uint64_t> bytes_reserved;
  uint8_t reserved0[32];
  std::atomic<uint64_t> bytes_out;
  std::atomic<uint64_t> takes;            // messages that left the queue: auto takes and acks
  std::atomic<uint64_t> leases;           // leases begun
  std::atomic<uint64_t> ends;             // leases ended: ack, nack, reap
  std::atomic<uint64_t> drops;            // dropped by overflow or purged
  std::atomic<uint64_t> leases_reserved;  // announced, as bytes_reserved
  uint8_t reserved1[16];
};
static_assert(sizeof(Row) == 128 && offsetof(Row, bytes_out) == 64);

/// Only the row's own thread counts.
inline void count_up(std::atomic<uint64_t>& counter, uint64_t n) {
  counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_release);
}

enum class RowState : uint8_t { kEmpty = 0, kThread = 1, kProducer = 2, kProducerDied = 3 };

constexpr uint64_t row_word(RowState state, uint16_t owner, uint16_t thread) {
  return owner | (uint64_t{thread} << 16) | (static_cast<uint64_t>(state) << 32);
}
inline constexpr uint64_t kProducerKeyMax = (uint64_t{1} << 40) - 1;
constexpr uint64_t producer_word(uint16_t owner, uint64_t key) {
  return row_word(RowState::kProducer, owner, static_cast<uint16_t>(key)) | ((key >> 16) << 40);
}
constexpr uint64_t producer_key(uint64_t w) { return ((w >> 16) & 0xffff) | ((w >> 40) << 16); }
constexpr RowState row_state(uint64_t w) { return static_cast<RowState>((w >> 32) & 255); }
constexpr uint16_t row_owner(uint64_t w) { return static_cast<uint16_t>(w); }

/// Bits of QueueHeader::dirty.
enum DirtyBits : uint32_t { kDirtyReady = 1, kDirtyRoom = 2, kDirtyIdle = 4 };

struct alignas(64) HintLine {
  std::atomic<uint64_t> place;  // Place::encode(), by plain store; may lag, never leads
  uint8_t reserved[56];
};

struct QueueGeometry {
  uint32_t segments;
  uint32_t extents;
  uint64_t rows_at;
  uint64_t segments_at;
  uint64_t extents_at;
  uint64_t chunk_words_at;
  uint64_t slots_at;
  uint64_t area_at;
  uint64_t bytes;

  /// The layout that follows from the limits at creation. Deterministic: both ends compute it.
  static QueueGeometry of(const QueueLimits& limits);
  friend bool operator==(const QueueGeometry&, const QueueGeometry&) = default;
};

struct alignas(64) QueueHeader {
  SegmentHeader segment;
  QueueLimits created;     // immutable: the geometry follows from it
  QueueGeometry geometry;  // immutable
  // Live limits: the broker may lower or raise them within the geometry.
  alignas(64) std::atomic<uint32_t> max_len;
  std::atomic<uint32_t> max_leases;
  std::atomic<uint64_t> max_bytes;
  std::atomic<uint32_t> max_deliveries;
  std::atomic<uint32_t> extents_granted;  // extents [0, granted) may be backed; queue_grant.h
  std::atomic<uint32_t> rows_used;        // hint: rows [0, used) have ever been claimed
  std::atomic<uint32_t> segments_granted;  // segments [0, granted) may be backed
  std::atomic<uint32_t> extents_used;     // hint, likewise
  std::atomic<uint32_t> segment_hint;     // hint: lowest segment that may be claimable
  std::atomic<uint32_t> reserved1;
  // highest sequence at which a producer stepped over a slot
  std::atomic<uint64_t> skips_at;
  HintLine tail;
  HintLine head;
  // bit i: some segment = i mod 64 has returned bits
  alignas(64) std::atomic<uint64_t> returned_summary;
  std::atomic<uint32_t> dirty;                         // DirtyBits for the broker
  WakeWord ready;  // a message or an end may be there
  WakeWord room;   // space may be there
  WakeWord idle;   // nothing unfinished may be left
  // payload of END(kProducerDied), written by the broker
  alignas(64) std::atomic<uint32_t> died_pid;
  std::atomic<uint32_t> died_status;
  alignas(64) std::atomic<uint32_t> chunk_hints[kChunkClasses + 1][kHintCells];
};
static_assert(sizeof(QueueHeader) <= 4096);

/// next word of a segment.
constexpr uint64_t next_word(uint64_t sequence, uint32_t successor) {
  return (sequence << 21) | successor;
}
constexpr uint64_t next_sequence(uint64_t w) { return w >> 21; }
constexpr uint32_t next_successor(uint64_t w) {
  return static_cast<uint32_t>(w & ((1u << 21) - 1));
}

/// Where chunk i of an extent has its word: neighbours are on different lines, because one side
/// takes chunk i + 1 while the other frees chunk i.
constexpr uint32_t chunk_word_index(uint32_t i) {
  constexpr uint32_t kWordsInLine = 64 / sizeof(uint64_t);
  constexpr uint32_t kLines = kChunksPerExtent / kWordsInLine;
  return i % kLines * kWordsInLine + i / kLines % kWordsInLine;
}
static_assert(chunk_word_index(1) == 8 && chunk_word_index(kChunksPerExtent - 1) == 255);

// Chunk word: state 4 in the low bits; OWNED: owner 16 | generation 44; QUEUED: message id 44.
enum class ChunkState : uint8_t { kFree = 0, kOwned = 1, kQueued = 2 };
constexpr uint64_t chunk_owned(uint16_t owner) {
  return (uint64_t{owner} << 4) | static_cast<uint64_t>(ChunkState::kOwned);
}
constexpr uint64_t chunk_queued(uint64_t id) {
  return (id << 4) | static_cast<uint64_t>(ChunkState::kQueued);
}
inline constexpr uint64_t kChunkFree = 0;
constexpr ChunkState chunk_state(uint64_t w) { return static_cast<ChunkState>(w & 15); }

// Extent word: state 8 | owner 16 | class 8 | run length 32.
enum class ExtentState : uint8_t {
  kEmpty = 0,    // no claim; memory behind it or not
  kClaimed = 1,  // owner sets it up (head: run length > 0; member: 0)
  kCarved = 2,   // chunks of one class
  kRunHead = 3,  // first of `run` extents that make one chunk
  kRunPart = 4,  // follower in a run; belongs to the nearest head before it
  kPunching = 5,  // the broker gives the memory back
  kWithheld = 6,  // was granted and is no more: nobody claims it
};
struct ExtentWord {
  ExtentState state;
  uint16_t owner;
  uint8_t size_class;
  uint32_t run;
  static constexpr ExtentWord decode(uint64_t w) {
    return {static_cast<ExtentState>(w & 255), static_cast<uint16_t>(w >> 8),
            static_cast<uint8_t>(w >> 24), static_cast<uint32_t>(w >> 32)};
  }
  constexpr uint64_t encode() const {
    return static_cast<uint64_t>(state) | (uint64_t{owner} << 8) | (uint64_t{size_class} << 24) |
           (uint64_t{run} << 32);
  }
};

}  // namespace heddle::shm
