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
//   D5  Pins of a record: LIVE (a bucket), HISTORY (a place, or its transaction's), MINE (its
//       writer is not done), PREVIOUS (what replaced it is in the history). Whoever takes the last
//       one away frees it.
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
// What has expired is not there: a reader says so and stores nothing; a writer publishes a kExpired
// record first, a whole write of its own, then begins anew. Decided by the clock as it is read: who
// read it just before the end may still change the entry just after. Evicting is the same with
// kEvicted. Limits: dict_limits.cc. Transactions: dict_transaction.cc.
//
// A frozen thread excludes nobody. It pins its record and block, what it replaces, a split's three
// blocks, a record of the history, its magazines, what is left of its grants. One that reaps keeps
// the row it reaps.
//
// Not here yet: giving back the pages of old levels of the directory and of extents that are
// carved (DictMemory::trim() gives back the others).
#pragma once

#include <cstddef>
#include <cstdint>

#include "proto/shm/dict_hash.h"
#include "proto/shm/dict_layout.h"
#include "proto/shm/dict_memory.h"
#include "proto/shm/dict_types.h"
#include "proto/shm/outcome.h"

namespace heddle::shm {

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

  /// kOk, kNotFound (if_present, if_version, if_value, or erasing what is not there), kExists
  /// (if_absent), kMismatch (if_version, if_value, a kind that nobody writes), kTooLarge (key or
  /// value over their limit, both together over max_bytes), kFull (max_entries or max_bytes, and
  /// nothing could be evicted), kMemoryExhausted, kCorrupt. Never blocks; who meets a transaction
  /// gives it some microseconds. What has expired is not there: its EXPIRE gets a revision first,
  /// then the change its own. What is evicted likewise.
  Outcome write(DictActor& a, const DictWrite& w, DictWritten* out);

  Outcome set(DictActor& a, const DictKey& key, const void* value, uint64_t bytes, DictKind kind,
              DictWritten* out = nullptr);
  Outcome erase(DictActor& a, const DictKey& key, DictWritten* out = nullptr);
  /// Adds to an int64 (kInt64) or a double (kDouble); a missing entry begins as *result. Refuses
  /// with kMismatch to pass a bound, or when the value is of another kind; *result is the new or
  /// the present value. Keeps the owner. Otherwise as write().
  Outcome increment(DictActor& a, const DictKey& key, int64_t by, int64_t least, int64_t most,
                    int64_t* result, DictWritten* out = nullptr,
                    DictExpiry expiry = DictExpiry::kKeep, int64_t expires_ms = 0);
  Outcome increment(DictActor& a, const DictKey& key, double by, double least, double most,
                    double* result, DictWritten* out = nullptr,
                    DictExpiry expiry = DictExpiry::kKeep, int64_t expires_ms = 0);
  /// Adds bytes at the end of a kString or kBytes; a missing entry is created. kMismatch if the
  /// value is of another kind than w.kind. w.if_version and w.if_present count; *total is how long
  /// the value is now. Keeps the owner. With kPolicy the expiry is kept.
  Outcome append(DictActor& a, const DictWrite& w, uint64_t* total, DictWritten* out);
  /// Another expiry for the same value: a change with a revision. kKeep is refused (kMismatch).
  /// kClear persists. kNotFound.
  Outcome touch(DictActor& a, const DictKey& key, DictExpiry expiry, int64_t expires_ms,
                DictWritten* out);
  /// Every key that is there now goes; each gets a revision of its own.
  Outcome clear(DictActor& a, uint64_t* cleared);

  /// All changes of the branch, with one revision, or none, whoever is killed when. kOk: it is done
  /// (also without any change); kExists, kNotFound, kMismatch, kTooLarge, kFull: operation
  /// `refused` of the branch says so, and nothing was changed; kOutOfRange: too many operations, or
  /// two writes of one key; kMemoryExhausted, kCorrupt. Others see the old entries until it is
  /// decided. Whoever meets it undecided waits for some microseconds, longer each time it had to
  /// begin again, and then undoes it; it begins again.
  Outcome transact(DictActor& a, const DictTransaction& t, DictTransacted* out);

