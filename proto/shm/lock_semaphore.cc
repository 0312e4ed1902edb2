// Semaphores: owned permits are the lock word and cells, one holder each; a counting one is a
// number that anybody may raise.
//
// owned     acquire: the first permit is the lock word, {0, T} -> {me, T + 1} as a mutex does it;
//           every other a cell, one CAS EMPTY -> HELD and a token of its own after that. Short of
//           the n that were asked, they go back.
//           release: CAS {me} -> {0} or HELD -> EMPTY, then the head as below. Dead holders: reap()
//           empties word and cells. Nobody is told of a death: it took a permit, not the data.
// counting  acquire and release are one CAS on `head`, whose high half is the count. A dead
//           acquirer keeps what it took: nobody owns these.
//
// Waiting: SLEEPERS in the head, try again, sleep on its low half. A release that finds SLEEPERS
// steps the sequence, so that nobody falls asleep on what it saw before, leaves HANDOFF for
// STARVING, wakes as many as it gave back, beside them all who want several (one of those may find
// too few, and would take the wake of another with it), and clears the bits only when nobody was
// there. Who has slept and got one wakes the next if there is more: the one that was woken may be
// stopped. Dead between the release and its wake: rescan() finds a free permit and SLEEPERS.
//
// A permit's token comes from the same words as a mutex's: one more with every grant.
#include <climits>

#include "proto/shm/cpu_pause.h"
#include "proto/shm/lock_cells.h"
#include "proto/shm/wait_note.h"

