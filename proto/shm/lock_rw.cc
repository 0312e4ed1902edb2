// The rw lock: readers are cells, a line each; the writer owns the word.
//
// read    (1) wait while the word is owned (update apart); (2) cell EMPTY -> TRY; (3) load the word
//         again; (4) still open: cell TRY -> HELD, which is the grant; else TRY -> EMPTY, wait.
//         Stopped at (3): the writer turns TRY into REFUSED, so nobody waits for the stopped one;
//         its CAS of (4) then fails. Dead: reap() empties the cell.
//         unlock: HELD -> EMPTY, load the word; a writer waits for readers: ring its futex.
// write   (1) own the word with CLAIMED; (2) load `drain`; (3) all cells: TRY -> REFUSED, is any
//         HELD? (4) none: CAS CLAIMED away, which is the grant; else sleep on `drain`.
//         A claim can be taken away: whoever has seen the same one for kStarvingNs with no reader
//         inside does CAS -> {0} and rings `drain`, for the claimant may sleep there and not on
//         the word. It sees that and starts again. ABANDONED stays in the word until the grant.
// update  the word is owned with UPDATE: readers enter, others that want the word do not. Upgrade:
//         CLAIMED beside UPDATE, then (2) to (4); taking that claim away leaves UPDATE. Its holder
//         is told of a death as readers are: ABANDONED stays until somebody may repair.
//
// Dead with CLAIMED or UPDATE: {0}, nobody is told, for nothing was written under it.
#include <climits>

#include "proto/shm/cpu_pause.h"
#include "proto/shm/lock_cells.h"
#include "proto/shm/wait_note.h"

