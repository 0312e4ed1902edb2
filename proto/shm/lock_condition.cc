// Conditions: each waiter stands in a cell with a ticket.
//
// wait        (1) cell EMPTY -> TRY, ticket, -> WAITING; (2) release the lock; (3) sleep on the
//             cell; (4) take the lock again; (5) only then cell -> EMPTY.
//             Dead before (1) is done: nothing. Dead while WAITING: the cell is emptied. Dead
//             NOTIFIED, up to (5): the notification goes to the next one first, then the cell is
//             emptied; a reaper killed in between makes one wake too many, never one too few.
// notify      the oldest WAITING -> NOTIFIED by CAS, wake its cell.
// notify_all  raises `all_upto` to the last ticket: that is the commit. Then every WAITING up to it
//             becomes NOTIFIED and is woken; a notifier that stops in between leaves that to
//             rescan(), and every waiter looks at `all_upto` when it wakes.
// timeout     one CAS WAITING -> BROKE decides against a notification.
#include <climits>

#include "proto/shm/lock_cells.h"
#include "proto/shm/wait_note.h"

namespace heddle::shm {
namespace {

bool reached(uint32_t upto, uint32_t ticket) { return static_cast<int32_t>(upto - ticket) >= 0; }

}  // namespace

LockOutcome Lock::begin_wait(LockActor& a, Lock& lock, Standing* s) {
  if (gone()) return LockOutcome::kGone;
  if (holder_in(lock.line_->word.load()) != a.holder()) return LockOutcome::kNotHeld;
  uint64_t claimed;
  s->cell = claim_cell(a, CellState::kTry, &claimed, true);
  if (s->cell == nullptr) return gone() ? LockOutcome::kGone : LockOutcome::kTooMany;
  s->number = line_->ticket.fetch_add(1) + 1;
  keep_tickets_near(s->number);
  s->word = cell_in_state(claimed, CellState::kWaiting);
  if (!write_note(*s->cell, claimed, s->number) ||
      !s->cell->word.compare_exchange_strong(claimed, s->word)) {
    return LockOutcome::kGone;
  }
  note_sleeper();
  const uint64_t held = lock.line_->word.load();
  s->depth = lock.entries(held);
  if (s->depth != 0 && holder_in(held) == a.holder()) lock.set_entries(held, 0);
  const LockOutcome outcome = lock.release(a);
  if (outcome != LockOutcome::kOk) pass_wait(a, *s);
  return outcome;
}

/// `all_upto` is compared with tickets by their distance, so it must not fall too far behind: up to
/// the oldest waiter's it says nothing that it did not say before.
void Lock::keep_tickets_near(uint32_t ticket) {
  uint32_t upto = line_->all_upto.load();
  if (ticket - upto < 1u << 30) return;
  uint32_t oldest = ticket;
  each_cell([&](Cell& cell) {
    const uint64_t seen = cell.word.load();
    uint32_t number;
    const bool waits = state_in(seen) == CellState::kWaiting && read_note(cell, seen, &number);
    if (waits && !reached(number, oldest)) oldest = number;
    return true;
  });
  line_->all_upto.compare_exchange_strong(upto, oldest - 1);
}

LockOutcome Lock::look_wait(const Standing& s) const {
  if (gone()) return LockOutcome::kGone;
  const uint64_t seen = s.cell->word.load();
  // Forced away, or the lock was deleted and made anew.
  if (seq_in(seen) != seq_in(s.word)) return LockOutcome::kGone;
  if (state_in(seen) == CellState::kNotified) return LockOutcome::kOk;
  return reached(line_->all_upto.load(), s.number) ? LockOutcome::kOk : LockOutcome::kTimedOut;
}

bool Lock::stop_wait(const Standing& s) {
  uint64_t waiting = s.word;
  return s.cell->word.compare_exchange_strong(waiting, cell_in_state(waiting, CellState::kBroke));
}

void Lock::end_wait(const Standing& s) { empty_cell(*s.cell, s.word); }

void Lock::pass_wait(LockActor& a, const Standing& s) {
  const uint64_t seen = s.cell->word.load();
  if (seq_in(seen) == seq_in(s.word) && state_in(seen) == CellState::kNotified) notify_oldest(&a);
  empty_cell(*s.cell, s.word);
}

void Lock::restore_depth(uint32_t depth) {
  if (depth != 0) set_entries(line_->word.load(), depth);
}

LockOutcome Lock::wait(LockActor& a, Lock& lock, int64_t deadline_ns, Grant* grant) {
  Standing s;
  LockOutcome outcome = begin_wait(a, lock, &s);
  if (outcome != LockOutcome::kOk) return outcome;
  {
    WaitNote note(a, WaitFor::kCondition, static_cast<uint32_t>(line_->object_id.load()));
    note.publish();
    while ((outcome = look_wait(s)) == LockOutcome::kTimedOut) {
      const int64_t now_ns = monotonic_ns();
      const bool late = now_ns >= deadline_ns;
      if (late && stop_wait(s)) break;
      if (late) continue;
      note.tell(now_ns);
      const int64_t wake_ns = note.wake_at(now_ns, deadline_ns);
      const int result =
          futex_wait_until(low_half(s.cell->word), static_cast<uint32_t>(s.word), wake_ns, ~0u);
      if (note.interrupted(result) && stop_wait(s)) {
        outcome = LockOutcome::kInterrupted;
        break;
      }
    }
  }
  if (mutated(LockMutant::kCellEmptiedEarly)) end_wait(s);
  const LockOutcome again = take_back(a, lock, grant);
  if (again != LockOutcome::kOk) {
    pass_wait(a, s);
    return again;
  }
  lock.restore_depth(s.depth);
  end_wait(s);
  return outcome;
}

/// Nothing but a reason that concerns the lock itself ends this without it.
LockOutcome Lock::take_back(LockActor& a, Lock& lock, Grant* grant) {
  Grant unused;
  const bool interruptible = a.interruptible;
  bool (*const look)(void*) = a.look;
  a.interruptible = false;
  a.look = nullptr;
  LockOutcome again;
  while ((again = lock.acquire(a, kLockForever, grant != nullptr ? grant : &unused)) ==
         LockOutcome::kTooMany) {
    // No room to stand in line; there will be.
    const uint64_t word = lock.line_->word.load();
    futex_wait_until(low_half(lock.line_->word), static_cast<uint32_t>(word),
                     monotonic_ns() + kStarvingNs, kWakeWriters);
  }
  a.interruptible = interruptible;
  a.look = look;
  return again;
}

uint32_t Lock::notified() const {
  uint32_t count = 0;
  each_cell([&](Cell& cell) {
    count += state_in(cell.word.load(std::memory_order_acquire)) == CellState::kNotified;
    return true;
  });
  return count;
}

bool Lock::notify_oldest(LockActor* a) {
  for (;;) {
    Cell* oldest = nullptr;
    uint64_t word = 0;
    uint32_t ticket = 0;
    each_cell([&](Cell& cell) {
      const uint64_t seen = cell.word.load(std::memory_order_acquire);
      if (state_in(seen) != CellState::kWaiting) return true;
      uint32_t number;
      if (!read_note(cell, seen, &number) || reached(line_->all_upto.load(), number)) return true;
      if (oldest != nullptr && reached(number, ticket)) return true;
      oldest = &cell;
      word = seen;
      ticket = number;
      return true;
    });
    if (oldest == nullptr || gone()) return false;
    if (!oldest->word.compare_exchange_strong(word, cell_in_state(word, CellState::kNotified))) {
      continue;
    }
    futex_wake(low_half(oldest->word), INT_MAX);
    if (a != nullptr) ring(*a);
    return true;
  }
}

uint32_t Lock::notify(LockActor& a, uint32_t n) {
  uint32_t told = 0;
  while (told < n && notify_oldest(&a)) ++told;
  return told;
}

uint32_t Lock::notify_all(LockActor& a) {
  const uint32_t told = tell_everybody();
  ring(a);
  return told;
}

uint32_t Lock::tell_everybody() {
  const uint32_t last = line_->ticket.load();
  uint32_t upto = line_->all_upto.load();
  if (gone()) return 0;
  if (mutated(LockMutant::kAllWithoutCommit)) {
    uint32_t told = 0;
    while (notify_oldest(nullptr)) ++told;
    return told;
  }
  while (!reached(upto, last) && !line_->all_upto.compare_exchange_weak(upto, last)) {
  }
  return tell_all();
}

/// WAITING up to `all_upto` -> NOTIFIED, woken.
uint32_t Lock::tell_all() {
  uint32_t told = 0;
  each_cell([&](Cell& cell) {
    uint64_t seen = cell.word.load(std::memory_order_acquire);
    if (state_in(seen) != CellState::kWaiting) return true;
    uint32_t number;
    if (!read_note(cell, seen, &number) || !reached(line_->all_upto.load(), number)) return true;
    if (gone()) return false;
    if (!cell.word.compare_exchange_strong(seen, cell_in_state(seen, CellState::kNotified))) {
      return true;
    }
    futex_wake(low_half(cell.word), INT_MAX);
    ++told;
    return true;
  });
  return told;
}

}  // namespace heddle::shm
