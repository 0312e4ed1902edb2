// Locks, semaphores, conditions, events and barriers in shared memory: what every client on the
// machine and the broker call.
//
// Lock is a view of one line of a mapped segment. It allocates nothing, throws nothing, logs
// nothing. All functions are thread-safe; a thread brings its own LockActor. Blocking ones take a
// deadline (CLOCK_MONOTONIC ns; kLockTry, kLockForever) and sleep on futexes of the segment, at
// most one second at a time.
//
// Words: lock_word.h. Layout: lock_layout.h. The protocol of each kind stands in its .cc file, with
// what is left if its caller stops after any step. What they have in common:
//
//   Truth       owner and cell words, each changed by one CAS. Whoever holds something is named in
//               the word that grants it, so a death is repaired by looking for words that name the
//               dead: there is no list of held locks that could disagree with them (see
//               decisions/0004-no-lock-journal.md).
//   Waiting     set SLEEPERS, tell `waiting_on`, try once more, sleep. A release that finds
//               SLEEPERS wakes one and leaves the bit; only when nobody was there to be woken does
//               it clear the bit, by CAS against the very word it stored.
//   Hand-off    by state, never by name: a sleeper of more than kStarvingNs sets STARVING, the
//               release then leaves HANDOFF, and newcomers sleep first, for at most kStarvingNs.
//   Death       reap(): each word that names somebody who is not alive goes to a final state by one
//               CAS, then everybody on that lock is woken. Doing it again is harmless.
//   Stopping    who is stopped before its grant or after its release blocks nobody: claims that
//               are not grants (TRY, PENDING) can be taken away by anybody.
//   Net         rescan(): wakes that a dead or stopped process owes; the broker does it every 50 ms
//               for the lines whose `sleepers` bit is set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "proto/shm/journal.h"
#include "proto/shm/lock_layout.h"

namespace heddle::shm {

inline constexpr int64_t kLockTry = 0;
inline constexpr int64_t kLockForever = INT64_MAX;
inline constexpr int64_t kStarvingNs = 1'000'000;

enum class LockOutcome : uint8_t {
  kOk,
  kTimedOut,     // the deadline passed, or it is not free and the call was not to wait
  kInterrupted,  // a signal handler ran while waiting
  kNotHeld,      // a release of what the caller does not hold (any more)
  kDeadlock,     // the broker broke a cycle here
  kBroken,       // the barrier was broken
  kPoisoned,     // the last owner died, and the policy is kPoison
  kGone,         // deleted
  kOverRelease,  // the count would pass its bound
  kTooMany,      // no room for another reader or waiter
  kLead,         // last at the barrier with an action to run: run it, then finish_action()
  kCorrupt,      // the segment contradicts itself
};

enum class LockMode : uint8_t { kExclusive = 0, kShared = 1, kUpdate = 2 };

/// One thread's identity in lock words.
struct LockActor {
  uint16_t owner = 0;                           // the session's number, never 0
  uint16_t thread = 0;                          // its line in the session page
  JournalLine* journal = nullptr;               // that line: what the thread waits for stands there
  std::atomic<uint32_t>* waits_told = nullptr;  // of the session page: a long wait was told
  int doorbell_fd = -1;        // write end of the broker's pipe; -1 in the broker itself
  bool interruptible = false;  // return kInterrupted on EINTR instead of waiting on
  bool remote = false;         // the broker, for a remote caller: changes kHeadRemote
  bool slept = false;          // a try counts as that of a sleeper: may take what is handed off
  int64_t sleep_ns_max = 1'000'000'000;  // the last net; tests of the wakes take it away
  // Asked about once a second while waiting; false ends the wait with kInterrupted.
  bool (*look)(void* context) = nullptr;
  void* look_context = nullptr;
  int spins_max = 24;  // rounds of looks before it sleeps: about 40 us
  uint32_t waits = 0;  // private: numbers the waits

  uint32_t holder() const { return holder_of(owner, thread); }
};

struct Grant {
  uint64_t token = 0;
  // The previous owner died while it held this. Told to one exclusive grant, and to each reader and
  // update before that one: they see what it left, but repair nothing.
  bool abandoned = false;
  uint32_t dead_holder = 0;  // then: who it was (holder_of)
};

/// Who stands in a lock's words, for people and for the deadlock detector.
struct LockStanding {
  uint32_t holder;
  LockMode mode;
  bool waits;  // not a grant: a waiter's cell, a writer that waits for readers
};

/// A wait that stands in a cell between two calls.
struct Standing {
  Cell* cell = nullptr;
  uint64_t word = 0;    // of the cell, as this wait left it
  uint32_t number = 0;  // ticket, or generation of the barrier
  uint32_t depth = 0;   // of the rlock that was let go
  uint32_t index = 0;   // of the cell
  bool action = false;
  bool last = false;  // complete with it, but the action is for another
};

class Lock;

/// A mapped lock segment.
class LockSegment {
 public:
  /// Formats a fresh zeroed memfd of lock_segment_bytes(); by the broker, before anybody maps it.
  /// The first 4 KiB must be reserved.
  static void format(void* base, uint32_t lines_max, uint32_t blocks_max, uint64_t object_id);
  /// kCorrupt when magic, version or geometry do not fit `bytes`. `fd` is kept for fallocate, not
  /// owned.
  static LockOutcome attach(void* base, uint64_t bytes, int fd, LockSegment* out);