namespace heddle::shm {
namespace {

constexpr uint32_t kWakeOne = 1, kWakeSeveral = 2;

uint32_t count_in(uint64_t head) { return static_cast<uint32_t>(head >> 32); }

}  // namespace

/// The permit that has no cell: one CAS grants it together with its token. False: somebody has it.
bool Lock::take_first(const LockActor& a, Grant* grant) {
  uint64_t word = line_->word.load(std::memory_order_acquire);
  // Others move the token on meanwhile; that is no reason to leave a free permit.
  while (holder_in(word) == 0 && !gone()) {
    const uint64_t base = line_->base.load(std::memory_order_acquire);
    const uint64_t mine = (word + kTokenOne) | a.holder();
    if (!line_->word.compare_exchange_strong(word, mine)) continue;
    tell_grant(mine, base, 0, grant);
    return true;
  }
  return false;
}

/// False: it is not this thread, or with `session` no thread of it, that has the first permit.
bool Lock::give_first(const LockActor& a, bool session) {
  uint64_t word = line_->word.load(std::memory_order_acquire);
  while (session ? owner_in(word) == a.owner : holder_in(word) == a.holder()) {
    if (gone()) return false;
    if (line_->word.compare_exchange_strong(word, word & ~kLowMask)) return true;
  }
  return false;
}

void Lock::next_token(Grant* grant) {
  for (;;) {
    // Base between the load and the CAS, as a mutex does it.
    uint64_t word = line_->word.load(std::memory_order_acquire);
    const uint64_t base = line_->base.load(std::memory_order_acquire);
    if (!line_->word.compare_exchange_weak(word, word + kTokenOne)) continue;
    return tell_grant(word + kTokenOne, base, 0, grant);
  }
}

uint32_t Lock::permits_free() const {
  if (kind() == LockKind::kCounting) return count_in(line_->head.load());
  const uint32_t limit = line_->limit.load();
  uint32_t position = 1, empty = holder_in(line_->word.load(std::memory_order_acquire)) == 0;
  each_cell([&](Cell& cell) {
    if (position++ >= limit) return false;
    empty += state_in(cell.word.load(std::memory_order_acquire)) == CellState::kEmpty;
    return true;
  });
  return empty;
}

bool Lock::try_permits(LockActor& a, uint32_t n) {
  const uint32_t limit = line_->limit.load(std::memory_order_relaxed);
  if (n > 1 && permits_free() < n) return false;
  Grant unused;
  uint32_t got = take_first(a, &unused), position = 1;
  if (got == n) return true;
  const auto claim = [&](Cell& cell) {
    uint64_t seen = cell.word.load(std::memory_order_acquire);
    if (state_in(seen) != CellState::kEmpty || gone()) return;
    const uint64_t mine = cell_word(seq_in(seen) + 1, CellState::kHeld, a.holder());
    if (cell.word.compare_exchange_strong(seen, mine)) ++got;
  };
  const uint32_t first = (uint32_t{a.owner} + a.thread) % kCellsPerBlock;
  if (first + 1 < limit) {
    if (Cell* cell = first_cell(first)) claim(*cell);
  }
  each_cell([&](Cell& cell) {
    if (got >= n || position++ >= limit) return false;
    claim(cell);
    return true;
  });
  if (got == n) return true;
  // Nobody waits with some of what it needs in hand. Others may have fallen asleep meanwhile.
  if (got != 0) give_permits(a, got);
  return false;
}

uint32_t Lock::remote_turn() const { return (line_->head.load() & kHeadRemote) != 0; }

bool Lock::try_count(const LockActor& a, uint32_t n, bool slept) {
  uint64_t head = line_->head.load(std::memory_order_acquire);
  while (count_in(head) >= n && ((head & kHeadHandOff) == 0 || slept)) {
    if (gone()) return false;
    const uint64_t turned = a.remote ? head ^ kHeadRemote : head;
    const uint64_t taken = (turned & ~kHeadHandOff) - (uint64_t{n} << 32);
    if (line_->head.compare_exchange_weak(head, taken)) return true;
  }
  return false;
}

/// The usual case: nobody starves, and the first or the caller's favourite permit is free.
bool Lock::try_favourite(const LockActor& a, Grant* grant) {
  if ((line_->head.load(std::memory_order_acquire) & kHeadHandOff) != 0) return false;
  if (take_first(a, grant)) return true;
  const uint32_t favourite = (uint32_t{a.owner} + a.thread) % kCellsPerBlock;
  if (favourite + 1 >= line_->limit.load(std::memory_order_relaxed)) return false;
  Cell* cell = first_cell(favourite);
  if (cell == nullptr) return false;
  uint64_t seen = cell->word.load(std::memory_order_acquire);
  if (state_in(seen) != CellState::kEmpty || gone()) return false;
  const uint64_t mine = cell_word(seq_in(seen) + 1, CellState::kHeld, a.holder());
  if (!cell->word.compare_exchange_strong(seen, mine)) return false;
  next_token(grant);
  return true;
}

LockOutcome Lock::acquire_permits(LockActor& a, uint32_t n, int64_t deadline_ns, Grant* grant) {
  const bool counting = kind() == LockKind::kCounting;
  if (!counting && n == 1 && !gone() && try_favourite(a, grant)) [[likely]] {
    return LockOutcome::kOk;
  }
  if (!counting && n > line_->limit.load()) return LockOutcome::kOverRelease;
  WaitNote note(a, WaitFor::kPermits, static_cast<uint32_t>(line_->object_id.load()));
  bool slept = a.slept;
  int64_t began_ns = 0;
  for (int spins = 0;;) {
    uint64_t head = line_->head.load(std::memory_order_acquire);
    if (gone()) return LockOutcome::kGone;
    const bool may = (head & kHeadHandOff) == 0 || slept;
    if (may && (counting ? try_count(a, n, slept) : try_permits(a, n))) {
      if (!counting && (head & kHeadHandOff) != 0) line_->head.fetch_and(~kHeadHandOff);
      next_token(grant);
      if (slept && permits_free() > 0) wake_head(&a, 1);
      return LockOutcome::kOk;
    }
    if (deadline_ns == kLockTry) return LockOutcome::kTimedOut;
    if (++spins <= a.spins_max) {
      for (int i = 0; i < 1 + spins * 2; ++i) cpu_pause();
      continue;
    }
    const int64_t now_ns = monotonic_ns();
    if (now_ns >= deadline_ns) return LockOutcome::kTimedOut;
    if (note.cancelled()) return LockOutcome::kDeadlock;
    if (!note.published()) {
      note.publish();
      began_ns = note.since_ns();
      continue;
    }
    note.tell(now_ns);
    // The try failed before this word was loaded anew, so a permit that came since shows in its
    // sequence, or in the next try.
    const bool starving = slept && now_ns - began_ns > kStarvingNs;
    const uint64_t want = head | kHeadSleepers | (starving ? kHeadStarving : 0);
    if (want != head) {
      line_->head.compare_exchange_strong(head, want);
      note_sleeper();
      continue;
    }
    note_sleeper();
    int64_t wake_ns = note.wake_at(now_ns, deadline_ns);
    if ((head & kHeadHandOff) != 0) wake_ns = std::min(wake_ns, now_ns + kStarvingNs);
    const int result = futex_wait_until(low_half(line_->head), static_cast<uint32_t>(want), wake_ns,
                                        n > 1 ? kWakeSeveral : kWakeOne);
    if (result == 0 || result == ETIMEDOUT) slept = true;
    if (note.interrupted(result)) return LockOutcome::kInterrupted;
  }
}

/// Wakes `n` sleepers of the head; `a` null: without the doorbell (the broker itself).
void Lock::wake_head(LockActor* a, uint32_t n) {
  uint64_t head = line_->head.load();
  uint64_t stored;
  do {
    if ((head & kHeadSleepers) == 0) return;
    stored = head + (mutated(LockMutant::kNoSequence) ? 0 : kHeadSeqOne);
    if ((stored & kLowMask) < (head & kLowMask)) stored -= kTokenOne;  // no carry into the count
    if ((head & kHeadStarving) != 0) stored = (stored & ~kHeadStarving) | kHeadHandOff;
  } while (!line_->head.compare_exchange_weak(head, stored));
  const bool armed = line_->armed.load() != 0;
  if (armed && a != nullptr) ring(*a);
  if (armed && a == nullptr) mark_dirty();
  const int most = n > INT_MAX ? INT_MAX : static_cast<int>(n);
  int woken = futex_wake_bits(low_half(line_->head), most, kWakeOne);
  woken += futex_wake_bits(low_half(line_->head), INT_MAX, kWakeSeveral);
  // A remote caller has had its time to take what was handed off when the net comes by.
  if (woken != 0 || (armed && a != nullptr)) return;
  const uint64_t clear = kHeadHandOff | (armed ? 0 : kHeadSleepers);
  if (line_->head.compare_exchange_strong(stored, stored & ~clear)) {
    // One may have gone to sleep on this very word between the wake and the CAS.
    futex_wake(low_half(line_->head), INT_MAX);
  }
}

/// A permit that another thread of the same session took.
Cell* Lock::cell_of_owner(uint16_t owner, uint64_t* word) const {
  Cell* found = nullptr;
  each_cell([&](Cell& cell) {
    const uint64_t seen = cell.word.load(std::memory_order_acquire);
    if (owner_in(seen) != owner || state_in(seen) != CellState::kHeld) return true;
    found = &cell;
    *word = seen;
    return false;
  });
  return gone() ? nullptr : found;
}

LockOutcome Lock::give_permits(LockActor& a, uint32_t n) {
  uint32_t given = 0;
  while (given < n) {
    if (give_first(a, false)) {
      ++given;
      continue;
    }
    uint64_t held;
    Cell* cell = own_cell(a.holder(), CellState::kHeld, &held);
    if (cell == nullptr && give_first(a, true)) {
      ++given;
      continue;
    }
    if (cell == nullptr) cell = cell_of_owner(a.owner, &held);
    if (cell == nullptr) break;
    given += cell->word.compare_exchange_strong(held, cell_emptied(held));
  }
  if (given != 0) wake_head(&a, given);
  return given == n ? LockOutcome::kOk : LockOutcome::kNotHeld;
}

LockOutcome Lock::raise_count(LockActor& a, uint32_t n) {
  const uint32_t most = line_->count_max.load();
  uint64_t head = line_->head.load(), raised;
  do {
    if (gone()) return LockOutcome::kGone;
    const uint64_t sum = uint64_t{count_in(head)} + n;
    if (sum > (most != 0 ? most : UINT32_MAX)) return LockOutcome::kOverRelease;
    raised = (a.remote ? head ^ kHeadRemote : head) + (uint64_t{n} << 32);
  } while (!line_->head.compare_exchange_weak(head, raised));
  wake_head(&a, n);
  return LockOutcome::kOk;
}

LockOutcome Lock::release_permits(LockActor& a, uint32_t n) {
  if (gone()) return LockOutcome::kGone;
  if (kind() == LockKind::kCounting) return raise_count(a, n);
  return give_permits(a, n);
}

}  // namespace heddle::shm