  /// The next entries in the order of the hash. Each key that is there during the whole scan is
  /// given once. kOk with *n = 0 and cursor->done at the end; kTooLarge: one entry does not fit
  /// (*needed bytes of room would do).
  Outcome scan(DictCursor* cursor, DictScanned* page, size_t page_max, std::byte* room,
               uint64_t room_bytes, bool with_values, size_t* n, uint64_t* needed) const;

  uint64_t len() const;    // exact when nothing is in flight; counts what no sweep has met yet
  uint64_t bytes() const;  // of keys and values, likewise
  uint64_t hash_of(const DictKey& key) const { return hash(key.data, key.bytes).high(); }
  /// The last revision that is done.
  uint64_t revision() const;
  uint64_t oldest_revision() const;

  /// The change with this revision, or change `at` of a transaction (kNotFound: it has not so
  /// many). kOk, kEmpty (not yet), kOutOfRange (no longer: start at
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
  /// Some thread is in the middle of a write. Looks, and stores nothing.
  bool is_busy() const;
  /// Changes that others see get their revisions, although the threads that made them are stopped.
  void help(DictActor& helper);
  /// Makes the oldest `places` of the history readable no longer. Returns how many there were.
  [[gnu::noinline]] uint32_t release_history(DictActor& a, uint32_t places);
  /// False: no entry ever had an expiry.
  bool may_expire() const { return memory_.header().expiring.load() != 0; }
  /// Publishes EXPIRE for what has expired in the next `buckets` buckets from *cursor on, which
  /// moves on; cursor->done at the end. {hash_of(key), 0} as cursor and one bucket: that key's.
  /// kOk, kMemoryExhausted (go on later from the same cursor), kCorrupt.
  Outcome expire(DictActor& reaper, int64_t now_ms, DictCursor* cursor, uint32_t buckets,
                 DictSwept* swept);
  /// Likewise erases the entries of one owner, who is gone for good. From {0, 0} to the end, all of
  /// it; without a walk if he never owned anything.
  Outcome erase_owned(DictActor& reaper, uint64_t owner, DictCursor* cursor, uint32_t buckets,
                      DictSwept* swept);

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
    bool pending = false;          // part of a transaction
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
  struct RecordPlan {
    uint64_t value_bytes, list, words;
    uint32_t size_class;
    uint8_t flags;
    bool large;
  };
  struct Victim;
  struct Sought;
  struct Item;
  struct Deal;
  struct Group;
  static constexpr uint32_t kGroupPairs = 16;  // of a bucket, while its transaction adds to it
  // Spare portions of its grants after which a row gives some back, and how many it keeps.
  static constexpr int64_t kGiveBackOver = 3, kKeepPortions = 1;

  DictHash hash(const void* key, uint32_t bytes) const { return {key, bytes, seed_, mask_}; }
  bool find(const DictHash& h, Spot* spot) const;
  bool find_in_array(const DictHash& h, uint32_t depth, uint32_t line, Spot* spot) const;
  // Not on the way of most: get() takes in all that it calls but these.
  [[gnu::noinline]] void find_pending(Spot* spot) const;
  static bool unchanged(const Spot& spot);
  void load_pairs(uint32_t block, Pairs* pairs) const;
  bool view(uint32_t line, View* v) const;
  bool copy_value(const View& v, std::byte* to) const;
  void describe(const View& v, DictEntry* e) const;
  int64_t expires_of(const View& v) const;
  uint64_t owner_of(const View& v) const;
  [[gnu::noinline]] bool has_expired(const View& v) const;
  bool is_there(const View& v) const {
    return is_value(v.kind) && ((v.flags & kRecordExpires) == 0 || !has_expired(v));
  }
  [[gnu::noinline]] bool has_value(const View& v, const DictWrite& w) const;
  bool copy_key(uint32_t line, std::byte* room, DictKey* key) const;
  Outcome look(DictActor& a, const DictKey& key, View* v);
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

  [[gnu::noinline]] void settle_list(DictActor& a, uint64_t word, uint32_t line);

