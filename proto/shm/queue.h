// A queue in shared memory: what every client on the machine and the broker call.
//
// Queue is a view over a mapped segment. It allocates nothing, throws nothing, logs nothing. All
// functions are thread-safe as long as every thread brings its own Actor. Blocking functions take a
// deadline on CLOCK_MONOTONIC in nanoseconds (kTry: never wait, kForever) and sleep on futexes of
// the segment, at most one second at a time.
//
// Layout: queue_layout.h. Slots: queue_ring.h. Bodies: chunk_pool.h. The accounts:
//
//   Every thread has a Row with counters that only it writes; sums over all rows are the queue's
//   totals. A put journals its row's counters, does its one CAS, then stores the new counters; the
//   reaper sets the counters of a dead thread to what the slot word proves. A row that changes
//   hands keeps its counters. max_len is checked by position: a claim at p is allowed while p -
//   head - skipped + returned < max_len, and head only grows, so two producers cannot both pass.
//   max_bytes and max_leases are checked against the sums: a thread announces in its row what it is
//   about to use, then adds up all rows; so two may refuse where one would fit, but never exceed.
//   It announces up to 1/64 of the room (64 KiB at most) ahead, which an idle thread therefore can
//   hold back; a thread that waits or finds no room gives it back.
//
// Crash story above the ring: the journal line names the slot, the chunk and the counters before
// the CAS.
//   put      chunk QUEUED(id) before the publish. Dead: claimed and no longer WRITING/TOMB(dead) =
//            put; otherwise the claim is withdrawn and the chunk freed.
//   take     auto, into the caller's room: copy, then one CAS. Dead after it: the message is gone,
//            as auto promises, and its chunk still says QUEUED(id).
//            lease: LEASED(dead) -> RETURNED(count + 1), or BURIED.
//   ack      slot first, then the chunk. Dead between: the chunk still says QUEUED(id) and no slot
//            holds id.
//   wakes    a dead waker's wakes are repeated for every object it had open; a frozen one's by the
//            taker of the next message and by the broker's rescan.
#pragma once

#include <cstddef>
#include <cstdint>

#include "proto/shm/chunk_pool.h"
#include "proto/shm/cpu_pause.h"
#include "proto/shm/death_info.h"
#include "proto/shm/journal.h"
#include "proto/shm/outcome.h"
#include "proto/shm/queue_grant.h"
#include "proto/shm/queue_layout.h"
#include "proto/shm/queue_ring.h"

