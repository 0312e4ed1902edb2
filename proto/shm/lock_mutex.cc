// The lock word: mutex, rlock, the own lock of a condition, and the writer's side of a rw lock.
//
// acquire  (1) load the word; (2) nobody owns it: load base; (3) CAS {0, T} -> {me, T + 1}.
//          Base is loaded between word and CAS, so a CAS that succeeds proves that no grant came in
//          between: a thread that stops there cannot make a token from a later base. (4) Whoever
//          finds base behind steps it, by CAS.
//          Dead or stopped before (3): nothing happened. After it: the word names the dead one.
// release  (1) CAS {me} -> {0, SLEEPERS kept, STARVING -> HANDOFF}; (2) if SLEEPERS: wake one; (3)
//          nobody there: clear SLEEPERS and HANDOFF by CAS against the word of (1).
//          Dead or stopped between (1) and (2): the lock is free, a sleeper is owed a wake: reap()
//          and rescan() find {owner 0, SLEEPERS}. Before (3): one wake too many for the next.
// waiting  take first, then look at the clock: who times out never leaves with a wake that was
//          meant for others. A newcomer that finds HANDOFF sleeps first, kStarvingNs at most; then
//          it counts as a sleeper, so a hand-off that nobody takes heals.
// strict   waiters stand in cells with tickets, only the first of them takes the lock, except when
//          it has been free for kStrictPatienceNs: the first one is stopped then.
// rlock    `depth` names the token it belongs to, so nobody has to clear it when an owner dies.
#include <climits>

#include "proto/shm/cpu_pause.h"
#include "proto/shm/lock_cells.h"
#include "proto/shm/wait_note.h"

