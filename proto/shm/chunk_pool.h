// Bodies over 96 bytes: chunks of seven size classes carved out of 64 KiB extents, and runs of
// whole extents.
//
// Truth
//   chunk word   FREE | OWNED(owner) private to a session | QUEUED(id) body of that message
//   extent word  EMPTY | CLAIMED(owner, run) | CARVED(class) | RUN_HEAD(run) | RUN_PART |
//                PUNCHING(owner) | WITHHELD (queue_grant.h)
// Hint cells and cursors may be lost. extents_used only grows and is raised before a claim, so it
// bounds every walk, also the reaper's.
//
// Invariants
//   C1  EMPTY extents have only FREE chunk words.
//   C2  A RUN_PART belongs to the nearest RUN_HEAD or CLAIMED head before it, without a gap. Parts
//       are made from low to high before the head, and unmade from high to low before the head. So
//       the parts of a half-made or half-unmade run are exactly the RUN_PART words that follow its
//       head without a gap.
//   C3  Who takes a chunk word from FREE looks at the extent word again: an extent changes its
//       shape only after every one of its chunk words has been taken, so a shape seen after the CAS
//       stays.
//
// Crash and freeze story
//   take     CAS FREE -> OWNED(me). Dead: the reaper frees OWNED(dead) that no journaled put has
//            published.
//   carve    CAS EMPTY -> CLAIMED(me); fallocate (repeatable); CAS -> CARVED. Dead: CLAIMED(dead)
//            -> EMPTY.
//   run      heads and members CLAIMED(me), then C2. Dead: parts by C2, head and members -> EMPTY.
//   dissolve all chunk words OWNED(me), extent -> PUNCHING or EMPTY, words -> FREE. Dead:
//   OWNED(dead) -> FREE; a run is
//            dissolved to the end.
// A frozen thread pins the chunk or the extents it had claimed and nobody waits for them.
#pragma once

#include <cstdint>

#include "proto/shm/cpu_pause.h"
#include "proto/shm/queue_layout.h"

namespace heddle::shm {

/// Where a thread looks first; private.
struct ChunkCursors {
  uint32_t extent[kChunkClasses] = {};  // extent in which the last chunk of the class was found
  uint32_t chunk[kChunkClasses] = {};
  uint32_t offered = kChunkNone;  // to be tried first
  uint32_t empty = 0;
  uint32_t scans_owed = 0;  // extents to carve before all carved ones are searched again
  // Of the last take() that failed: the extents that would have had to be granted; or the machine
  // had no memory.
  uint32_t extents_lacking = 0;
  bool machine_lacking = false;
};

/// A view over the chunk areas of one segment. Thread-safe; the cursors belong to the calling
/// thread.
class ChunkPool {
 public:
  ChunkPool() = default;
  ChunkPool(std::byte* base, const QueueGeometry& geometry, int fd)
      : base_(base), geometry_(geometry), fd_(fd) {}

  /// A chunk of at least `bytes`, OWNED(owner); kChunkNone when the granted memory is used up or
  /// the system has none left.
  uint32_t take(uint16_t owner, uint64_t bytes, ChunkCursors* cursors);

  /// OWNED(owner) -> QUEUED(id), just before the slot that names it is published.
  void queue(uint32_t chunk, uint64_t id);
  /// QUEUED -> OWNED(owner) of an unpublished put that was withdrawn.
  void unqueue(uint32_t chunk, uint16_t owner);

  /// Back to FREE, if the word still is `expected`. True if this call did it.
  bool release(uint32_t chunk, uint64_t expected);

  /// Where a chunk is and how many bytes fit, from one look at its extent, so that a peer that
  /// changes the word in between moves nothing. Empty for a number that names no chunk (damage).
  struct Span {
    std::byte* data;
    uint64_t capacity;
  };
  Span locate(uint32_t chunk) const;
  std::byte* data(uint32_t chunk) const { return locate(chunk).data; }
  uint64_t capacity(uint32_t chunk) const { return locate(chunk).capacity; }
  uint64_t word(uint32_t chunk) const;
  /// Asks for the chunk's word, which is about to be written; any number is harmless.
  void expect_write(uint32_t chunk) const {
    const uint32_t e = chunk / kChunksPerExtent;
    if (e < geometry_.extents) prefetch_for_write(&chunk_word(e, chunk % kChunksPerExtent));
  }

  /// Reaper: frees what `dead` owned, finishes its extents. Call after journaled puts are decided.
  void reap(uint16_t dead);

  /// Gives fully free extents back to the system. Returns the bytes given back.
  uint64_t trim(uint16_t owner);

  /// Broker, see queue_grant.h.
  void grant(uint32_t extents);
  uint32_t withhold(uint32_t extents);
  uint32_t in_use() const;
  uint32_t extents() const { return geometry_.extents; }

  struct Usage {
    uint64_t backed_bytes;
    uint64_t queued_chunks;
    uint64_t owned_chunks;
  };
  Usage usage() const;

 private:
  QueueHeader& header() const { return *reinterpret_cast<QueueHeader*>(base_); }
  std::atomic<uint64_t>& extent(uint32_t e) const;
  std::atomic<uint64_t>& chunk_word(uint32_t e, uint32_t i) const;
  uint32_t granted() const;
  uint32_t used() const;
  uint32_t lack(uint32_t run, ChunkCursors* cursors) const;

  uint32_t take_offered(uint16_t owner, uint32_t size_class, ChunkCursors* cursors);
  uint32_t take_hinted(uint16_t owner, uint32_t size_class, uint32_t run);
  uint32_t take_carved(uint16_t owner, uint32_t size_class, ChunkCursors* cursors);
  uint32_t search_extent(uint16_t owner, uint32_t e, uint32_t from, uint32_t size_class);
  uint32_t carve(uint16_t owner, uint32_t size_class, ChunkCursors* cursors);
  uint32_t make_run(uint16_t owner, uint32_t run, ChunkCursors* cursors);
  uint32_t claim_run(uint16_t owner, uint32_t e, uint32_t run);
  void abandon_run(uint16_t owner, uint32_t e, uint32_t members);
  uint32_t take_free_run(uint16_t owner, uint32_t run);
  bool reclaim(uint16_t owner);
  bool back(uint32_t e, uint32_t count);
  bool dissolve(uint16_t owner, uint32_t e, bool punch);
  void unmake_run(uint32_t e, uint32_t run);
  void reap_extent(uint16_t dead, uint32_t e);
  void note_free(uint32_t chunk, uint32_t size_class);
  void note_used(uint32_t extents);

  std::byte* base_ = nullptr;
  QueueGeometry geometry_{};  // private copy: the header is not believed twice
  int fd_ = -1;
};

/// Chunk size of a class and how many fit into an extent. The odd stride spreads starts over cache
/// sets.
constexpr uint64_t chunk_bytes(uint32_t size_class) { return uint64_t{256} << size_class; }
constexpr uint64_t chunk_stride(uint32_t size_class) { return chunk_bytes(size_class) + 64; }
constexpr uint32_t chunks_in_extent(uint32_t size_class) {
  return static_cast<uint32_t>(kExtentBytes / chunk_stride(size_class));
}
static_assert(chunks_in_extent(0) <= kChunksPerExtent);

inline constexpr uint64_t kExtentEmpty = 0;

/// One transition of a chunk or extent word.
inline bool cas_word(std::atomic<uint64_t>& word, uint64_t expected, uint64_t desired) {
  return word.compare_exchange_strong(expected, desired, std::memory_order_seq_cst);
}

}  // namespace heddle::shm