namespace heddle::shm {

inline constexpr uint32_t kRowNone = 0xffffffff;

enum class MessageKind : uint8_t { kData = 0, kText = 1, kJson = 2, kJsonText = 3 };

struct MessageIn {
  const void* data;
  uint64_t length;  // bytes
  uint8_t kind;     // MessageKind
};

/// One thread's hands on one queue. Fill in the first five, then enter().
struct Actor {
  uint16_t owner = 0;              // the session's number
  uint16_t thread = 0;             // line in the session page
  JournalLine* journal = nullptr;  // that line
  int doorbell_fd = -1;            // write end of the broker's pipe; -1 in the broker itself
  bool interruptible = false;      // return kInterrupted on EINTR instead of waiting on
  int64_t patience_ns = kForever;  // no call waits longer; it ends with kTimedOut
  uint32_t row = kRowNone;
  // Private caches.
  uint64_t head_seen = 0;
  uint64_t bytes_allowed = 0;
  uint64_t leases_allowed = 0;
  uint64_t bytes_out_seen = 0;  // sums over all rows that are no more than the truth
  uint64_t ends_seen = 0;
  uint32_t spins_failed = 0;
  uint32_t burst = 0;  // calls in a row that did not have to wait
  uint32_t rescanned_to = 0;
  ChunkCursors cursors;
};

/// What identifies one delivery.
struct Ticket {
  uint64_t id = 0;
  uint64_t place = 0;
  uint32_t chunk = kChunkNone;
  uint16_t owner = 0;
  uint16_t reserved = 0;
  friend bool operator==(const Ticket&, const Ticket&) = default;
};
static_assert(sizeof(Ticket) == 24);

enum class TakeMode : uint8_t { kAuto, kLease };

struct Taken {
  Ticket ticket;
  uint64_t id;
  const std::byte* data;  // in `room`, or in shared memory until ack/nack
  uint64_t length;
  uint8_t kind;
  uint8_t count;                  // failed deliveries before this one
  bool leased;                    // ack() or nack() must follow
  std::byte* room = inline_copy;  // kInlineBytes for a body that lies in its slot; 8-aligned
  // Where an auto take copies a body that has a chunk, if it fits: then nothing is leased.
  std::byte* large_room = nullptr;
  uint64_t large_room_bytes = 0;
  alignas(8) std::byte inline_copy[kInlineBytes];
};

struct Loan {
  std::byte* data = nullptr;
  uint64_t capacity = 0;
  uint32_t chunk = kChunkNone;
};

/// Selects messages by state; bits may be combined.
enum StateMask : unsigned {
  kReadyMask = 1,
  kLeasedMask = 2,
  kReturnedMask = 4,
  kBuriedMask = 8,
  kAllMask = 15
};

struct BrowseRow {
  Ticket ticket;
  uint64_t id;
  uint64_t length;
  SlotState state;
  uint8_t kind;
  uint8_t count;
  uint16_t owner;      // holder of a leased message
  uint32_t leased_ms;  // low half of CLOCK_MONOTONIC_COARSE in ms at the lease
};

struct QueueCounts {
  uint64_t ready, leased, returned, buried, revoked;
  uint64_t bytes;  // of all messages that are not acknowledged
  uint64_t puts, takes, drops;
  uint32_t producers;
  bool closed;
  uint64_t size() const { return ready + returned; }
  uint64_t unfinished() const { return ready + leased + returned; }
};

/// The words of a queue segment, as the ring wants them.
class QueueMemory {
 public:
  static constexpr uint32_t kSlots = kSlotsPerSegment;
  QueueMemory() = default;
  /// The geometry is a private copy: what a peer writes into the header later moves nothing.
  QueueMemory(std::byte* base, const QueueGeometry& geometry, int fd)
      : base_(base), geometry_(geometry), fd_(fd) {}

  QueueHeader& header() const { return *reinterpret_cast<QueueHeader*>(base_); }
  Slot& slot(uint32_t segment, uint32_t index) const {
    return reinterpret_cast<Slot*>(base_ + geometry_.slots_at)[segment * kSlots + index];
  }
  SegmentControl& control(uint32_t segment) const {
    return reinterpret_cast<SegmentControl*>(base_ + geometry_.segments_at)[segment];
  }
  Row& row(uint32_t i) const { return reinterpret_cast<Row*>(base_ + geometry_.rows_at)[i]; }
  uint32_t segments() const { return geometry_.segments; }
  uint32_t steps_max() const { return 4 * kSlots * segments(); }
  auto& tail_hint() const { return header().tail.place; }
  auto& head_hint() const { return header().head.place; }
  auto& returned(uint32_t segment, uint32_t half) const { return control(segment).returned[half]; }
  auto& returned_summary() const { return header().returned_summary; }
  auto& skips_at() const { return header().skips_at; }
  auto& segment_skips(uint32_t segment) const { return control(segment).skips_at; }
  auto& skips_before(uint32_t segment) const { return control(segment).skips_before; }
  auto& segment_word(uint32_t segment) const { return control(segment).word; }
  auto& next(uint32_t segment) const { return control(segment).next; }
  /// How many may be backed; with the one that is kept for an END.
  uint32_t segments_granted(bool with_reserve) const {
    const uint32_t granted = header().segments_granted.load(std::memory_order_relaxed);
    return granted < segments() ? granted + (with_reserve ? 1 : 0) : segments();
  }
  uint32_t segment_hint() const;
  void segment_became_free(uint32_t segment);
  void segment_was_claimed(uint32_t segment);
  bool crowded(uint32_t segment, uint64_t sequence) const {
    return sequence != 0 && control(segment).crowded_at.load(std::memory_order_relaxed) == sequence;
  }
  void mark_crowded(uint32_t segment, uint64_t sequence) {
    control(segment).crowded_at.store(sequence, std::memory_order_relaxed);
  }
  bool back_segment(uint32_t segment);
  bool back_row(uint32_t row);
  /// Waits up to 2 us for a producer to finish. True if the word changed.
  bool wait_for_publish(std::atomic<uint64_t>& word, uint64_t raw);