  uint8_t words_for(const DictWrite& w) const;
  void copy_part(const DictWrite& w, const View* base, uint64_t from, uint64_t bytes,
                 std::byte* to) const;
  bool plan_record(DictActor& a, const DictWrite& w, const View* base, RecordPlan* p);
  void fill_record(const DictWrite& w, const View* base, const RecordPlan& p, uint32_t line,
                   uint64_t generation);
  [[gnu::noinline]] Outcome fill_extents(DictActor& a, const DictWrite& w, const View* base,
                                         uint64_t x);
  [[gnu::noinline]] void settle_expiry(const DictWrite& w, uint32_t line, bool there,
                                       const View& old);
  uint32_t make_record_room(DictActor& a, uint32_t size_class, bool erase);
  bool make_room(DictActor& a, uint32_t size_class, uint32_t n);

  /// A write that this dict never takes.
  Outcome unfit(const DictWrite& w, uint64_t bytes) const {
    if (w.key.bytes > limits_.max_key_bytes || bytes > limits_.max_value_bytes ||
        bytes + w.key.bytes > limits_.max_bytes) {
      return Outcome::kTooLarge;
    }
    return w.kind > DictKind::kCleared ? Outcome::kMismatch : Outcome::kOk;
  }
  Outcome prepare(DictActor& a, const DictWrite& w, Attempt* t);
  Outcome attempt(DictActor& a, const DictWrite& w, Attempt* t, DictWritten* out, bool* again);
  Outcome refused(const DictWrite& w, bool there, bool equal, uint64_t rev, DictWritten* out) const;
  bool build(const Attempt& t, const Pairs& pairs, const Found& old, bool erase, uint64_t* dropped);
  uint64_t link_record(const DictWrite& w, uint32_t line, const Found& old, bool there);
  void count(const DictWrite& w, bool there, const View& old, uint64_t bytes, uint64_t* entries,
             uint64_t* more) const;
  void announce(DictActor& a, const DictWrite& w, const Attempt& t, const Spot& spot,
                const Found& old, const uint64_t* dropped);
  void publish(DictActor& a, const DictWrite& w, const Attempt& t, const Found& old,
               DictWritten* out);
  [[gnu::noinline]] void give_up(DictActor& a);
  void keep_previous(DictActor& a, uint64_t x, uint64_t p);
  void finish_write(DictActor& a, DictJournal& j, DictRow& row);
  Outcome write_once(DictActor& a, const DictWrite& w, Attempt* t, DictWritten* out);
  Outcome write_onto(DictActor& a, const DictWrite& w, const View* base, DictWritten* out);
  [[gnu::noinline]] Outcome take_out(DictActor& a, const DictKey& key, DictKind why,
                                     uint64_t revision);

  bool fits(DictActor& a, uint64_t entries_more, uint64_t bytes_more) {
    return (static_cast<int64_t>(entries_more) <= 0 && static_cast<int64_t>(bytes_more) <= 0) ||
           fits_within(a, entries_more, bytes_more);
  }
  bool fits_within(DictActor& a, uint64_t entries_more, uint64_t bytes_more);
  uint64_t limit_of(uint32_t kind) const {
    return kind == 0 ? limits_.max_entries : limits_.max_bytes;
  }
  int64_t headroom(uint32_t row, uint32_t kind) const;
  void settle_transfer(uint32_t kind, uint64_t w);
  [[gnu::noinline]] bool transfer(uint32_t row, uint32_t kind, int64_t over, int64_t keep,
                                  uint64_t more);
  void give_back(uint32_t row, int64_t over, int64_t keep);
  [[gnu::noinline]] void note_age(uint64_t high) const;
  void weigh(const View& v, uint64_t high, Victim* least) const;
  void pick_victim(DictActor& a, uint64_t not_high, Victim* least) const;
  Outcome evict(DictActor& a, uint64_t not_high, uint64_t entries_more, uint64_t bytes_more);
  Outcome sweep_bucket(DictActor& a, const Sought& sought, DictCursor* cursor, DictSwept* swept);

