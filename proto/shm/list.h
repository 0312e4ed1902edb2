// A list in shared memory: what every client on the machine and the broker call.
//
// List is a view over a mapped segment. It allocates nothing, throws nothing, logs nothing.
// Functions that write take a ListActor, one per thread; the others may be called by anybody, also
// over a PROT_READ mapping, and store nothing. Layout: list_layout.h. Memory: dict_memory.h.
//
// Truth: one word, the root, names an immutable head; the head names an immutable counted tree of
// records and has the last up to 26 of them itself. Every change makes a new head, new nodes on one
// path of the tree if need be, at most one record, and publishes all of it by one CAS of the root.
//
// Invariants
//   L1  A reference has the generation of what it names, so the root never has the same value
//       twice: a CAS that succeeds found the very list that the change was made from. 0, the root
//       at first, stands for an empty list of revision 0.
//   L2  What a head names, directly or not, is USED as long as the head is the root. What a change
//       replaced is given back once, by generation: by its writer, or by anybody who has found no
//       other memory.
//   L3  A chunk that is found in the same life, and USED, after it was copied, was what the
//       reference meant while it was copied. So a reader needs no root that stays: it reads the
//       list as it was when it read the root, chunk by chunk, and begins anew if one is gone.
//   L4  Small chunks that were replaced rest: a thread gives them back when it has replaced
//       kListResting (32) more. A reader loses one only if a thread makes some 16 changes between
//       two of its looks, or if memory is used up.
//   L5  Whoever replaces a head marks it first: then its writer's reaper knows that it was
//       published, when the root no longer tells.
//   L6  The journal names a chunk before its stamp says USED, and what a change replaces before the
//       CAS.
//
// A change, step by step, and what is left if its thread stops there
//   1  phase RUN; record CACHED(me), filled in; journal; USED       reaper: gives it back
//   2  root and head read; conditions decided; nodes made           likewise
//   3  new head made; journal: it, what it replaces; old one marked likewise: the mark says no more
//                                                                   than what is true
//   4  CAS of the root                                              the change is there
//   5  what was replaced is laid to rest, what rested before goes   the reaper, by generation
//   6  IDLE
// A lost CAS: `head` is taken out of the journal, the nodes go back, 2. clear() names the whole old
// tree as garbage; its nodes go children first, so whoever goes on begins at its top again; when
// memory is used up, others help.
//
// The reaper decides for a change in phase RUN: published if its head is the root, or is marked, or
// is in another life (the root is read first). It records that in the dead thread's journal before
// it acts, and each act is by generation, so another reaper may do it again.
//
// A frozen thread excludes nobody. It pins what it made, what it replaced, what rests, and its
// magazines: some 100 chunks at most.
//
// What readers are promised: they store nothing and wait for nobody. A get begins anew only if,
// between reading the reference of a chunk and having copied it, the chunk was replaced and 32 more
// as well, by one thread; a page of a slice halves itself each time. Values of over 4 KiB do not
// rest: a get of one that is replaced meanwhile begins anew. So a reader is lock-free, and in
// practice not held up by any number of small changes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "proto/shm/dict_memory.h"
#include "proto/shm/list_layout.h"
#include "proto/shm/outcome.h"

