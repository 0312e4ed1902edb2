// Deaths, and what stopped processes owe.
//
// reap() looks at every word of the segment and repairs those that name an owner which is not
// alive, each by one CAS to a final state; then it wakes everybody on that lock. It needs no list
// of what the dead held, believes nothing that they wrote, and doing it again is harmless: a reaper
// that is killed leaves words that still name the dead, or a lock that the next rescan() wakes.
//
//   word   owner granted  -> {0, ABANDONED}, or POISONED, by the policy; dead_by is written before
//          claim, update  -> {0}
//          of a semaphore -> {0}
//          HANDOFF        -> cleared: those it was meant for may be the dead
//   cell   HELD, TRY, REFUSED, WAITING, BROKE -> EMPTY
//          NOTIFIED       -> the next waiter is notified, then EMPTY
//          ARRIVED        -> the generation completes or breaks, then EMPTY
//          MEMBER         -> BROKE with the generation it breaks, which breaks, then EMPTY
//   link   CLAIMED(dead)  -> LINKED if the chain reaches it, else FREE; of a free line -> FREE
//
// rescan() is the net under wakes: it wakes where somebody sleeps who could go on.
#include <algorithm>
#include <climits>

#include "proto/shm/lock_cells.h"
#include "proto/shm/wait_note.h"

namespace heddle::shm {
namespace {

constexpr uint32_t kPassedMax = 64;

}  // namespace

bool Lock::reap_word(Alive alive, void* context) {
  uint64_t word = line_->word.load();
  for (;;) {
    const uint32_t holder = holder_in(word);
    uint64_t free = word & (~kLowMask | kSleepers | kAbandoned | kPoisoned);
    if (holder == 0) {
      if ((word & kHandOff) == 0) return false;
    } else {
      if (alive(context, owner_in(word))) return false;
      if ((word & (kClaimed | kUpdate)) == 0 && kind() != LockKind::kSemaphore) {
        line_->dead_by.store((word & ~kLowMask) | holder);
        const auto policy = static_cast<DeathPolicy>(line_->policy.load());
        if (policy == DeathPolicy::kFlag) free |= kAbandoned;
        if (policy == DeathPolicy::kPoison) free |= kPoisoned;
      }
    }
    if (line_->word.compare_exchange_weak(word, free)) return true;
  }
}

/// One reap of one lock.
struct Lock::Reaping {
  Alive alive;
  void* context;
  uint32_t generation;  // of a barrier, when it began
  uint32_t passed;      // notifications handed on
};

bool Lock::reap_cell(Cell& cell, Reaping& r) {
  uint64_t word = cell.word.load();
  for (;;) {
    if (holder_in(word) == 0 || r.alive(r.context, owner_in(word))) return false;
    const CellState state = state_in(word);
    if (kind() == LockKind::kBarrier) {
      if (!reap_party(cell, &word, r.generation)) {
        word = cell.word.load();
        continue;
      }
    } else if (state == CellState::kNotified && !mutated(LockMutant::kNotifiedNotPassed)) {
      // One by one means a walk each. Cells that say so by the thousand are scribbled, or all of
      // their owners died at once: then everybody else is told, which is too much but not too few.
      if (r.passed < kPassedMax) notify_oldest(nullptr);
      if (r.passed == kPassedMax) tell_everybody();
      ++r.passed;
    } else if (state == CellState::kWaiting) {
      uint32_t number;
      if (read_note(cell, word, &number) &&
          static_cast<int32_t>(line_->all_upto.load() - number) >= 0 && r.passed++ == 0) {
        tell_all();
      }
    }
    if (cell.word.compare_exchange_weak(word, cell_emptied(word))) return true;
  }
}

void Lock::reap(Alive alive, void* context) {
  bool changed = reap_word(alive, context);
  Reaping r{alive, context, barrier_generation(), 0};
  each_cell([&](Cell& cell) {
    changed = reap_cell(cell, r) || changed;
    return true;
  });
  if (mutated(LockMutant::kReaperSilent)) return;
  if (changed) {
    wake_everybody();
    if (kind() == LockKind::kSemaphore || kind() == LockKind::kCounting)
      wake_head(nullptr, INT_MAX);
  } else {
    rescan();
  }
  // A hint may have been lost with the broker before this one.
  if (has_sleepers()) note_sleeper();
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
    case LockKind::kBarrier:
      return rescan_barrier();
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

/// Not what the header says now: it may have been scribbled on.
uint32_t LockSegment::lines_used() {
  const uint32_t used = header().lines_used.load();
  lines_seen_ = std::max(lines_seen_, std::min(used, geometry_.lines_max));
  return lines_seen_;
}

void LockSegment::reap(bool (*alive)(void* context, uint16_t owner), void* context) {
  const uint32_t used = lines_used();
  for (uint32_t index = 0; index < used; ++index) {
    const uint32_t generation = line(index).generation.load();
    if (generation % 2 != 0) Lock(this, index, generation).reap(alive, context);
  }
  reap_links(alive, context);
}

void LockSegment::reap_links(bool (*alive)(void* context, uint16_t owner), void* context) {
  // As many as die at once, each with a chain to walk; what is left over waits for the next time.
  constexpr uint32_t kWalksMax = 256;
  uint32_t walks = 0;
  for (uint32_t block = 1; block <= geometry_.blocks_max; ++block) {
    uint64_t seen = link(block - 1).load();
    const LinkWord word = LinkWord::decode(seen);
    if (word.state == LinkState::kFree) continue;
    const bool live_line =
        word.line < geometry_.lines_max && line(word.line).generation.load() % 2 != 0;
    const bool dead_claim = word.state == LinkState::kClaimed && !alive(context, word.owner);
    if (dead_claim && live_line) {
      if (++walks > kWalksMax) continue;
      if (chained(block, word.line)) {
        settle_link(block, word.owner);
        continue;
      }
    }
    if (dead_claim || (word.state == LinkState::kLinked && !live_line)) free_block(block);
  }
}

void LockSegment::rescan() {
  for (uint32_t group = 0; group < (geometry_.lines_max + 63) / 64; ++group) {
    std::atomic<uint64_t>& bits = header().sleepers[group];
    for (uint64_t marked = bits.load(); marked != 0; marked &= marked - 1) {
      const uint32_t index = group * 64 + static_cast<uint32_t>(__builtin_ctzll(marked));
      if (index >= geometry_.lines_max) break;
      const uint32_t generation = line(index).generation.load();
      Lock lock(this, index, generation);
      if (generation % 2 != 0) {
        lock.rescan();
        if (lock.has_sleepers()) continue;
      }
      // Cleared, then looked at again: a broker that dies here forgets a line that had no sleepers.
      bits.fetch_and(~(marked & -marked));
      if (generation % 2 != 0 && lock.has_sleepers()) lock.note_sleeper();
    }
  }
}

}  // namespace heddle::shm