  DictListEntry* list_entry(uint32_t line, uint32_t i) const {
    if (sizeof(DictRecord) + uint64_t{i + 1} * sizeof(DictListEntry) > memory_.room(line)) {
      return nullptr;
    }
    return reinterpret_cast<DictListEntry*>(memory_.record(line).body()) + i;
  }
  std::atomic<uint64_t>* list_bucket(uint32_t line, uint32_t entries, uint32_t i) const {
    const uint64_t at = sizeof(DictRecord) + uint64_t{entries} * sizeof(DictListEntry);
    if (at + uint64_t{i + 1} * 8 > memory_.room(line)) return nullptr;
    return reinterpret_cast<std::atomic<uint64_t>*>(memory_.chunk(line) + at) + i;
  }
  DictDecision decided(uint64_t list, const Spot& spot);
  bool number_members(DictActor& a, const Spot& spot, uint64_t list, uint32_t block);
  [[gnu::noinline]] void meet(DictActor& a, const Spot& spot);
  void close_bucket(DictActor& a, uint64_t pending, bool made, uint32_t row);
  void close_change(DictActor& a, uint64_t x, uint64_t replaced);
  uint64_t finish_transaction(DictActor& a, uint32_t owner);
  bool item_before(const Deal& d, const Item& x, const Item& y) const;
  static const DictKey& item_key(const Deal& d, const Item& i);
  DictHash item_hash(const Deal& d, const Item& i) const;
  int order_of(const View& v, const void* bytes, uint64_t n) const;
  bool holds(const DictCompare& c, bool there, const View& v) const;
  Outcome choose_branch(DictActor& a, Deal* d);
  Outcome begin_list(DictActor& a, uint64_t tries, Deal* d);
  Outcome make_changes(DictActor& a, Deal* d);
  void weigh_item(const Deal& d, const Item& item, Group* g);
  void weigh_write(const Item& item, const Found& old, bool there, DictOperation* op, Group* g);
  void drop_deleted(Group* g);
  bool look_at_group(DictActor& a, const Deal& d, uint32_t from, Group* g);
  bool make_pending(DictActor& a, const Deal& d, const Group& g);
  Outcome lock_group(DictActor& a, Deal* d, uint32_t from, uint32_t* end);
  uint32_t close_ranks(DictActor& a, Deal* d);
  Outcome strike(DictActor& a, Deal* d);
  void tell(const Deal& d, uint64_t revision, DictTransacted* out) const;

  [[gnu::noinline]] bool grow(DictActor& a, const Spot& spot, const Pairs& pairs);
  bool split_node(DictActor& a, const Spot& spot, const Pairs& pairs);
  bool split_to_array(DictActor& a, const Spot& spot, const Pairs& pairs);
  bool fill_array(DictActor& a, const Spot& spot, const Pairs& pairs, uint32_t array);
  uint64_t begin_block(DictActor& a, std::atomic<uint64_t>& named);
  void use_chunk(DictActor& a, uint64_t ref, uint32_t size_class);
  [[gnu::noinline]] void finish_split(DictActor& a, uint64_t name, uint64_t word);
  void end_split(DictActor& a, DictJournal& j);
  void give_up_split(DictActor& a, DictJournal& j, uint32_t row);
  void deepen(DictActor& a, uint32_t level);

  template <class Dead>
  void reap_rows(DictActor& reaper, Dead dead);
  void reap_row(DictActor& reaper, uint32_t row);
  void reap_split(DictActor& reaper, uint32_t row);
  void reap_finish(DictActor& reaper, uint32_t row);
  void reap_write(DictActor& reaper, uint32_t row);
  bool was_split(const DictJournal& j) const;
  void release_split_block(DictActor& reaper, uint64_t s);
  bool was_published(DictActor& reaper, uint64_t x);
  bool is_in_bucket(uint32_t line) const;
  void help_write(DictActor& helper, uint64_t x);
  void help_transaction(DictActor& helper, uint64_t list);

  DictMemory memory_;
  DictLimits limits_{};
  uint64_t seed_ = 0, mask_ = 0;
  uint64_t history_ = 0;  // places
  uint32_t history_bits_ = 0;
  uint32_t portion_bits_[2] = {};
  uint32_t ages_ = 0;            // bits of the hash that name an age; 0: none are kept
  bool policy_expires_ = false;  // a write that does not say may have an expiry
};

}  // namespace heddle::shm
