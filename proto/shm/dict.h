// A dict in shared memory: what every client on the machine and the broker call.
//
// Dict is a view over a mapped segment. It allocates nothing, throws nothing, logs nothing.
// Functions that write take a DictActor, one per thread; the others may be called by anybody, also
// over a PROT_READ mapping, and store nothing. Layout: dict_layout.h. Memory: dict_memory.h.
//
// Truth: one word per bucket names an immutable block of pairs, each pair an immutable record.
// Every change is one new record, one new block and one CAS of the bucket word; what comes after
// that may be done by anybody.
//
// Invariants
//   D1  A record that a bucket names is USED and LIVE; so is the block. Whoever finds the bucket
//       word unchanged after it has read them, has read what stood there all the time.
//   D2  Revisions are dense. A place of the history is filled only when all before it are done, and
//       a record is in at most one place: the placer reads the old word w of place t, knows that
//       all before t are done, then finds its record still without revision, then does the CAS
//       w -> record. Had the record stood before t, it would have had its revision.
//   D3  done[i] = t means: the record in place t has its revision. It grows by CAS, so a late one
//       fails; a word of the history carries its lap, so done and the word tell free from taken.
//       A writer makes the place of its record done before it returns, whoever filled it. A get
//       may tell a revision whose place is not done yet.
//   D4  Nobody replaces a record without a revision: he assigns it first. A thread that may write
//       assigns what it reads, too; a reader that may not says "pending".
//   D5  Pins of a record: LIVE (a bucket), HISTORY (a place), MINE (its writer is not done),
//       PREVIOUS (what replaced it is in the history). Whoever takes the last one away frees it.
//   D6  The journal names a chunk before its stamp says USED; a record's rev says UNASSIGNED before
//       that. Every generation ends when the chunk goes back.
//
// A write, step by step, and what is left if its thread stops there
//   1  record and block CACHED(me), filled in; journal, phase RUN; USED     reaper: not published
//   2  bucket found, unfinished splits on the way finished, pairs copied, old record read; the word
//      unchanged, or again. Old record without revision: assigned, again. Conditions decided.
//   3  block built, journal: what is replaced, the accounts                 reaper: not published
//   4  CAS of the bucket word                       visible; the reaper finds the record in the
//                                                   bucket, or with a revision
//   5  assign: journal hw, place; CAS history; CAS rev; CAS done; the record that lost its place
//      loses HISTORY, what that one had replaced loses PREVIOUS             anybody; reaper: hw
//   6  accounts; the replaced record LIVE -> PREVIOUS, then a look whether the new one has left the
//      history meanwhile; dropped ones lose LIVE; old block freed; MINE off; IDLE       the reaper
// A split of a directory's bucket: MOVED{two halves}; children EMPTY -> NORMAL by anybody, who
// marks the split block first; DONE; the split block goes. Below the last level: the bucket becomes
// an array of 16 by one CAS. The reaper decides from the bucket word and the mark.
//
// The reaper records each decision in the dead thread's journal before it acts on it, and each act
// is by generation, so another reaper may do it again.
//
// A frozen thread excludes nobody. It pins its record and block, what it replaces, a split's three
// blocks, a record of the history, its magazines.
//
// Not here yet: limits of entries and bytes (only memory is limited), giving back the pages of old
// levels of the directory and of extents that are carved, help for a stopped thread by the broker.
// To be added without a new layout: a writer that meets an expired record publishes a kExpired
// record first, by the same function, then its own; a transaction sets kNodePending and has one
// place of the history hold a kList record.
#pragma once

#include <cstddef>
#include <cstdint>

#include "proto/shm/dict_hash.h"
#include "proto/shm/dict_layout.h"
#include "proto/shm/dict_memory.h"
#include "proto/shm/outcome.h"