  uint32_t lines_max() const { return geometry_.lines_max; }
  LockSegmentHeader& header() const { return *reinterpret_cast<LockSegmentHeader*>(base_); }
  LockLine& line(uint32_t index) const {
    return reinterpret_cast<LockLine*>(base_ + geometry_.lines_at)[index];
  }
  std::atomic<uint64_t>& link(uint32_t block) const {
    return reinterpret_cast<std::atomic<uint64_t>*>(base_ + geometry_.links_at)[block];
  }
  CellBlock& block(uint32_t block) const {
    return reinterpret_cast<CellBlock*>(base_ + geometry_.blocks_at)[block];
  }
  const LockGeometry& geometry() const { return geometry_; }

  // --- the broker only; one thread at a time ---
  /// Allots a line. `token_start`: the grants of the new lock begin above it. kTooMany when no
  /// line or not enough blocks are free, kCorrupt when memory cannot be reserved.
  LockOutcome create(const LockOptions& options, uint64_t object_id, uint64_t token_start,
                     uint32_t* line);
  /// Ends a lock: holders lose it, waiters end with kGone. The last token.
  uint64_t destroy(uint32_t line);
  /// Repairs every word that names an owner for which `alive` says false. Idempotent.
  void reap(bool (*alive)(void* context, uint16_t owner), void* context);
  /// Wakes whoever should not sleep; clears `sleepers` bits of lines without sleepers.
  void rescan();
  /// visit(line) for each armed line that changed since the last call.
  template <class Visit>
  void take_dirty(Visit visit) const {
    if (header().dirty.exchange(0) == 0) return;
    for (uint32_t group = 0; group < (geometry_.lines_max + 63) / 64; ++group) {
      uint64_t bits = header().dirty_lines[group].exchange(0);
      for (; bits != 0; bits &= bits - 1) {
        const uint32_t index = group * 64 + static_cast<uint32_t>(__builtin_ctzll(bits));
        if (index < geometry_.lines_max) visit(index);
      }
    }
  }

 private:
  friend class Lock;
  bool reserve_line(uint32_t index) const;
  bool reserve_block(uint32_t block) const;
  uint32_t claim_block(uint16_t owner, uint32_t line) const;
  bool chained(uint32_t block, uint32_t line_index) const;
  void settle_link(uint32_t block, uint16_t owner) const;
  void free_chain(uint32_t line_index);
  void free_block(uint32_t block);
  void reap_links(bool (*alive)(void* context, uint16_t owner), void* context);
  uint32_t lines_used();

  std::byte* base_ = nullptr;
  LockGeometry geometry_{};
  int fd_ = -1;
  uint32_t lines_seen_ = 0;  // the most that the header ever said
};

inline uint64_t lock_segment_bytes(uint32_t lines_max, uint32_t blocks_max) {
  return LockGeometry::of(lines_max, blocks_max).bytes;
}

class Lock {
 public:
  Lock() = default;
  Lock(LockSegment* segment, uint32_t index, uint32_t generation)
      : segment_(segment), line_(&segment->line(index)), index_(index), generation_(generation) {}

  LockKind kind() const { return static_cast<LockKind>(line_->kind.load()); }
  LockLine& line() const { return *line_; }
  // Of the owner that `word` names, beyond the first.
  uint32_t entries(uint64_t word) const;
  uint32_t index() const { return index_; }
  uint32_t generation() const { return generation_; }
  bool gone() const { return line_->generation.load(std::memory_order_acquire) != generation_; }

  // --- mutex, rlock, a condition's own lock ---
  LockOutcome acquire(LockActor& a, int64_t deadline_ns, Grant* grant);
  /// One entry of an rlock. kNotHeld when somebody else holds it; a mutex, not an rlock, may be
  /// released for another thread or process with `for_holder` (who holds it now).
  LockOutcome release(LockActor& a, uint32_t for_holder = 0);

