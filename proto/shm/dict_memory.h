// The words of a dict segment, and its chunks and extents.
//
// A peer may have written anything anywhere: every number is brought into range before it is used,
// sizes end at the end of the area, every loop is bounded.
//
// Chunks. Truth is the stamp: FREE, CACHED(row), USED, DYING(row); the generation grows whenever a
// chunk goes back, so a reference names one life. Bitmaps and magazines are hints, wrong in the
// harmless direction only:
//   refill   numbers into the magazine, bits away, then CAS FREE -> CACHED(me) each
//   spill    FREE, then the bit, then the hint of the group
//   release  number into the magazine, then CAS USED -> CACHED(me), next generation
// So a chunk CACHED(row) is named in the row's magazine or its journal, and a FREE one without a
// bit as well. There is no list to repair. A stamp of zeros is FREE: extents begin that way.
//
// Extents. EMPTY -> CLAIMED(row) -> CARVED(class), or EMPTY -> LENT(record) -> EMPTY, or EMPTY with
// memory behind it -> CLAIMED(row) -> punched -> EMPTY. EMPTY without memory behind it is full of
// zeros: who reaps a claim punches it. A stale reader of a punched page reads zeros, and finds the
// bucket word changed. The journal
// names what is CLAIMED; the record's own list names what is LENT, and is written first. The hint
// of a group is taken away only with `seek` naming the extent, then looked at again.
//
// Crash and freeze: the reaper gives back CACHED(dead), finishes DYING(dead), CLAIMED(dead) becomes
// EMPTY, hints that the journal names are set again. A frozen thread pins its magazines and what it
// was about to use.
#pragma once

#include "proto/shm/dict_layout.h"
#include "proto/shm/outcome.h"

namespace heddle::shm {

/// Of the granted extents, how many only an erasing thread takes: erasing needs memory before it
/// gives any back.
inline constexpr uint32_t kDictReserve = 2;
inline constexpr uint32_t kDictRowNone = 0xffffffff;

/// One thread's hands on one dict. Fill in the first two, then Dict::enter().
struct DictActor {
  uint16_t owner = 0;          // the session's number
  uint16_t thread = 0;         // line in the session page
  bool interruptible = false;  // return kInterrupted on EINTR instead of waiting on
  int64_t patience_ns = INT64_MAX;
  // More memory may be granted: say kMemoryExhausted rather than let the oldest history go.
  bool spare_history = false;
  uint32_t row = kDictRowNone;
  // Private caches.
  bool reserve = false;  // may take the extents that are kept for erasing
  uint32_t splits = 0;
  uint64_t tail = 0;  // place before which all revisions are done
  uint64_t phases = 0;
  uint32_t cursor[kDictClasses + 1] = {};  // extent in which the last chunk of the class was found
  uint8_t count[kDictClasses + 1] = {};    // chunks in the magazine
  uint32_t reads = 0;                      // one of some is noted for eviction by age
  uint64_t picks = 0;                      // places at which a victim was looked for
  uint32_t spins_failed = 0;
  uint32_t burst = 0;
};

class DictMemory {
 public:
  DictMemory() = default;
  /// The geometry is a private copy: what a peer writes into the header later moves nothing.
  DictMemory(std::byte* base, const DictGeometry& geometry, int fd)
      : base_(base), geometry_(geometry), fd_(fd), lines_(geometry.extents * kDictExtentLines) {}

  const DictGeometry& geometry() const { return geometry_; }
  DictHeader& header() const { return *reinterpret_cast<DictHeader*>(base_); }
  DictRow& row(uint32_t i) const {
    return reinterpret_cast<DictRow*>(base_ + geometry_.rows_at)[i % kDictRowsMax];
  }
  DictJournal& journal(const DictActor& a) const { return row(a.row).journal; }
  DictHistory& history(uint64_t place) const {
    return reinterpret_cast<DictHistory*>(base_ +
                                          geometry_.history_at)[place & (geometry_.history - 1)];
  }
  /// When keys whose hash begins with these bits were last met, on dict_now_ms().
  std::atomic<uint32_t>& age(uint64_t i) const {
    return reinterpret_cast<std::atomic<uint32_t>*>(
        base_ + geometry_.ages_at)[i & ((uint64_t{1} << geometry_.age_bits) - 1)];
  }
  /// A bucket word of the directory.
  std::atomic<uint64_t>& node(uint64_t heap) const {
    const uint64_t mask = (uint64_t{2} << geometry_.levels_max) - 1;
    return reinterpret_cast<std::atomic<uint64_t>*>(base_ + geometry_.nodes_at)[heap & mask];
  }
  std::atomic<uint64_t>& named_node(uint64_t name) const {
    if ((name & kNodeInArray) == 0) return node(name);
    return array(static_cast<uint32_t>(name >> 4 & kDictLineMask)).word[name % kDictSlots];
  }
  DictGroup& group(uint32_t g) const {
    return reinterpret_cast<DictGroup*>(base_ + geometry_.groups_at)[g];
  }
  DictExtent& extent(uint64_t e) const {
    return reinterpret_cast<DictExtent*>(base_ +
                                         geometry_.controls_at)[e < geometry_.extents ? e : 0];
  }
  std::byte* extent_data(uint64_t e) const {
    return base_ + geometry_.area_at + (e < geometry_.extents ? e : 0) * kDictExtentBytes;
  }
  /// Any number is harmless; up to room(line) bytes from here are the area's.
  std::byte* chunk(uint32_t line) const {
    return base_ + geometry_.area_at + uint64_t{line < lines_ ? line : 0} * kDictLineBytes;
  }
  uint64_t room(uint32_t line) const {
    const uint64_t left = uint64_t{lines_ - (line < lines_ ? line : 0)} * kDictLineBytes;
    return left < kDictRecordBytesMax ? left : kDictRecordBytesMax;
  }
  /// Room for a whole block or array at every number: the last lines of the area are nobody's.
  DictBlock& block(uint32_t line) const { return *reinterpret_cast<DictBlock*>(chunk(line)); }
  DictArray& array(uint32_t line) const {
    return *reinterpret_cast<DictArray*>(chunk(line + 2 < lines_ ? line : 0));
  }
  DictRecord& record(uint32_t line) const { return *reinterpret_cast<DictRecord*>(chunk(line)); }
  std::atomic<uint64_t>& stamp(uint32_t line) const { return block(line).stamp; }

