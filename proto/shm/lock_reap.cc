// Deaths, and what stopped processes owe.
//
// reap() looks at every word of the segment and repairs those that name an owner which is not
// alive, each by one CAS to a final state; then it wakes everybody on that lock. It needs no list
// of what the dead held, believes nothing that they wrote, and doing it again is harmless: a reaper
// that is killed leaves words that still name the dead, or a lock that the next rescan() wakes.
//
//   word   owner granted  -> {0, ABANDONED}, or POISONED, by the policy; dead_by is written before
//          claim, update  -> {0}
//          HANDOFF        -> cleared: those it was meant for may be the dead
//   cell   HELD, TRY, REFUSED, WAITING, BROKE, MEMBER -> EMPTY
//          NOTIFIED       -> the next waiter is notified, then EMPTY
//          ARRIVED        -> the generation completes or breaks, then EMPTY; a dead MEMBER breaks
//          it
//   link   CLAIMED(dead)  -> LINKED if the chain reaches it, else FREE; of a free line -> FREE
//
// rescan() is the net under wakes: it wakes where somebody sleeps who could go on.
#include <climits>

#include "proto/shm/lock_cells.h"
#include "proto/shm/wait_note.h"

namespace heddle::shm {

bool Lock::reap_word(Alive alive, void* context) {
  uint64_t word = line_->word.load();
  for (;;) {
    const uint32_t holder = holder_in(word);
    uint64_t free = word & (~kLowMask | kSleepers | kAbandoned | kPoisoned);
    if (holder == 0) {
      if ((word & kHandOff) == 0) return false;
    } else {
      if (alive(context, owner_in(word))) return false;
      if ((word & (kClaimed | kUpdate)) == 0) {
        line_->dead_by.store((word & ~kLowMask) | holder);
        const auto policy = static_cast<DeathPolicy>(line_->policy.load());
        if (policy == DeathPolicy::kFlag) free |= kAbandoned;
        if (policy == DeathPolicy::kPoison) free |= kPoisoned;
      }
      line_->depth.store(0);
    }
    if (line_->word.compare_exchange_weak(word, free)) return true;
  }
}

/// True when the cell may be emptied; false when a live one changed what was seen.
bool Lock::reap_arrival(Cell& cell, uint64_t word) {
  const uint64_t head = line_->head.load();
  const auto generation = static_cast<uint32_t>(head & kLowMask) >> 1;
  const bool member = state_in(word) == CellState::kMember;
  if (!member && cell.note.load() >> 2 != generation) return true;
  bool action = false;
  const bool complete = all_arrived(generation, &action);
  const bool leads = line_->drain.load() == generation + 1;
  return end_generation(head, !complete || (action && leads), false);
}

bool Lock::reap_cell(Cell& cell, Alive alive, void* context) {
  uint64_t word = cell.word.load();
  for (;;) {
    if (holder_in(word) == 0 || alive(context, owner_in(word))) return false;
    const CellState state = state_in(word);
    if (state == CellState::kNotified) notify_oldest(nullptr);
    if (state == CellState::kWaiting &&
        static_cast<int32_t>(line_->all_upto.load() - cell.note.load()) >= 0) {
      tell_all();
    }
    const bool barrier = kind() == LockKind::kBarrier;
    if (barrier && (state == CellState::kArrived || state == CellState::kMember) &&
        !reap_arrival(cell, word)) {
      word = cell.word.load();
      continue;
    }
    if (cell.word.compare_exchange_weak(word, cell_emptied(word))) return true;
  }
}

void Lock::reap(Alive alive, void* context) {
  bool changed = reap_word(alive, context);
  each_cell([&](Cell& cell) {
    changed = reap_cell(cell, alive, context) || changed;
    return true;
  });
  if (changed) {
    note_sleeper();
    wake_everybody();
    if (kind() == LockKind::kSemaphore || kind() == LockKind::kCounting)
      wake_head(nullptr, INT_MAX);
  } else {
    rescan();
  }
}

void Lock::rescan() {
  const uint64_t word = line_->word.load();
  const uint64_t head = line_->head.load();
  switch (kind()) {
    case LockKind::kNone:
      return;
    case LockKind::kSemaphore:
    case LockKind::kCounting:
      if ((head & kHeadSleepers) != 0 && permits_free() > 0) wake_head(nullptr, permits_free());
      return;
    case LockKind::kEvent:
      if ((head & kEventSet) != 0) futex_wake(low_half(line_->head), INT_MAX);
      return;
    case LockKind::kBarrier: {
      const auto generation = static_cast<uint32_t>(head & kLowMask) >> 1;
      bool action = false, late = false;
      if (all_arrived(generation, &action) && !action) end_generation(head, false, false);
      each_cell([&](Cell& cell) {
        const bool arrived = state_in(cell.word.load()) == CellState::kArrived;
        late = late || (arrived && cell.note.load() >> 2 != generation);
        return true;
      });
      if (late || action) futex_wake(low_half(line_->head), INT_MAX);
      return;
    }
    case LockKind::kRw:
      if (holder_in(word) != 0 && (word & kClaimed) != 0 && !readers_inside()) ring_drain();
      break;
    case LockKind::kCondition:
      tell_all();
      each_cell([](Cell& cell) {
        if (state_in(cell.word.load()) == CellState::kNotified) {
          futex_wake(low_half(cell.word), INT_MAX);
        }
        return true;
      });
      break;
    default:
      break;
  }
  if ((word & kSleepers) == 0) return;
  const bool readers_may = holder_in(word) != 0 && (word & kUpdate) != 0 && (word & kClaimed) == 0;
  if (holder_in(word) == 0) wake_waiters(nullptr, word);
  if (readers_may) futex_wake_bits(low_half(line_->word), INT_MAX, kWakeReaders);
}

void LockSegment::reap(bool (*alive)(void* context, uint16_t owner), void* context) {
  const uint32_t used = header().lines_used.load();
  for (uint32_t index = 0; index < used && index < geometry_.lines_max; ++index) {
    const uint32_t generation = line(index).generation.load();
    if (generation % 2 != 0) Lock(this, index, generation).reap(alive, context);
  }
  for (uint32_t block = 1; block <= geometry_.blocks_max; ++block) {
    uint64_t seen = link(block - 1).load();
    const LinkWord word = LinkWord::decode(seen);
    if (word.state == LinkState::kFree) continue;
    const bool live_line =
        word.line < geometry_.lines_max && line(word.line).generation.load() % 2 != 0;
    const bool dead_claim = word.state == LinkState::kClaimed && !alive(context, word.owner);
    if (dead_claim && live_line && chained(block, word.line)) {
      settle_link(block);
    } else if (dead_claim || (word.state == LinkState::kLinked && !live_line)) {
      link(block - 1).compare_exchange_strong(seen, LinkWord{}.encode());
    }
  }
}

void LockSegment::rescan() {
  for (uint32_t group = 0; group < (geometry_.lines_max + 63) / 64; ++group) {
    std::atomic<uint64_t>& bits = header().sleepers[group];
    if (bits.load(std::memory_order_relaxed) == 0) continue;
    uint64_t marked = bits.exchange(0);
    for (; marked != 0; marked &= marked - 1) {
      const uint32_t index = group * 64 + static_cast<uint32_t>(__builtin_ctzll(marked));
      if (index >= geometry_.lines_max) break;
      const uint32_t generation = line(index).generation.load();
      if (generation % 2 == 0) continue;
      Lock lock(this, index, generation);
      lock.rescan();
      if (lock.has_sleepers()) lock.note_sleeper();
    }
  }
}

}  // namespace heddle::shm