 private:
  std::byte* base_ = nullptr;
  QueueGeometry geometry_{};
  int fd_ = -1;
};

/// Bytes of the memfd for these limits.
uint64_t queue_segment_bytes(const QueueLimits& limits);
/// Leading bytes that must be backed before queue_format().
uint64_t queue_control_bytes(const QueueLimits& limits);
/// Null if the limits are usable, else which one is not ("max_len", ...).
const char* queue_limits_invalid(const QueueLimits& limits);
/// Broker: lays out a queue in a fresh zeroed memfd. Without a broker all is granted.
void queue_format(void* base, const QueueLimits& limits, uint64_t object_id,
                  const QueueGrant& grant = kGrantAll);

class Queue {
 public:
  Queue() = default;

  /// Checks magic, version and geometry against the size. `fd` is kept (not owned) to reserve
  /// memory; -1 in tests over anonymous memory. kCorrupt if they disagree.
  static Outcome attach(void* base, uint64_t bytes, int fd, Queue* out);

  QueueLimits limits() const;  // created limits with the live ones filled in
  uint64_t object_id() const { return header().segment.object_id; }
  /// Broker: changes max_len, max_bytes (both within what was created), max_leases, max_deliveries.
  void set_limits(const QueueLimits& limits);

  /// Claims a row for the actor's thread. kTooManyThreads when all are taken.
  Outcome enter(Actor& a);
  void leave(Actor& a);

  Outcome put(Actor& a, const MessageIn& m, int64_t deadline_ns, uint64_t* id);
  /// Puts messages in order until one fails; *done tells how many are in. One wake at the end.
  Outcome put_many(Actor& a, const MessageIn* m, size_t n, int64_t deadline_ns, size_t* done,
                   uint64_t* ids);
  /// Memory to write a body into; commit() publishes it, discard() gives it up.
  Outcome loan(Actor& a, uint64_t bytes, Loan* out);
  Outcome commit(Actor& a, Loan& loan, uint64_t length, uint8_t kind, int64_t deadline_ns,
                 uint64_t* id);
  void discard(Actor& a, Loan& loan);

  Outcome take(Actor& a, TakeMode mode, Taken* out, int64_t deadline_ns);
  Outcome ack(Actor& a, const Ticket& t);
  /// Back to its original position. A counted return that reaches max_deliveries buries the
  /// message.
  Outcome nack(Actor& a, const Ticket& t, bool counted);
  /// Counts as a failed delivery, like the return that buries.
  Outcome bury(Actor& a, const Ticket& t);

  Outcome shutdown(Actor& a, bool immediate);
  Outcome reopen(Actor& a);
  /// A producer registration of the actor's session; `cell` names it. `key` (kProducerKeyMax at
  /// most) is the caller's own name for it.
  Outcome register_producer(Actor& a, uint32_t* cell, uint64_t key = 0);
  /// The first registration at or after *cell; false when there is none. Touches nothing.
  bool next_producer(uint32_t* cell, uint16_t* owner, uint64_t* key) const;
  void unregister_producer(Actor& a, uint32_t cell);
  /// Waits until nothing is ready, leased or returned.
  /// kInterrupted also when the caller has told its wait in the journal line (wait_note.h) and the
  /// broker has ended it there.
  Outcome join(Actor& a, int64_t deadline_ns);
  /// Whoever joins looks again.
  void wake_joiners(Actor& a);