namespace heddle::shm {

using ListActor = DictActor;

/// An element; `room` is filled in by the caller.
struct ListEntry {
  std::byte* room = nullptr;  // where the value is copied
  uint64_t room_bytes = 0;
  uint64_t bytes = 0;     // of the value; over room_bytes: nothing was copied
  uint64_t revision = 0;  // of the change that put it there
  uint8_t kind = 0;       // DictKind, of a value
};

inline constexpr uint64_t kListAnyRevision = UINT64_MAX;
inline constexpr int64_t kListEnd = INT64_MAX;

enum class ListOp : uint8_t { kInsert, kSet, kRemove, kClear };

struct ListChange {
  ListOp op = ListOp::kInsert;
  // From 0; below 0: from the end. kInsert: before that element; beyond an end: at that end.
  int64_t index = kListEnd;
  const void* value = nullptr;
  uint64_t bytes = 0;
  uint8_t kind = 5;                         // DictKind::kBytes
  uint64_t if_revision = kListAnyRevision;  // that the list must have
  // kSet, kRemove: where what was there is copied; may be null. kTooLarge if it has no room, and
  // nothing is changed.
  ListEntry* previous = nullptr;
};

struct ListWritten {
  uint64_t revision = 0;  // of the list after it; refused: as it is
  uint64_t length = 0;    // likewise
  uint64_t index = 0;     // from 0, of the element
};

struct ListInfo {
  uint64_t length = 0, bytes = 0, revision = 0;
};

struct ListPage {
  uint64_t revision = 0;  // all elements of a page are of this one
  uint64_t length = 0;    // of the list then
  size_t n = 0;
  uint64_t needed = 0;  // kTooLarge: room for the first element
};

/// Null if the limits are usable, else which one is not ("max_len", ...).
const char* list_limits_invalid(const ListLimits& limits);
/// Bytes of the memfd for these limits.
uint64_t list_segment_bytes(const ListLimits& limits);
/// Leading bytes that must be backed before list_format().
uint64_t list_control_bytes(const ListLimits& limits);
/// Broker: lays out an empty list, of revision 0, in a fresh zeroed memfd.
void list_format(void* base, const ListLimits& limits, uint64_t object_id);

class List {
 public:
  List() = default;

  /// Checks magic, version and geometry against the size. `fd` is kept (not owned) to reserve
  /// memory; -1 for a read-only mapping. kCorrupt if they disagree.
  static Outcome attach(void* base, uint64_t bytes, int fd, List* out);

  ListLimits limits() const { return limits_; }
  uint64_t object_id() const { return memory_.header().segment.object_id; }

  /// Claims a row for the actor's thread. kTooManyThreads when all are taken.
  Outcome enter(ListActor& a);
  void leave(ListActor& a);

  /// Copies one element into out->room. Below 0: from the end. kOk, kOutOfRange, kTooLarge
  /// (out->bytes tells the room it needs), kCorrupt. Never blocks.
  Outcome get(int64_t index, ListEntry* out) const;

  /// Up to `most` elements from `from` on (below 0: from the end), all of one revision, packed into
  /// `room`. Fewer if the room is used up, or if the list changes so fast that they cannot be had
  /// at once. kOk with n = 0 at the end; kTooLarge: the first does not fit; kMismatch: the list has
  /// not `if_revision`; kCorrupt.
  Outcome page(int64_t from, ListEntry* entries, size_t most, std::byte* room, uint64_t room_bytes,
               uint64_t if_revision, ListPage* out) const;

  /// All at one moment. kOk, kCorrupt.
  Outcome info(ListInfo* out) const;
  uint64_t len() const;
  uint64_t revision() const;

  /// kOk; kFull (max_len or max_bytes would be passed), kEmpty (kRemove of an empty list),
  /// kOutOfRange (no such element), kMismatch (if_revision), kTooLarge (the value is over its
  /// limit, or previous has no room), kMemoryExhausted, kCorrupt. Never blocks. A thread that is
  /// killed after the CAS and before it has copied what it removed takes that with it.
  Outcome change(ListActor& a, const ListChange& c, ListWritten* out);

  /// Waits until the list has that revision or a later one. kOk, kTimedOut, kInterrupted. Needs a
  /// writable mapping, but no row.
  Outcome wait_change(ListActor& a, uint64_t revision, int64_t deadline_ns);

  // ---- broker only ----
  /// Repairs what the threads of `dead` left; idempotent; a reaper that dies is reaped likewise.
  void reap(ListActor& reaper, uint16_t dead);
  /// One thread of a living session has ended.
  void reap_thread(ListActor& reaper, uint16_t owner, uint16_t thread);

  DictMemory& memory() { return memory_; }

 private:
  friend class ListAudit;
  struct Head {                           // a private copy
    uint64_t revision, bytes, tree, top;  // tree: elements in it
    uint32_t height, n;
    uint64_t tail[kListRefs + 1];
    uint64_t length() const { return tree + n; }
  };
  struct Node {       // likewise, and one more than fits
    uint32_t height;  // 1: a leaf
    uint32_t n;
    uint64_t ref[kListRefs + 1];
    uint32_t count[kListRefs + 1];  // of an inner node
    bool leaf() const { return height == 1; }
  };
  struct Step {  // of a path from the top down
    uint64_t ref;
    uint32_t at;
    Node node;
  };
  struct Path;
  struct Made {  // of one node that was too full
    uint32_t n;
    uint64_t ref[2];
    uint32_t count[2];
  };
  struct View {  // of a record
    uint64_t bytes, revision;
    uint8_t kind;
    const std::byte* value;  // null if it is in extents
    const std::atomic<uint32_t>* list;
  };
  struct Attempt;