  // ---- chunks ----
  /// At least n chunks of the class in the magazine. False: memory is exhausted.
  bool ensure(DictActor& a, uint32_t size_class, uint32_t n) {
    return a.count[size_class] >= n || fetch(a, size_class, n);
  }
  /// One of them, CACHED(me); 0 if there is none.
  uint32_t pop(DictActor& a, uint32_t size_class);
  /// Back, if the stamp is still `expected`; the extents of a large value first.
  bool release(DictActor& a, uint32_t line, uint64_t expected);
  /// Takes pins away; who takes the last one releases the record.
  void unpin(DictActor& a, uint64_t ref, uint64_t pins);
  /// Releases a life that nobody else can see, if `row` still has it.
  void release_private(DictActor& a, uint64_t ref, uint32_t row);
  [[gnu::noinline]] void spill(DictActor& a, uint32_t size_class, uint32_t keep);
  /// 64 KiB for the record `owner`, backed; `entry` is where its list names them. False: exhausted.
  bool lend(DictActor& a, uint64_t owner, std::atomic<uint32_t>& entry);
  std::atomic<uint32_t>* extent_list(uint32_t line, uint64_t meta) const;

  // ---- reaper ----
  void reap_dying(uint32_t row);
  void reap_claims(uint32_t row);
  void reap_magazines(uint32_t row);

  /// Backs the page of a bucket word, or of all words of a level. False: memory is exhausted.
  bool back_node(uint64_t heap);
  bool back_level(uint32_t level);
  bool is_backed(uint64_t heap) const;
  bool back_row(uint32_t row);
  /// Memory behind a part of the segment. False: exhausted.
  bool reserve(uint64_t at, uint64_t bytes);

  // ---- rows ----
  /// A row for the actor's thread, with empty magazines. kTooManyThreads when all are taken.
  Outcome claim_row(DictActor& a);
  /// Back, with all that its magazines hold.
  void free_row(DictActor& a);

  /// Gives the pages of up to `extents_max` extents that hold nothing back to the system. Returns
  /// how many. By anybody with a row; the broker does it when nothing else is to be done.
  uint32_t trim(DictActor& a, uint32_t extents_max);

  struct Usage {
    uint64_t extents, lent;
  };
  Usage usage() const;

 private:
  [[gnu::noinline]] bool fetch(DictActor& a, uint32_t size_class, uint32_t n);
  bool refill(DictActor& a, uint32_t size_class, uint32_t n);
  bool refill_from(DictActor& a, uint32_t size_class, uint32_t e, uint32_t n);
  uint32_t find(DictActor& a, uint32_t size_class, uint32_t from);
  void forget(DictActor& a, uint32_t size_class, uint32_t e);
  bool has_free(uint32_t size_class, uint32_t e) const;
  void note(uint32_t size_class, uint32_t e);
  uint32_t carve(DictActor& a, uint32_t size_class);
  uint32_t claim(DictActor& a, uint64_t word, std::atomic<uint32_t>* entry);
  uint32_t raise_used(DictActor& a);
  bool back_extent(uint32_t e);
  bool punch(uint32_t e);
  [[gnu::noinline]] void give_back_extents(uint32_t line, uint64_t generation);
  void set_free(uint32_t line, uint64_t stamp);
  uint32_t used() const;

  std::byte* base_ = nullptr;
  DictGeometry geometry_{};
  int fd_ = -1;
  uint32_t lines_ = 0;
};

inline bool dict_cas(std::atomic<uint64_t>& word, uint64_t expected, uint64_t desired) {
  return word.compare_exchange_strong(expected, desired, std::memory_order_seq_cst);
}

}  // namespace heddle::shm