namespace heddle::shm {

enum class DictKind : uint8_t {
  kNull = 0,
  kBool = 1,
  kInt64 = 2,
  kDouble = 3,
  kString = 4,
  kBytes = 5,
  kJson = 6,
  // Not values: why a key went.
  kDeleted = 128,
  kExpired = 129,
  kEvicted = 130,
  kCleared = 131,
  kList = 160,  // reserved: the records of a transaction
};
constexpr bool is_value(uint8_t kind) { return kind < 128; }

struct DictKey {
  const void* data;
  uint32_t bytes;
};

/// What is known of an entry; `room` is filled in by the caller.
struct DictEntry {
  std::byte* room = nullptr;  // where the value is copied
  uint64_t room_bytes = 0;
  uint64_t bytes = 0;         // of the value; over room_bytes: nothing was copied
  uint64_t mod_revision = 0;  // 0: pending, the change is visible and not yet numbered
  uint64_t create_revision = 0;
  uint64_t version = 0;  // 1 = as created
  uint8_t kind = 0;      // DictKind
};

inline constexpr uint64_t kDictAnyVersion = UINT64_MAX;

struct DictWrite {
  DictKey key{};
  const void* value = nullptr;
  uint64_t bytes = 0;
  DictKind kind = DictKind::kBytes;  // kDeleted, kCleared ...: the key goes
  bool if_absent = false;
  bool if_present = false;
  uint64_t if_version = kDictAnyVersion;  // mod_revision it must have; 0: must be absent
  // Where what was there before is copied, if it fits; may be null. bytes and kind are set.
  DictEntry* previous = nullptr;
};

struct DictWritten {
  uint64_t revision = 0;  // of this change; refused: of the entry as it is, 0 = absent
  uint64_t create_revision = 0;
  uint64_t version = 0;
  bool existed = false;
};

/// Where a scan goes on: the hash it has come to. Starts as {0, 0, false}.
struct DictCursor {
  uint64_t high = 0, low = 0;
  bool done = false;
};

struct DictScanned {
  DictEntry entry;  // room points into the page's room
  const std::byte* key;
  uint32_t key_bytes;
};

struct DictChange {
  DictEntry entry;
  std::byte* key_room = nullptr;  // kDictKeyBytesMax
  uint32_t key_bytes = 0;
  uint64_t revision = 0;
  // What it replaced: previous.kind is a value's if there was one. Fill in its room to have it.
  DictEntry previous;
  bool had_previous = false;
};

/// Null if the limits are usable, else which one is not ("max_entries", ...).
const char* dict_limits_invalid(const DictLimits& limits);
/// Bytes of the memfd for these limits.
uint64_t dict_segment_bytes(const DictLimits& limits);
/// Leading bytes that must be backed before dict_format().
uint64_t dict_control_bytes(const DictLimits& limits);
/// Broker: lays out a dict in a fresh zeroed memfd. `seed` must be hard to guess.
void dict_format(void* base, const DictLimits& limits, uint64_t object_id, uint64_t seed,
                 uint64_t hash_mask = ~uint64_t{0});

class Dict {
 public:
  Dict() = default;

  /// Checks magic, version and geometry against the size. `fd` is kept (not owned) to reserve
  /// memory; -1 for a read-only mapping. kCorrupt if they disagree.
  static Outcome attach(void* base, uint64_t bytes, int fd, Dict* out);

  DictLimits limits() const { return limits_; }
  uint64_t object_id() const { return memory_.header().segment.object_id; }

  /// Claims a row for the actor's thread. kTooManyThreads when all are taken.
  Outcome enter(DictActor& a);
  void leave(DictActor& a);

  /// Copies the value into out->room. kOk, kNotFound, kTooLarge (out->bytes tells the room it
  /// needs), kCorrupt. Never blocks. With an actor a change without revision gets it.
  Outcome get(const DictKey& key, DictEntry* out, DictActor* helper = nullptr) const;

  /// kOk, kNotFound (if_present, if_version, or erasing what is not there), kExists (if_absent),
  /// kMismatch (if_version), kTooLarge (key or value over their limit), kMemoryExhausted, kCorrupt.
  Outcome write(DictActor& a, const DictWrite& w, DictWritten* out);

  Outcome set(DictActor& a, const DictKey& key, const void* value, uint64_t bytes, DictKind kind,
              DictWritten* out = nullptr);
  Outcome erase(DictActor& a, const DictKey& key, DictWritten* out = nullptr);
  /// Adds to an int64 (kInt64) or a double (kDouble); a missing entry begins as *result. Refuses
  /// with kMismatch to pass a bound, or when the value is of another kind; *result is the new or
  /// the present value.
  Outcome increment(DictActor& a, const DictKey& key, int64_t by, int64_t least, int64_t most,
                    int64_t* result, DictWritten* out = nullptr);
  Outcome increment(DictActor& a, const DictKey& key, double by, double least, double most,
                    double* result, DictWritten* out = nullptr);
  /// Every key that is there now goes; each gets a revision of its own.
  Outcome clear(DictActor& a, uint64_t* cleared);

  /// The next entries in the order of the hash. Each key that is there during the whole scan is
  /// given once. kOk with *n = 0 and cursor->done at the end; kTooLarge: one entry does not fit
  /// (*needed bytes of room would do).
  Outcome scan(DictCursor* cursor, DictScanned* page, size_t page_max, std::byte* room,
               uint64_t room_bytes, bool with_values, size_t* n, uint64_t* needed) const;

  uint64_t len() const;    // exact when nothing is in flight
  uint64_t bytes() const;  // of keys and values, likewise
  /// The last revision that is done.
  uint64_t revision() const;
  uint64_t oldest_revision() const;

  /// The change with this revision. kOk, kEmpty (not yet), kOutOfRange (no longer: start at
  /// oldest_revision() or from a scan), kTooLarge (a room does not suffice), kCorrupt.
  Outcome read_change(uint64_t revision, DictChange* out) const;
  /// Waits until that revision is there. kOk, kTimedOut, kInterrupted. Needs a writable mapping,
  /// but no row; who has none looks at revision() from time to time.
  Outcome wait_change(DictActor& a, uint64_t revision, int64_t deadline_ns);

  // ---- broker only ----
  /// Repairs what the threads of `dead` left; idempotent; a reaper that dies is reaped likewise.
  void reap(DictActor& reaper, uint16_t dead);
  /// One thread of a living session has ended.
  void reap_thread(DictActor& reaper, uint16_t owner, uint16_t thread);
  /// Makes the oldest `places` of the history readable no longer. Returns how many there were.
  uint32_t release_history(DictActor& a, uint32_t places);