  uint64_t size() const;        // ready + returned; exact when nothing is in flight
  uint64_t unfinished() const;  // ready + returned + leased
  bool closed() const;
  QueueCounts counts() const;
  /// Rows of messages with id > after_id in id order, at most n. Touches nothing.
  size_t browse(BrowseRow* rows, size_t n, uint64_t after_id, unsigned states) const;
  /// Copies up to `capacity` bytes of a browsed body; false if the message moved on meanwhile.
  bool read_body(const BrowseRow& row, void* to, uint64_t capacity) const;
  /// BURIED -> RETURNED with count 0, oldest first.
  Outcome kick(Actor& a, uint32_t max, uint32_t* kicked);
  /// Removes messages in these states; holders of leased ones get kLeaseLost.
  Outcome purge(Actor& a, unsigned states, uint64_t* purged);
  Outcome purge_one(Actor& a, uint64_t id);
  /// After kMemoryExhausted, whoever called: how much must be granted in all (0: does not matter)
  /// before it is worth trying again. Nothing of either: another grant would not help, or came just
  /// now. Told once.
  QueueGrant lacking(Actor& a) const;

  // ---- broker only ----
  /// Repairs every word that names `dead`. `lines` are its journal lines. Idempotent; a reaper that
  /// dies is repaired like any other actor. Ends by waking everybody. When `lines` are copies,
  /// `origins` are what they were copied from: decisions are written there too (and only written).
  void reap(Actor& reaper, uint16_t dead, JournalLine* lines, size_t line_count,
            const DeathInfo& info, JournalLine* const* origins = nullptr);
  /// The id of the message that the dead writer of `line` published with its last put here, which
  /// it began with `request` set; 0 if none. Decided once: a put that was not published now will
  /// never be. Before reap().
  uint64_t decide_put(JournalLine& line) const;
  /// The net under lost wakes and late hints; call every 50 ms while somebody waits.
  void rescan(Actor& reaper);
  /// A death may leave the totals too high: when others were at the dead one's slot before the
  /// reaper, the word does not tell any more whether it was through. When nothing is in the queue
  /// they are set right; the caller knows that no journal line of a living thread names this queue,
  /// for such a thread may have done its deed and not counted it yet. True: they are right.
  bool settle(Actor& reaper);
  /// Gives memory of free extents back; returns bytes.
  uint64_t trim(Actor& reaper) { return pool_.trim(reaper.owner); }
  /// Remote callers wait (bits of DirtyBits): clients then set dirty and ring the doorbell.
  void arm(uint32_t bits);
  uint32_t take_dirty() { return header().dirty.exchange(0); }
  bool has_sleepers() const;
  ChunkPool::Usage usage() const { return pool_.usage(); }
  /// What may be backed; never more than the geometry has.
  QueueGrant granted() const;
  /// Grants more: `to` in all. Again, or less than there is, changes nothing but finishes what a
  /// dead caller left. One caller at a time, who has written it down before.
  void raise_grant(const QueueGrant& to);
  /// Takes back extents from the top that nobody has claimed, down to `extents` at most, and their
  /// memory. Gives how many are granted now. One caller at a time, as above, who writes it down
  /// afterwards.
  uint32_t lower_grant(uint32_t extents) { return pool_.withhold(extents); }
  /// Of the extents that are in use the highest, plus one.
  uint32_t extents_in_use() const { return pool_.in_use(); }
  /// Whether the segment that is kept for an END is in the chain already.
  bool reserve_used() const;
  /// Full check of the invariants while nobody else is active; null, or what is wrong.
  const char* audit() const;