namespace heddle::shm {
namespace {

bool open_to_readers(uint64_t word) {
  if ((word & kPoisoned) != 0) return false;
  return holder_in(word) == 0 || ((word & kUpdate) != 0 && (word & kClaimed) == 0);
}

}  // namespace

void Lock::ring_drain() {
  line_->drain.fetch_add(1);
  futex_wake(&line_->drain, INT_MAX);
}

bool Lock::readers_inside() const {
  return !each_cell([](Cell& cell) {
    return state_in(cell.word.load(std::memory_order_acquire)) != CellState::kHeld;
  });
}

/// True when a reader other than `except` is inside.
bool Lock::refuse_readers(const Cell* except) const {
  bool held = false;
  each_cell([&](Cell& cell) {
    uint64_t seen = cell.word.load();
    if (state_in(seen) == CellState::kTry) {
      cell.word.compare_exchange_strong(seen, cell_in_state(seen, CellState::kRefused));
    }
    // After a CAS that failed `seen` is what stands there now.
    held = held || (state_in(seen) == CellState::kHeld && &cell != except);
    return true;
  });
  return held;
}

/// kOk, kTimedOut: closed now, kTooMany, kPoisoned.
LockOutcome Lock::try_shared(LockActor& a, Grant* grant) {
  uint64_t word = line_->word.load(std::memory_order_acquire);
  if ((word & kPoisoned) != 0) return LockOutcome::kPoisoned;
  if (!open_to_readers(word)) return LockOutcome::kTimedOut;
  uint64_t mine;
  const bool at_once = mutated(LockMutant::kHeldWithoutTry);
  Cell* cell = claim_cell(a, at_once ? CellState::kHeld : CellState::kTry, &mine, true);
  if (cell == nullptr) return gone() ? LockOutcome::kGone : LockOutcome::kTooMany;
  const uint64_t base = line_->base.load(std::memory_order_acquire);
  word = line_->word.load();
  const uint64_t held = cell_in_state(mine, CellState::kHeld);
  if (open_to_readers(word) && cell->word.compare_exchange_strong(mine, held)) {
    // A reader's token is that of the last exclusive grant.
    *grant = {.token = full_token(base, token_low(word)),
              .abandoned = (word & kAbandoned) != 0,
              .dead_holder = static_cast<uint32_t>(line_->dead_by.load() & kHolderMask)};
    if (!grant->abandoned) grant->dead_holder = 0;
    return LockOutcome::kOk;
  }
  // TRY, or REFUSED by a writer meanwhile; nobody but its owner empties it.
  empty_cell(*cell, held);
  return LockOutcome::kTimedOut;
}

LockOutcome Lock::acquire_shared(LockActor& a, int64_t deadline_ns, Grant* grant) {
  WaitNote note(a, WaitFor::kShared, static_cast<uint32_t>(line_->object_id.load()));
  uint64_t claim = 0;
  int64_t claim_since_ns = 0;
  bool slept = false;
  for (int spins = 0;;) {
    if (gone()) return LockOutcome::kGone;
    const LockOutcome outcome = try_shared(a, grant);
    const bool full = outcome == LockOutcome::kTooMany;
    if (outcome != LockOutcome::kTimedOut && !full) return outcome;
    if (deadline_ns == kLockTry) return outcome;
    if (++spins <= a.spins_max && !full) {
      for (int i = 0; i < 1 + spins * 2; ++i) cpu_pause();
      continue;
    }
    const int64_t now_ns = monotonic_ns();
    if (now_ns >= deadline_ns) return outcome;
    if (note.cancelled()) return LockOutcome::kDeadlock;
    if (!note.published()) {
      note.publish();
      continue;
    }
    note.tell(now_ns);
    uint64_t word = line_->word.load();
    if (gone() || (open_to_readers(word) && !full)) continue;
    if ((word & kClaimed) == 0 || (word & ~kLowMask) != claim) {
      claim = word & ~kLowMask;
      claim_since_ns = now_ns;
    } else if (now_ns - claim_since_ns > kStarvingNs && !readers_inside() &&
               !mutated(LockMutant::kClaimStays)) {
      withdraw_claim(&a, word);
      continue;
    }
    // Beside an update holder that has slept readers hand-off makes no sense: there is no line.
    const bool starving = slept && (word & (kUpdate | kClaimed)) == 0 && holder_in(word) != 0 &&
                          now_ns - note.since_ns() > kStarvingNs;
    const uint64_t want = word | kSleepers | (starving ? kStarving : 0);
    if (want != word && !line_->word.compare_exchange_strong(word, want)) continue;
    note_sleeper();
    int64_t wake_ns = note.wake_at(now_ns, deadline_ns);
    if (full || (want & kClaimed) != 0) wake_ns = std::min(wake_ns, now_ns + kStarvingNs);
    const int result =
        futex_wait_until(low_half(line_->word), static_cast<uint32_t>(want), wake_ns, kWakeReaders);
    if (result == 0 || result == ETIMEDOUT) slept = true;
    if (note.interrupted(result)) return LockOutcome::kInterrupted;
  }
}

/// Ends a claim that is not a grant: by its owner, or by somebody who waited long enough.
bool Lock::withdraw_claim(LockActor* a, uint64_t claim) {
  for (uint64_t seen = line_->word.load();;) {
    if (holder_in(seen) != holder_in(claim) || (seen & kClaimed) == 0 ||
        token_low(seen) != token_low(claim)) {
      return false;
    }
    if (gone()) return false;
    uint64_t without = seen & ~kClaimed;
    if ((seen & kUpdate) == 0) without &= ~(kHolderMask | kStarving);
    if (!line_->word.compare_exchange_weak(seen, without)) continue;
    if (!mutated(LockMutant::kDrainNotRung)) ring_drain();
    wake_waiters(a, without);
    return true;
  }
}

/// The caller's claim stands in the word. kOk: granted; kNotHeld: the claim was taken away.
LockOutcome Lock::drain_readers(LockActor& a, const Cell* except, int64_t deadline_ns,
                                Grant* grant) {
  WaitNote note(a, WaitFor::kExclusive, static_cast<uint32_t>(line_->object_id.load()));
  for (;;) {
    const uint32_t drain = line_->drain.load();
    const uint64_t base = line_->base.load(std::memory_order_acquire);
    uint64_t word = line_->word.load();
    if (gone()) return LockOutcome::kGone;
    if (holder_in(word) != a.holder() || (word & kClaimed) == 0) return LockOutcome::kNotHeld;
    if (!refuse_readers(except)) {
      // An upgrade is a grant of its own and gets a token of its own.
      const uint64_t step = (word & kUpdate) != 0 ? kTokenOne : 0;
      const uint64_t granted = (word & ~(kClaimed | kUpdate | kAbandoned)) + step;
      if (!line_->word.compare_exchange_strong(word, granted)) continue;
      tell_grant(granted, base, word, grant);
      return LockOutcome::kOk;
    }
    if (deadline_ns == kLockTry) return LockOutcome::kTimedOut;
    const int64_t now_ns = monotonic_ns();
    if (now_ns >= deadline_ns) return LockOutcome::kTimedOut;
    if (note.cancelled()) return LockOutcome::kDeadlock;
    if (!note.published()) {
      note.publish();
      note_sleeper();
      continue;
    }
    note.tell(now_ns);
    // 50 ms: nobody but the reader that leaves looks at this futex.
    const int64_t wake_ns =
        std::min(note.wake_at(now_ns, deadline_ns), now_ns + a.sleep_ns_max / 20);
    const int result = futex_wait_until(&line_->drain, drain, wake_ns, kWakeWriters);
    if (note.interrupted(result)) return LockOutcome::kInterrupted;
  }
}

LockOutcome Lock::acquire_writer(LockActor& a, int64_t deadline_ns, Grant* grant) {
  for (;;) {
    LockOutcome outcome = acquire_word(a, kClaimed, deadline_ns, grant);
    if (outcome != LockOutcome::kOk) return outcome;
    outcome = drain_readers(a, nullptr, deadline_ns, grant);
    if (outcome == LockOutcome::kOk) return outcome;
    if (outcome == LockOutcome::kNotHeld) continue;
    const uint64_t word = line_->word.load();
    if (holder_in(word) == a.holder()) withdraw_claim(&a, word);
    return outcome;
  }
}

LockOutcome Lock::look_write(LockActor& a, Grant* grant) {
  const uint64_t word = line_->word.load();
  if (holder_in(word) != a.holder() || (word & kClaimed) == 0) {
    const LockOutcome outcome = acquire_word(a, kClaimed, kLockTry, grant);
    if (outcome != LockOutcome::kOk) return outcome;
  }
  const LockOutcome outcome = drain_readers(a, nullptr, kLockTry, grant);
  return outcome == LockOutcome::kNotHeld ? LockOutcome::kTimedOut : outcome;
}

void Lock::give_up_write(LockActor& a) {
  const uint64_t word = line_->word.load();
  if (holder_in(word) == a.holder() && (word & kClaimed) != 0) withdraw_claim(&a, word);
}

LockOutcome Lock::acquire_rw(LockActor& a, LockMode mode, int64_t deadline_ns, Grant* grant) {
  if (mode == LockMode::kShared) return acquire_shared(a, deadline_ns, grant);
  if (mode == LockMode::kUpdate) return acquire_word(a, kUpdate, deadline_ns, grant);
  return acquire_writer(a, deadline_ns, grant);
}

LockOutcome Lock::release_rw(LockActor& a, LockMode mode) {
  if (mode != LockMode::kShared) {
    const uint64_t word = line_->word.load();
    if (gone()) return LockOutcome::kGone;
    const bool update = (word & kUpdate) != 0;
    if (holder_in(word) != a.holder() || update != (mode == LockMode::kUpdate)) {
      return LockOutcome::kNotHeld;
    }
    return let_go(a, word);
  }
  uint64_t held;
  for (;;) {
    Cell* cell = own_cell(a.holder(), CellState::kHeld, &held);
    if (cell == nullptr) return gone() ? LockOutcome::kGone : LockOutcome::kNotHeld;
    if (cell->word.compare_exchange_strong(held, cell_emptied(held))) break;
  }
  const uint64_t word = line_->word.load();
  const bool claimed = holder_in(word) != 0 && (word & kClaimed) != 0;
  if (claimed) ring_drain();
  // A remote writer may have lost its claim to somebody impatient.
  if (claimed || (word & kSleepers) != 0) ring(a);
  return LockOutcome::kOk;
}

/// The caller owns the word: a cell of its own needs no TRY, for no writer can be looking.
LockOutcome Lock::turn_reader(LockActor& a, uint64_t word) {
  uint64_t mine;
  Cell* cell = claim_cell(a, CellState::kHeld, &mine, true);
  if (cell == nullptr) return gone() ? LockOutcome::kGone : LockOutcome::kTooMany;
  const LockOutcome outcome = let_go(a, word);
  if (outcome != LockOutcome::kOk) empty_cell(*cell, mine);
  return outcome;
}

LockOutcome Lock::upgrade(LockActor& a, int64_t deadline_ns, Grant* grant) {
  for (;;) {
    uint64_t word = line_->word.load();
    if (gone()) return LockOutcome::kGone;
    if (holder_in(word) != a.holder() || (word & kUpdate) == 0) return LockOutcome::kNotHeld;
    if ((word & kClaimed) == 0 && !line_->word.compare_exchange_strong(word, word | kClaimed)) {
      continue;
    }
    const LockOutcome outcome = drain_readers(a, nullptr, deadline_ns, grant);
    if (outcome == LockOutcome::kOk) return outcome;
    if (outcome == LockOutcome::kNotHeld) continue;
    word = line_->word.load();
    if (holder_in(word) == a.holder()) withdraw_claim(&a, word);
    return outcome;
  }
}

LockOutcome Lock::try_upgrade_shared(LockActor& a, LockMode to, Grant* grant) {
  uint64_t held;
  Cell* cell = own_cell(a.holder(), CellState::kHeld, &held);
  if (cell == nullptr) return LockOutcome::kNotHeld;
  LockOutcome outcome =
      acquire_word(a, to == LockMode::kUpdate ? kUpdate : kClaimed, kLockTry, grant);
  if (outcome != LockOutcome::kOk) return outcome;
  if (to == LockMode::kExclusive) {
    outcome = drain_readers(a, cell, kLockTry, grant);
    if (outcome != LockOutcome::kOk) {
      const uint64_t word = line_->word.load();
      if (holder_in(word) == a.holder()) withdraw_claim(&a, word);
      return LockOutcome::kTimedOut;
    }
  }
  empty_cell(*cell, held);
  return LockOutcome::kOk;
}

LockOutcome Lock::convert(LockActor& a, LockMode from, LockMode to, int64_t deadline_ns,
                          Grant* grant) {
  if (from == to) return gone() ? LockOutcome::kGone : LockOutcome::kOk;
  if (from == LockMode::kShared) return try_upgrade_shared(a, to, grant);
  uint64_t word = line_->word.load();
  if (gone()) return LockOutcome::kGone;
  const bool update = (word & kUpdate) != 0;
  if (holder_in(word) != a.holder() || update != (from == LockMode::kUpdate)) {
    return LockOutcome::kNotHeld;
  }
  grant->token = token();
  if (to == LockMode::kShared) return turn_reader(a, word);
  if (from == LockMode::kUpdate) return upgrade(a, deadline_ns, grant);
  while (!line_->word.compare_exchange_weak(word, word | kUpdate)) {
    if (gone()) return LockOutcome::kGone;
    if (holder_in(word) != a.holder()) return LockOutcome::kNotHeld;
  }
  if ((word & kSleepers) != 0) futex_wake_bits(low_half(line_->word), INT_MAX, kWakeReaders);
  if (line_->armed.load() != 0) ring(a);
  return LockOutcome::kOk;
}

}  // namespace heddle::shm