  // --- rw ---
  LockOutcome acquire_rw(LockActor& a, LockMode mode, int64_t deadline_ns, Grant* grant);
  LockOutcome release_rw(LockActor& a, LockMode mode);
  /// Without letting go in between. Up: UPDATE -> EXCLUSIVE waits for the readers; SHARED -> any
  /// other is a try (two of them would wait for each other): kTimedOut when somebody is in the
  /// way. Down never waits.
  LockOutcome convert(LockActor& a, LockMode from, LockMode to, int64_t deadline_ns, Grant* grant);

  // The steps of an exclusive acquire_rw(), for callers that must not block. kTimedOut: not yet,
  // and the claim may stand in the word; the next look goes on from there.
  LockOutcome look_write(LockActor& a, Grant* grant);
  void give_up_write(LockActor& a);

  // --- semaphores ---
  LockOutcome acquire_permits(LockActor& a, uint32_t n, int64_t deadline_ns, Grant* grant);
  LockOutcome release_permits(LockActor& a, uint32_t n);
  /// What a release owes that lock_quick.h made while somebody slept.
  void wake_for_permit(LockActor& a) { wake_head(&a, 1); }
  uint32_t permits_free() const;
  /// Of a counting one: 0 or 1, the other one after each change for a remote caller.
  uint32_t remote_turn() const;

  // --- condition: `lock` is held by the caller ---
  /// Lets go of `lock`, waits, and holds it again when this returns, whatever the outcome; only
  /// kGone, kPoisoned, kDeadlock (of taking the lock again) and kCorrupt return without it.
  /// `grant`: of taking it again, which may be the one that is told of a death.
  LockOutcome wait(LockActor& a, Lock& lock, int64_t deadline_ns, Grant* grant = nullptr);
  /// How many were notified.
  uint32_t notify(LockActor& a, uint32_t n);
  uint32_t notify_all(LockActor& a);
  // The steps of wait(), for callers that must not block.
  LockOutcome begin_wait(LockActor& a, Lock& lock, Standing* s);
  /// kOk: notified; kTimedOut: not yet.
  LockOutcome look_wait(const Standing& s) const;
  /// Ends the wait by the clock; false when a notification was faster.
  bool stop_wait(const Standing& s);
  /// After the lock has been taken again.
  void end_wait(const Standing& s);
  /// After the lock has been taken again by begin_wait()'s caller: as deep as it was.
  void restore_depth(uint32_t depth);
  /// Instead of end_wait() when the lock could not be taken again: a notification goes to the next.
  void pass_wait(LockActor& a, const Standing& s);
  /// Waiters that were notified and do not hold the lock again yet.
  uint32_t notified() const;

  // --- event ---
  LockOutcome wait_event(LockActor& a, int64_t deadline_ns);
  void set_event(LockActor& a);
  void clear_event();
  bool is_set() const;
  /// Changes with every set: two that are equal, and no set came between them.
  uint32_t sets() const;

  // --- barrier ---
  /// *index: 0 to parties - 1, different for each of a generation. With `action` one of them gets
  /// kLead while the others still wait. A deadline that passes breaks the generation.
  LockOutcome arrive(LockActor& a, bool action, int64_t deadline_ns, uint32_t* index);
  LockOutcome finish_action(LockActor& a);
  // The steps of arrive(), for callers that must not block.
  /// kTimedOut: the cells are still taken by the generation before.
  LockOutcome begin_arrive(LockActor& a, bool action, Standing* s);
  /// kOk, kBroken, kLead, or kTimedOut: not yet. Everything but kTimedOut and kLead ends it.
  LockOutcome look_arrive(LockActor& a, Standing& s);
  /// Breaks the present generation; `keep` leaves the barrier broken until reset_barrier().
  void break_barrier(bool keep);
  void reset_barrier();
  bool broken() const;
  /// A member that dies breaks the generation, even before it arrives.
  LockOutcome join(LockActor& a);
  LockOutcome leave(LockActor& a);
  uint32_t arrived() const;
  /// Who joined and has not arrived at the present generation: returns how many there are, writes
  /// up to `n` holders.
  size_t missing(uint32_t* holders, size_t n) const;

  // --- everything ---
  /// Takes the lock away from `holder` (0 = from whoever). The next one is told `abandoned`.
  LockOutcome force_release(uint32_t holder);
  /// Ends the poisoned state.
  bool repair();
  /// Who holds it or waits in its cells; returns how many there are, writes up to `n`.
  size_t standing(LockStanding* out, size_t n) const;
  uint64_t token() const;
  bool has_sleepers() const;
  /// For remote callers: from now on a release rings the broker's doorbell.
  void arm(bool on);
  /// Armed, and marked as somebody who sleeps is: a release now tells. The caller must try again
  /// after it. `starving`: it has waited for more than kStarvingNs.
  void enlist(bool starving);
  /// Wakes whoever sleeps on any futex of the lock.
  void wake_everybody();

 private:
  friend class LockSegment;
  using Alive = bool (*)(void* context, uint16_t owner);