 private:
  using QRing = Ring<QueueMemory>;
  QueueHeader& header() const { return memory_.header(); }
  QRing ring() const { return QRing(const_cast<QueueMemory*>(&memory_)); }

  // queue_now.cc. put_now() wakes nobody.
  bool put_now(Actor& a, const MessageIn& m, uint64_t* id);
  template <TakeMode mode>
  bool take_now(Actor& a, Taken* out);
  bool ack_now(Actor& a, const Ticket& t);
  // queue_put.cc
  Outcome put_body(Actor& a, const MessageIn& m, uint32_t chunk, int64_t deadline_ns, uint64_t* id);
  Outcome try_put(Actor& a, const MessageIn& m, uint32_t chunk, uint64_t* id);
  Outcome claim_publish(Actor& a, const MessageIn& m, uint32_t chunk, uint64_t* id);
  Outcome put_dropping(Actor& a, const MessageIn& m, uint32_t chunk, uint64_t* id);
  Outcome with_chunk(Actor& a, const MessageIn& m, uint32_t* chunk);
  bool room_at(Actor& a, Place at) {
    const uint64_t max = header().max_len.load(std::memory_order_relaxed);
    if (at.position < a.head_seen + max &&
        memory_.returned_summary().load(std::memory_order_acquire) == 0) [[likely]]
      return true;
    return room_beyond(a, at, max);
  }
  bool room_beyond(Actor& a, Place at, uint64_t max);
  /// In a stream the slot four ahead is in the other side's cache. Its two lines are asked for now;
  /// at the claim the wait for each would stand before a locked instruction, one after the other.
  void prefetch_ahead(Place p) const {
    const uint32_t index = QRing::index_of(p) + 4;
    if (index >= kSlotsPerSegment) return;
    const Slot& slot = memory_.slot(p.segment, index);
    prefetch_for_write(&slot);
    prefetch_for_write(&slot.body[4]);
  }
  /// Both lines of the slot at a hint: they come together instead of one after the other. What a
  /// damaged hint names is only asked for.
  void expect_slot(std::atomic<uint64_t>& hint, bool for_write) const {
    const Place p = Place::decode(hint.load(std::memory_order_relaxed));
    const Slot& slot = memory_.slot(p.segment, QRing::index_of(p));
    if (for_write) {
      prefetch_for_write(&slot);
      prefetch_for_write(&slot.body[4]);
    } else {
      __builtin_prefetch(&slot.body[4]);
    }
  }
  void fill(Actor& a, Place p, const MessageIn& m, uint32_t chunk);
  // queue_account.cc
  bool bytes_allow(Actor& a, uint64_t length) {
    if (a.bytes_allowed < length) return bytes_reserve(a, length);
    a.bytes_allowed -= length;
    return true;
  }
  bool bytes_reserve(Actor& a, uint64_t length);
  bool leases_allow(Actor& a);
  void give_back_reserved(Actor& a);
  bool lease_announced(Actor& a, Place p, uint64_t* raw, bool counts);
  struct Sums {
    uint64_t bytes, leases;  // outstanding
    uint64_t bytes_in, bytes_out, begun, ended, puts, takes, drops, threads;
  };
  Sums sums(bool with_reserved) const;
  // queue_take.cc
  Outcome try_take(Actor& a, TakeMode mode, Taken* out);
  Outcome try_take_returned(Actor& a, TakeMode mode, Taken* out, bool* lost);
  Outcome take_found(Actor& a, TakeMode mode, Place p, uint64_t raw, Taken* out, bool* lost);
  Outcome end_of_stream(Actor& a, uint64_t raw);
  void describe(Place p, uint64_t raw, Taken* out) const;
  void copy_inline(Place p, uint64_t length, void* to) const;
  void copy_from_chunk(uint32_t chunk, uint64_t length, Taken* out) const;
  void expect_body(const Slot& slot, uint64_t length) const;
  bool find_returned(Found* at) const;
  void forget_returned(Place p, uint64_t mine) const;
  /// The one woken for another message may be stopped: whoever is awake wakes the next.
  void wake_next(Actor& a) {
    if (header().ready.word.load(std::memory_order_relaxed) & kWakeSleepers) [[unlikely]]
      wake_if_more(a);
  }
  void wake_if_more(Actor& a);
  bool others_hold(uint16_t owner) const;
  // queue_lease.cc
  Outcome check_lease(Actor& a, const Ticket& t, Place* p, uint64_t* raw);
  Outcome finish(Actor& a, Place p, uint64_t raw, uint64_t id, bool dropped);
  void release_revoked(Actor& a, Place p, uint64_t raw, uint64_t id);
  void settle_revoked(Actor& a, Place p, uint64_t raw, uint64_t id, uint16_t holder);
  bool give_back(Actor& a, Place p, uint64_t raw, uint64_t id, bool counted);
  bool drop(Actor& a, Place p, uint64_t raw);
  bool revoke(Actor& a, Place p, uint64_t raw);
  bool remove_ready(Actor& a, Place p, uint64_t raw);
  bool remove(Actor& a, Place p, uint64_t raw, unsigned wanted_states);
  void journal_delivery(Actor& a, Place p, uint64_t id, uint64_t row_count) {
    JournalLine& j = *a.journal;
    j.object.store(static_cast<uint32_t>(object_id()), std::memory_order_relaxed);
    j.row.store(a.row, std::memory_order_relaxed);
    j.place.store(p.encode(), std::memory_order_relaxed);
    j.id.store(id, std::memory_order_relaxed);
    j.row_count.store(row_count, std::memory_order_relaxed);
  }
  void after_removal(Actor& a) {
    const uint32_t seen = header().idle.word.load(std::memory_order_relaxed) |
                          header().ready.word.load(std::memory_order_relaxed);
    if (seen & (kWakeSleepers | kWakeArmed)) [[unlikely]]
      tell_removal(a);
  }
  void tell_removal(Actor& a);
  // queue_wait.cc
  /// The caller's seq_cst CAS on a slot comes first; see wake.h.
  void wake(Actor& a, WakeWord& line, uint32_t dirty_bit) {
    const uint32_t seen = line.word.load(std::memory_order_seq_cst);
    if (seen & (kWakeSleepers | kWakeArmed)) [[unlikely]]
      wake_somebody(a, line, seen, dirty_bit);
  }
  void wake_somebody(Actor& a, WakeWord& line, uint32_t seen, uint32_t dirty_bit);
  void wake_all(Actor& a, WakeWord& word, uint32_t dirty_bit);
  void wake_everyone(Actor& a);
  // queue_reap.cc
  void reap_line(Actor& reaper, uint16_t dead, JournalLine& line, JournalLine& origin);
  void reap_put(Actor& reaper, uint16_t dead, JournalLine& line, JournalLine& origin);
  static bool claim_stands(Place p, SlotWord w, uint16_t holder);
  void reap_delivery(uint16_t dead, JournalOp op, JournalLine& line);
  void reap_words(Actor& reaper, uint16_t dead, const uint64_t* asides, size_t aside_count);
  void reap_slot(Actor& reaper, uint16_t dead, Place p, bool counted);
  void reap_rows(Actor& reaper, uint16_t dead, const DeathInfo& info);
  void free_orphan_chunk(uint32_t chunk, uint64_t id, Place at);
  uint32_t rebuild_returned(uint32_t from, uint32_t to);
  void after_producer_left(Actor& a, bool one_left_cleanly);
  Outcome place_end(Actor& a, EndCause cause);
  uint32_t free_row(uint64_t claim);
  // queue_inspect.cc
  template <class Visit>
  void each_slot(Visit visit) const;
  uint64_t returned_count() const;
  const char* audit_slot(Place p, uint64_t raw) const;

  mutable QueueMemory memory_;
  ChunkPool pool_;
};

}  // namespace heddle::shm