  DictMemory& memory() { return memory_; }

 private:
  friend class DictAudit;
  struct Spot {
    std::atomic<uint64_t>* word;  // of the bucket
    uint64_t seen;
    uint64_t name;                 // as in a journal
    uint32_t depth;                // bits of the hash used up
    uint32_t block;                // where the pairs are
    std::atomic<uint64_t>* child;  // read through MOVED: still EMPTY afterwards
  };
  struct Pairs {
    uint64_t word[kDictPairs];
    uint32_t n;
  };
  struct View {  // of a record
    uint64_t meta, rev = 0, value_bytes = 0;
    uint32_t line = 0, key_bytes;
    uint8_t kind = 0, flags;
    const std::byte* key;
    const std::byte* value = nullptr;  // null if it is in extents
    const std::atomic<uint32_t>* list = nullptr;
  };
  struct Found {        // in a bucket
    uint64_t pair = 0;  // 0: none
    uint32_t at = 0;
    View view;
    uint64_t ref = 0;  // with the generation
  };
  struct Attempt;

  DictHash hash(const void* key, uint32_t bytes) const { return {key, bytes, seed_, mask_}; }
  bool find(const DictHash& h, Spot* spot) const;
  bool find_in_array(const DictHash& h, uint32_t depth, uint32_t line, Spot* spot) const;
  static bool unchanged(const Spot& spot);
  void load_pairs(uint32_t block, Pairs* pairs) const;
  bool view(uint32_t line, View* v) const;
  bool copy_value(const View& v, std::byte* to) const;
  void describe(const View& v, DictEntry* e) const;
  bool find_key(const Pairs& pairs, uint64_t tag, const DictKey& key, Found* found) const;
  struct Page;
  bool scan_bucket(const Spot& spot, const DictCursor& from, Page* page) const;
  bool put_on_page(const View& v, Page* page) const;

  uint64_t laps(uint64_t place) const { return place >> history_bits_; }
  uint64_t history_word(uint64_t place, uint64_t stamp, uint32_t line) const {
    return laps(place) << 60 | (stamp_generation(stamp) & 0xffffffff) << 28 | line;
  }
  uint64_t find_tail(uint64_t from) const;
  bool assign(DictActor& a, uint32_t line, uint64_t unassigned);
  void finish_place(uint64_t place, uint64_t word);
  bool ensure_done(uint32_t line, uint64_t unassigned);
  void settle_history(DictActor& a, DictJournal& j);
  void wake_watchers();

  Outcome prepare(DictActor& a, const DictWrite& w, Attempt* t);
  Outcome fill_extents(DictActor& a, const DictWrite& w, uint64_t x);
  uint32_t make_record_room(DictActor& a, uint32_t size_class, bool erase);
  bool make_room(DictActor& a, uint32_t size_class, uint32_t n);
  Outcome attempt(DictActor& a, const DictWrite& w, Attempt* t, DictWritten* out, bool* again);
  Outcome refused(const DictWrite& w, const Found& old, DictWritten* out) const;
  bool build(const Attempt& t, const Pairs& pairs, const Found& old, bool erase, uint64_t* dropped);
  void announce(DictActor& a, const DictWrite& w, const Attempt& t, const Spot& spot,
                const Found& old, const uint64_t* dropped);
  void publish(DictActor& a, const DictWrite& w, const Attempt& t, const Found& old,
               DictWritten* out);
  void give_up(DictActor& a);
  void finish_write(DictActor& a, DictJournal& j, DictRow& row);

  bool grow(DictActor& a, const Spot& spot, const Pairs& pairs);
  bool split_node(DictActor& a, const Spot& spot, const Pairs& pairs);
  bool split_to_array(DictActor& a, const Spot& spot, const Pairs& pairs);
  bool fill_array(DictActor& a, const Spot& spot, const Pairs& pairs, uint32_t array);
  uint64_t begin_block(DictActor& a, std::atomic<uint64_t>& named);
  void use_chunk(DictActor& a, uint64_t ref, uint32_t size_class);
  void finish_split(DictActor& a, uint64_t name, uint64_t word);
  void end_split(DictActor& a, DictJournal& j);
  void give_up_split(DictActor& a, DictJournal& j, uint32_t row);
  void deepen(DictActor& a, uint32_t level);

  void reap_row(DictActor& reaper, uint32_t row);
  void reap_split(DictActor& reaper, uint32_t row);
  void reap_finish(DictActor& reaper, uint32_t row);
  void reap_write(DictActor& reaper, uint32_t row);
  bool was_split(const DictJournal& j) const;
  void release_split_block(DictActor& reaper, uint64_t s);
  bool was_published(DictActor& reaper, uint64_t x);
  bool is_in_bucket(uint32_t line) const;

  DictMemory memory_;
  DictLimits limits_{};
  uint64_t seed_ = 0, mask_ = 0;
  uint64_t history_ = 0;  // places
  uint32_t history_bits_ = 0;
};

}  // namespace heddle::shm