  ListHeader& header() const { return reinterpret_cast<ListHeader&>(memory_.header()); }
  ListJournal& journal(uint32_t row) const;
  /// Any number is harmless: there is room for a whole node wherever it leads.
  template <class T>
  T& chunk(uint64_t ref) const {
    const uint32_t line = ref_line(ref);
    return *reinterpret_cast<T*>(memory_.chunk(memory_.room(line) >= sizeof(ListHead) ? line : 0));
  }
  bool alive(uint64_t ref) const;

  bool load_head(uint64_t root, Head* h) const;
  bool load_node(uint64_t ref, uint32_t height, Node* node) const;
  bool find(uint64_t root, int64_t index, uint64_t* ref, Outcome* none) const;
  bool find_in_tree(uint64_t top, uint32_t height, uint64_t index, uint64_t* ref) const;
  bool load_leaf_of(const Head& h, uint64_t index, Node* leaf, uint32_t* at) const;
  bool view(uint64_t ref, View* v) const;
  bool copy_value(const View& v, std::byte* to) const;
  struct Filling;
  bool fill_page(const Head& h, uint64_t from, Filling* f) const;
  bool put_on_page(uint64_t ref, Filling* f) const;

  uint64_t take(ListActor& a, Attempt* t, uint64_t bytes);
  uint32_t find_room(ListActor& a, uint64_t bytes);
  void use(ListActor& a, uint64_t ref);
  uint64_t make_node(ListActor& a, Attempt* t, const Node& node, uint32_t from, uint32_t n);
  uint64_t make_head(ListActor& a, Attempt* t, const Head& h);
  bool make_nodes(ListActor& a, Attempt* t, const Step& step, Made* made);
  void retire(Attempt* t, uint64_t ref);

  bool descend(const Head& h, uint64_t index, Path* path) const;
  bool descend_last(const Head& h, uint32_t height, Path* path) const;
  bool climb(ListActor& a, Attempt* t, Path* path, bool removing);
  bool put_on_top(ListActor& a, Attempt* t, const Made& made);
  bool merge(Attempt* t, Step* parent, Step* child);
  bool push_tail(ListActor& a, Attempt* t);
  bool pull_tail(ListActor& a, Attempt* t);
  bool edit_insert(ListActor& a, Attempt* t, uint64_t index);
  bool edit_set(ListActor& a, Attempt* t, uint64_t index);
  bool edit_remove(ListActor& a, Attempt* t, uint64_t index);
  void edit_clear(Attempt* t);

  void begin(ListActor& a, const ListChange& c);
  Outcome prepare(ListActor& a, const ListChange& c, Attempt* t);
  bool fill_extents(ListActor& a, const ListChange& c, uint64_t x);
  Outcome refused(const ListChange& c, const Head& h, ListWritten* out) const;
  bool edit(ListActor& a, const ListChange& c, Attempt* t, uint64_t index);
  Outcome attempt(ListActor& a, const ListChange& c, Attempt* t, ListWritten* out, bool* again);
  bool publish(ListActor& a, Attempt* t, uint64_t head);
  bool mark_replaced(uint64_t head);
  void take_back(ListActor& a, uint32_t keep);
  void give_up(ListActor& a);
  void finish(ListActor& a, const ListChange& c, const Attempt& t);
  void rest(ListActor& a, ListJournal& j, uint64_t ref);
  void end_rest(ListActor& a, ListJournal& j);
  void release(ListActor& a, uint64_t ref);
  void release_tree(ListActor& a, uint64_t ref, uint32_t height, uint32_t* budget);
  void release_garbage(ListActor& a, ListJournal& j);
  bool help_others(ListActor& a);
  void wake_watchers();

  void reap_row(ListActor& reaper, uint32_t row);
  bool was_published(const ListJournal& j) const;

  DictMemory memory_;
  ListLimits limits_{};
  uint64_t journals_at_ = 0;
};

}  // namespace heddle::shm