namespace heddle::shm {
namespace {

constexpr int64_t kStrictPatienceNs = 5'000'000;
// Longer pauses: a turn takes longer to change hands; shorter: each look takes the line away from
// the one who works with it. At four both come to what a robust pthread mutex does, or more;
// growing ones doubled one and halved the other.
constexpr int kPausesPerLook = 4;
constexpr int kLooksPerRound = 6;

bool reentrant(const LockLine& line) {
  const auto kind = static_cast<LockKind>(line.kind.load(std::memory_order_relaxed));
  return kind == LockKind::kRlock || kind == LockKind::kCondition;
}

WaitFor wait_for(uint64_t flags) {
  return (flags & kUpdate) != 0 ? WaitFor::kUpdate : WaitFor::kExclusive;
}

}  // namespace

void Lock::tell_grant(uint64_t word, uint64_t base, uint64_t before, Grant* grant) {
  const uint32_t low = token_low(word);
  if ((base & 1) != low >> 31) {
    // Behind by one, for `base` was loaded before the grant; the new token counts, so only a word
    // that crossed a half is looked at.
    uint64_t seen = base;
    line_->base.compare_exchange_strong(seen, base + 1);
  }
  grant->token = full_token(base, low);
  grant->abandoned = (before & kAbandoned) != 0;
  grant->dead_holder =
      grant->abandoned ? static_cast<uint32_t>(line_->dead_by.load() & kHolderMask) : 0;
}

/// Entries of an rlock beyond the first, under the grant of `word`.
uint32_t Lock::entries(uint64_t word) const {
  const uint64_t depth = line_->depth.load(std::memory_order_relaxed);
  return depth >> 32 == token_low(word) ? static_cast<uint32_t>(depth) : 0;
}

void Lock::set_entries(uint64_t word, uint32_t entries) {
  line_->depth.store(entries == 0 ? 0 : (word & ~kLowMask) | entries, std::memory_order_relaxed);
}

LockOutcome Lock::acquire(LockActor& a, int64_t deadline_ns, Grant* grant) {
  return acquire_word(a, 0, deadline_ns, grant);
}

LockOutcome Lock::acquire_word(LockActor& a, uint64_t flags, int64_t deadline_ns, Grant* grant) {
  uint64_t word = line_->word.load(std::memory_order_acquire);
  // The word first: see lock_layout.h.
  if (gone()) [[unlikely]]
    return LockOutcome::kGone;
  const bool strict =
      line_->fair.load(std::memory_order_relaxed) == static_cast<uint8_t>(Fairness::kStrict);
  if ((word & kLowMask) == 0 && !strict) [[likely]] {
    const uint64_t base = line_->base.load(std::memory_order_acquire);
    const uint64_t mine = (word + kTokenOne) | flags | a.holder();
    if (line_->word.compare_exchange_strong(word, mine)) [[likely]] {
      const bool late = mutated(LockMutant::kBaseAfterCas);
      tell_grant(mine, late ? line_->base.load() : base, 0, grant);
      return LockOutcome::kOk;
    }
  }
  return acquire_slow(a, flags, deadline_ns, grant);
}

bool Lock::take_word(LockActor& a, uint64_t flags, bool slept, bool starving, uint64_t seen,
                     Grant* grant) {
  const uint64_t base = line_->base.load(std::memory_order_acquire);
  uint64_t keep = seen & kSleepers;
  // There may be more that starve; if not, the release finds nobody to wake and clears it all.
  if (slept && starving && keep != 0) keep |= kStarving;
  // Neither a claim nor an update repairs anything: the exclusive grant after them is told as well.
  if ((flags & (kClaimed | kUpdate)) != 0) keep |= seen & kAbandoned;
  if (mutated(LockMutant::kClaimForgetsDeath)) keep &= ~kAbandoned;
  if (mutated(LockMutant::kAbandonedStays)) keep |= seen & kAbandoned;
  const uint64_t mine = ((seen & ~kLowMask) + kTokenOne) | keep | flags | a.holder();
  if (!line_->word.compare_exchange_strong(seen, mine)) return false;
  tell_grant(mine, base, (flags & kClaimed) != 0 ? 0 : seen, grant);
  return true;
}

bool Lock::first_in_line(uint32_t ticket) const {
  return each_cell([&](Cell& cell) {
    const uint64_t seen = cell.word.load(std::memory_order_acquire);
    if (state_in(seen) != CellState::kWaiting) return true;
    uint32_t other;
    return !read_note(cell, seen, &other) || static_cast<int32_t>(other - ticket) >= 0;
  });
}

bool Lock::anybody_in_line() const {
  return !each_cell([](Cell& cell) { return state_in(cell.word.load()) != CellState::kWaiting; });
}

/// `cell` is claimed as TRY, which a writer that looks for readers may have refused meanwhile.
void Lock::stand_in_line(Cell* cell, uint64_t* in_cell, uint32_t* ticket) {
  *ticket = line_->ticket.fetch_add(1) + 1;
  if (!write_note(*cell, *in_cell, *ticket)) return;
  const uint64_t waiting = cell_in_state(*in_cell, CellState::kWaiting);
  while (seq_in(*in_cell) == seq_in(waiting) && holder_in(*in_cell) == holder_in(waiting)) {
    if (!cell->word.compare_exchange_strong(*in_cell, waiting)) continue;
    *in_cell = waiting;
    return;
  }
}

/// An rlock that the caller has already.
bool Lock::enter_again(LockActor& a, Grant* grant, LockOutcome* outcome) {
  const uint64_t mine = line_->word.load(std::memory_order_relaxed);
  if (holder_in(mine) != a.holder() || !reentrant(*line_)) return false;
  *outcome = entries(mine) == UINT32_MAX ? LockOutcome::kTooMany : LockOutcome::kOk;
  if (*outcome != LockOutcome::kOk) return true;
  set_entries(mine, entries(mine) + 1);
  *grant = {.token = token()};
  return true;
}

/// One wait for the word.
struct Lock::WordWait {
  /// For how long a word has stood as it is, sleepers' marks apart.
  struct Unchanged {
    uint64_t word = 0;
    int64_t since_ns = 0;

    int64_t for_ns(uint64_t seen, int64_t now_ns) {
      seen &= ~(kSleepers | kStarving);
      if (since_ns == 0 || seen != word) word = seen, since_ns = now_ns;
      return now_ns - since_ns;
    }
  };