  // lock_mutex.cc
  LockOutcome acquire_word(LockActor& a, uint64_t flags, int64_t deadline_ns, Grant* grant);
  LockOutcome acquire_slow(LockActor& a, uint64_t flags, int64_t deadline_ns, Grant* grant);
  enum class Step : uint8_t { kDone, kAgain, kGoOn };
  struct WordWait;
  bool enter_again(LockActor& a, Grant* grant, LockOutcome* outcome);
  Step try_word(WordWait& w, uint64_t word, int64_t now_ns);
  Step before_sleep(WordWait& w, int64_t now_ns);
  Step sleep_on_word(WordWait& w, uint64_t word, int64_t now_ns);
  bool take_word(LockActor& a, uint64_t flags, bool slept, bool starving, uint64_t seen,
                 Grant* grant);
  LockOutcome let_go(LockActor& a, uint64_t held);
  void wake_waiters(LockActor* a, uint64_t stored);
  void tell_grant(uint64_t word, uint64_t base, uint64_t before, Grant* grant);
  bool first_in_line(uint32_t ticket) const;
  void stand_in_line(Cell* cell, uint64_t* in_cell, uint32_t* ticket);
  bool anybody_in_line() const;
  void set_entries(uint64_t word, uint32_t entries);

  // lock_rw.cc
  LockOutcome acquire_shared(LockActor& a, int64_t deadline_ns, Grant* grant);
  LockOutcome acquire_writer(LockActor& a, int64_t deadline_ns, Grant* grant);
  LockOutcome try_shared(LockActor& a, Grant* grant);
  LockOutcome drain_readers(LockActor& a, const Cell* except, int64_t deadline_ns, Grant* grant);
  LockOutcome upgrade(LockActor& a, int64_t deadline_ns, Grant* grant);
  LockOutcome try_upgrade_shared(LockActor& a, LockMode to, Grant* grant);
  LockOutcome turn_reader(LockActor& a, uint64_t word);
  bool refuse_readers(const Cell* except) const;
  bool readers_inside() const;
  bool withdraw_claim(LockActor* a, uint64_t claim);
  void ring_drain();

  // lock_semaphore.cc
  bool try_favourite(const LockActor& a, Grant* grant);
  bool take_first(const LockActor& a, Grant* grant);
  bool give_first(const LockActor& a, bool session);
  bool try_permits(LockActor& a, uint32_t n);
  bool try_count(const LockActor& a, uint32_t n, bool slept);
  LockOutcome give_permits(LockActor& a, uint32_t n);
  Cell* cell_of_owner(uint16_t owner, uint64_t* word) const;
  LockOutcome raise_count(LockActor& a, uint32_t n);
  void wake_head(LockActor* a, uint32_t n);
  void next_token(Grant* grant);

  // lock_condition.cc, lock_barrier.cc
  bool notify_oldest(LockActor* a);
  uint32_t tell_all();
  uint32_t tell_everybody();
  void keep_tickets_near(uint32_t ticket);
  static LockOutcome take_back(LockActor& a, Lock& lock, Grant* grant);
  void count_arrived(uint32_t generation, uint32_t* count, bool* action) const;
  void end_arrive(const Standing& s);
  bool all_arrived(uint32_t generation, bool* action) const;
  bool end_generation(uint64_t head, bool broke, bool keep);

  // lock_reap.cc
  void reap(Alive alive, void* context);
  bool reap_word(Alive alive, void* context);
  struct Reaping;
  bool reap_cell(Cell& cell, Reaping& r);
  bool reap_party(Cell& cell, uint64_t* word, uint32_t generation);
  void rescan_barrier();
  uint32_t barrier_generation() const;
  static bool free_for_arrival(const Cell& cell, uint64_t seen, uint32_t generation);
  void rescan();

  // lock_cells.cc
  void ring(LockActor& a);
  void mark_dirty();
  void note_sleeper();
  /// visit(Cell&) until it returns false, over all blocks of the chain. False when it did.
  template <class Visit>
  bool each_cell(Visit visit) const;
  Cell* first_cell(uint32_t number) const;
  /// Claims an empty cell in state `state`; null when there is no room even after growing.
  Cell* claim_cell(LockActor& a, CellState state, uint64_t* word, bool grow);
  bool grow(LockActor& a);
  Cell* own_cell(uint32_t holder, CellState state, uint64_t* word) const;
  void empty_cell(Cell& cell, uint64_t word) const;
  bool write_note(Cell& cell, uint64_t word, uint32_t value) const;
  static bool read_note(const Cell& cell, uint64_t word, uint32_t* value);

  LockSegment* segment_ = nullptr;
  LockLine* line_ = nullptr;
  uint32_t index_ = 0;
  uint32_t generation_ = 0;
};

}  // namespace heddle::shm
