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
  s->cell->note.store(s->number);
  s->word = cell_in_state(claimed, CellState::kWaiting);
  s->cell->word.store(s->word);
  note_sleeper();
  s->depth = lock.line_->depth.exchange(0);
  return lock.release(a);
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

void Lock::end_wait(const Standing& s) {
  uint64_t seen = s.cell->word.load();
  while (seq_in(seen) == seq_in(s.word) && holder_in(seen) == holder_in(s.word)) {
    if (s.cell->word.compare_exchange_weak(seen, cell_emptied(seen))) return;
  }
}

LockOutcome Lock::wait(LockActor& a, Lock& lock, int64_t deadline_ns) {
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
      const int64_t wake_ns = std::min(deadline_ns, now_ns + a.sleep_ns_max);
      const int result =
          futex_wait_until(low_half(s.cell->word), static_cast<uint32_t>(s.word), wake_ns, ~0u);
      if (note.interrupted(result) && stop_wait(s)) {
        outcome = LockOutcome::kInterrupted;
        break;
      }
    }
  }
  Grant grant;
  const bool interruptible = a.interruptible;
  a.interruptible = false;
  const LockOutcome again = lock.acquire(a, kLockForever, &grant);
  a.interruptible = interruptible;
  if (again == LockOutcome::kOk) lock.line_->depth.store(s.depth);
  end_wait(s);
  return again == LockOutcome::kOk ? outcome : again;
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
      const auto number = static_cast<uint32_t>(cell.note.load(std::memory_order_acquire));
      if (reached(line_->all_upto.load(), number)) return true;
      if (oldest != nullptr && reached(number, ticket)) return true;
      oldest = &cell;
      word = seen;
      ticket = number;
      return true;
    });
    if (oldest == nullptr) return false;
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
  const uint32_t last = line_->ticket.load();
  uint32_t upto = line_->all_upto.load();
  while (!reached(upto, last) && !line_->all_upto.compare_exchange_weak(upto, last)) {
  }
  const uint32_t told = tell_all();
  ring(a);
  return told;
}

/// WAITING up to `all_upto` -> NOTIFIED, woken.
uint32_t Lock::tell_all() {
  uint32_t told = 0;
  each_cell([&](Cell& cell) {
    uint64_t seen = cell.word.load(std::memory_order_acquire);
    if (state_in(seen) != CellState::kWaiting) return true;
    const auto number = static_cast<uint32_t>(cell.note.load(std::memory_order_acquire));
    if (!reached(line_->all_upto.load(), number)) return true;
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