  LockActor& a;
  const uint64_t flags;
  const int64_t deadline_ns;
  Grant* const grant;
  const bool strict;
  WaitNote note;
  uint32_t ticket;
  bool slept;
  LockOutcome outcome = LockOutcome::kOk;
  Cell* cell = nullptr;
  uint64_t in_cell = 0;
  int64_t began_ns = 0;
  Unchanged unchanged{};
  int spins = 0;

  bool starving(int64_t now_ns) const { return began_ns != 0 && now_ns - began_ns > kStarvingNs; }
  Step done(LockOutcome how) {
    outcome = how;
    return Step::kDone;
  }
};

/// Takes it, or takes away what stands in the way for no good reason.
Lock::Step Lock::try_word(WordWait& w, uint64_t word, int64_t now_ns) {
  const int64_t stands_ns = w.unchanged.for_ns(word, now_ns);
  if (gone()) return w.done(LockOutcome::kGone);
  if ((word & kPoisoned) != 0) return w.done(LockOutcome::kPoisoned);
  if (holder_in(word) == 0) {
    const bool starving = w.starving(now_ns);
    bool may = (word & kHandOff) == 0 || w.slept || starving;
    if (w.strict) {
      may = stands_ns > kStrictPatienceNs ||
            first_in_line(w.cell != nullptr ? w.ticket : w.ticket + 1);
    }
    if (!may) return Step::kGoOn;
    if (!take_word(w.a, w.flags, w.slept, starving, word, w.grant)) return Step::kAgain;
    return w.done(LockOutcome::kOk);
  }
  if ((word & kClaimed) != 0 && stands_ns > kStarvingNs && !readers_inside() &&
      !mutated(LockMutant::kClaimStays)) {
    // A writer that stopped while it waited for readers that have gone.
    withdraw_claim(&w.a, word);
    return Step::kAgain;
  }
  return Step::kGoOn;
}

/// Whether to wait at all; stands in line and says so before the first sleep.
Lock::Step Lock::before_sleep(WordWait& w, int64_t now_ns) {
  if (w.deadline_ns == kLockTry) return w.done(LockOutcome::kTimedOut);
  if (++w.spins <= w.a.spins_max * kLooksPerRound) {
    for (int i = 0; i < kPausesPerLook; ++i) cpu_pause();
    return Step::kAgain;
  }
  if (now_ns >= w.deadline_ns) return w.done(LockOutcome::kTimedOut);
  if (w.note.cancelled()) return w.done(LockOutcome::kDeadlock);
  if (w.note.published()) return Step::kGoOn;
  if (w.strict && w.cell == nullptr) {
    w.cell = claim_cell(w.a, CellState::kTry, &w.in_cell, true);
    if (w.cell == nullptr) return w.done(LockOutcome::kTooMany);
    stand_in_line(w.cell, &w.in_cell, &w.ticket);
  }
  w.note.publish();
  w.began_ns = w.note.since_ns();
  return Step::kAgain;
}

Lock::Step Lock::sleep_on_word(WordWait& w, uint64_t word, int64_t now_ns) {
  w.note.tell(now_ns);
  const uint64_t want = word | kSleepers | (w.slept && w.starving(now_ns) ? kStarving : 0);
  uint64_t seen = word;
  if (want != word && !line_->word.compare_exchange_strong(seen, want)) return Step::kAgain;
  note_sleeper();
  if (token_low(line_->seen.load()) != token_low(word)) {
    line_->seen.store((word & ~kLowMask) | coarse_ms());
  }
  int64_t wake_ns = w.note.wake_at(now_ns, w.deadline_ns);
  if (holder_in(word) == 0 || (word & kClaimed) != 0) {
    wake_ns = std::min(wake_ns, now_ns + kStarvingNs);
  }
  const int result =
      futex_wait_until(low_half(line_->word), static_cast<uint32_t>(want), wake_ns, kWakeWriters);
  if (result == 0 || result == ETIMEDOUT) w.slept = true;
  return w.note.interrupted(result) ? w.done(LockOutcome::kInterrupted) : Step::kAgain;
}

LockOutcome Lock::acquire_slow(LockActor& a, uint64_t flags, int64_t deadline_ns, Grant* grant) {
  LockOutcome outcome;
  if (enter_again(a, grant, &outcome)) return outcome;
  const bool strict =
      line_->fair.load(std::memory_order_relaxed) == static_cast<uint8_t>(Fairness::kStrict);
  WordWait w{.a = a,
             .flags = flags,
             .deadline_ns = deadline_ns,
             .grant = grant,
             .strict = strict,
             .note{a, wait_for(flags), static_cast<uint32_t>(line_->object_id.load())},
             .ticket = line_->ticket.load(),
             .slept = a.slept};
  for (Step step = Step::kAgain; step != Step::kDone;) {
    // Wanted for writing: between a look that only reads and its CAS the other would take it again.
    prefetch_for_write(&line_->word);
    const uint64_t word = line_->word.load(std::memory_order_acquire);
    const int64_t now_ns = w.spins < a.spins_max * kLooksPerRound ? 0 : monotonic_ns();
    step = try_word(w, word, now_ns);
    if (step == Step::kGoOn) step = before_sleep(w, now_ns);
    if (step == Step::kGoOn) step = sleep_on_word(w, word, now_ns);
  }
  if (w.cell == nullptr) return w.outcome;
  empty_cell(*w.cell, w.in_cell);
  if (w.outcome != LockOutcome::kOk) {
    const uint64_t word = line_->word.load();
    if (holder_in(word) == 0) wake_waiters(&a, word);
  }
  return w.outcome;
}

/// Wakes whom a release to `stored` is for: of a rw lock all readers, and one that wants the word.
void Lock::wake_waiters(LockActor* a, uint64_t stored) {
  if ((stored & kSleepers) == 0) return;
  const bool armed = line_->armed.load() != 0;
  if (armed && a != nullptr) ring(*a);
  if (armed && a == nullptr) mark_dirty();
  const bool strict =
      line_->fair.load(std::memory_order_relaxed) == static_cast<uint8_t>(Fairness::kStrict);
  int woken = 0;
  if (static_cast<LockKind>(line_->kind.load(std::memory_order_relaxed)) == LockKind::kRw) {
    woken += futex_wake_bits(low_half(line_->word), INT_MAX, kWakeReaders);
  }
  // In a strict line only the first may take it, and the kernel does not know which that is.
  woken += futex_wake_bits(low_half(line_->word), strict ? INT_MAX : 1, kWakeWriters);
  if (woken != 0) return;
  // A remote caller has had its time to take what was handed off when the net comes by.
  if (armed && a != nullptr) return;
  uint64_t without = stored & ~(kHandOff | kStarving);
  // Newcomers look at the line only when they find the word marked.
  if (!armed && !(strict && anybody_in_line())) without &= ~kSleepers;
  if (without == stored || !line_->word.compare_exchange_strong(stored, without)) return;
  // One may have gone to sleep on this very word between the wake and the CAS.
  if ((without & kSleepers) == 0 && !mutated(LockMutant::kNoWakeAfterClearing))
    futex_wake(low_half(line_->word), INT_MAX);
}

LockOutcome Lock::let_go(LockActor& a, uint64_t held) {
  for (;;) {
    uint64_t free = held & (~kLowMask | kSleepers);
    if ((held & kUpdate) != 0) free |= held & kAbandoned;
    if (mutated(LockMutant::kAbandonedStays)) free |= held & kAbandoned;
    const bool starves = (held & kStarving) != 0 && (held & kSleepers) != 0;
    if (starves && !mutated(LockMutant::kHandOffForgotten)) free |= kHandOff;
    if (mutated(LockMutant::kReleaseClears)) {
      if (!line_->word.compare_exchange_strong(held, free & ~kSleepers)) continue;
      futex_wake_bits(low_half(line_->word), 1, kWakeWriters);
      return LockOutcome::kOk;
    }
    if (line_->word.compare_exchange_strong(held, free)) {
      wake_waiters(&a, free);
      return LockOutcome::kOk;
    }
    if (gone()) return LockOutcome::kGone;
    if (holder_in(held) != a.holder()) return LockOutcome::kNotHeld;
  }
}

LockOutcome Lock::release(LockActor& a, uint32_t for_holder) {
  uint64_t word = line_->word.load(std::memory_order_relaxed);
  const uint32_t holder = for_holder != 0 ? for_holder : a.holder();
  if (gone()) [[unlikely]]
    return LockOutcome::kGone;
  if (holder_in(word) != holder) return LockOutcome::kNotHeld;
  if (line_->depth.load(std::memory_order_relaxed) != 0) [[unlikely]] {
    const uint32_t inner = entries(word);
    if (holder == a.holder()) set_entries(word, inner != 0 ? inner - 1 : 0);
    if (inner != 0 && holder == a.holder()) return LockOutcome::kOk;
  }
  if (holder != a.holder() && reentrant(*line_)) return LockOutcome::kNotHeld;
  const uint64_t bare = (word & ~kLowMask) | holder;
  if (word == bare) [[likely]] {
    if (line_->word.compare_exchange_strong(word, word & ~kLowMask)) return LockOutcome::kOk;
  }
  if (for_holder == 0) return let_go(a, word);
  LockActor other = a;
  other.owner = owner_in(for_holder);
  other.thread = thread_in(for_holder);
  return let_go(other, word);
}

LockOutcome Lock::force_release(uint32_t holder) {
  LockOutcome outcome = LockOutcome::kNotHeld;
  const auto kind = static_cast<LockKind>(line_->kind.load());
  uint64_t word = line_->word.load();
  while (holder_in(word) != 0 && (holder == 0 || holder_in(word) == holder)) {
    if (gone()) return LockOutcome::kGone;
    const uint32_t was = holder_in(word);
    line_->dead_by.store((word & ~kLowMask) | was);
    const bool told = (word & (kClaimed | kUpdate)) == 0 && kind != LockKind::kSemaphore &&
                      line_->policy.load() != static_cast<uint8_t>(DeathPolicy::kSilent);
    // A claim carries the word of an earlier death.
    const uint64_t keep = ~kLowMask | kSleepers | kAbandoned;
    if (!line_->word.compare_exchange_weak(word, (word & keep) | (told ? kAbandoned : 0))) continue;
    outcome = LockOutcome::kOk;
    break;
  }
  if (kind == LockKind::kRw || kind == LockKind::kSemaphore) {
    each_cell([&](Cell& cell) {
      uint64_t seen = cell.word.load();
      if (state_in(seen) != CellState::kHeld) return true;
      if (holder != 0 && holder_in(seen) != holder) return true;
      if (gone()) return false;
      if (cell.word.compare_exchange_strong(seen, cell_emptied(seen))) outcome = LockOutcome::kOk;
      return true;
    });
  }
  wake_everybody();
  if (kind == LockKind::kSemaphore) wake_head(nullptr, INT_MAX);
  return outcome;
}

bool Lock::repair() {
  uint64_t word = line_->word.load();
  while ((word & kPoisoned) != 0 && !gone()) {
    if (!line_->word.compare_exchange_weak(word, (word & ~kPoisoned) | kAbandoned)) continue;
    wake_everybody();
    return true;
  }
  return false;
}

bool Lock::has_sleepers() const {
  if ((line_->word.load() & kSleepers) != 0) return true;
  // A barrier's head has another bit there.
  if (kind() != LockKind::kBarrier && (line_->head.load() & kHeadSleepers) != 0) return true;
  if (line_->armed.load() != 0) return true;
  const uint64_t word = line_->word.load();
  if (holder_in(word) != 0 && (word & kClaimed) != 0) return true;
  return !each_cell([](Cell& cell) {
    const CellState state = state_in(cell.word.load());
    return state != CellState::kWaiting && state != CellState::kNotified &&
           state != CellState::kArrived;
  });
}

}  // namespace heddle::shm
