// A lock segment and what the broker does to it: allotting and ending locks.
//
// Crash story of create: everything is written while the line's generation is even, which makes the
// line free; the generation's step to odd is the commit. Blocks linked before that are found by
// reap(), whose rule is that a block of a free line is free. destroy: the generation goes to even
// first; what is left is cleaned by the next create of that line or by reap().
#include <fcntl.h>

#include <climits>
#include <new>

#include "proto/shm/lock_cells.h"
#include "proto/shm/wait_note.h"

namespace heddle::shm {

void LockSegment::format(void* base, uint32_t lines_max, uint32_t blocks_max, uint64_t object_id) {
  auto* header = new (base) LockSegmentHeader{};
  header->segment = SegmentHeader{.magic = kSegmentMagic,
                                  .version = kLockVersion,
                                  .kind = SegmentKind::kLocks,
                                  .object_id = object_id,
                                  .bytes = lock_segment_bytes(lines_max, blocks_max),
                                  .reserved = {}};
  header->lines_max = lines_max;
  header->blocks_max = blocks_max;
}

LockOutcome LockSegment::attach(void* base, uint64_t bytes, int fd, LockSegment* out) {
  if (bytes < sizeof(LockSegmentHeader)) return LockOutcome::kCorrupt;
  const auto* header = static_cast<const LockSegmentHeader*>(base);
  const uint32_t lines = header->lines_max, blocks = header->blocks_max;
  const SegmentHeader& segment = header->segment;
  if (segment.magic != kSegmentMagic || segment.kind != SegmentKind::kLocks ||
      segment.version != kLockVersion || lines > kLinesMax || blocks >= (1u << 22) ||
      lock_segment_bytes(lines, blocks) > bytes) {
    return LockOutcome::kCorrupt;
  }
  out->base_ = static_cast<std::byte*>(base);
  // Kept: what stands in the header later is not looked at again.
  out->geometry_ = LockGeometry::of(lines, blocks);
  out->fd_ = fd;
  out->lines_seen_ = 0;
  out->lines_used();
  return LockOutcome::kOk;
}

bool LockSegment::reserve_line(uint32_t index) const {
  const auto at = static_cast<off_t>(geometry_.lines_at + uint64_t{index} * sizeof(LockLine));
  const auto link_at = static_cast<off_t>(geometry_.links_at);
  const auto link_bytes = static_cast<off_t>(geometry_.blocks_at - geometry_.links_at);
  return fd_ < 0 || (fallocate(fd_, 0, at, sizeof(LockLine)) == 0 &&
                     fallocate(fd_, 0, link_at, link_bytes) == 0);
}

void LockSegment::free_chain(uint32_t line_index) {
  uint32_t next = line(line_index).blocks.exchange(kNoBlock);
  for (uint32_t i = 0; i < geometry_.blocks_max; ++i) {
    if (next == kNoBlock || next > geometry_.blocks_max) return;
    const LinkWord word = LinkWord::decode(link(next - 1).load());
    if (word.line != line_index || word.state == LinkState::kFree) return;
    free_block(next);
    next = word.next;
  }
}

/// Cells first: whoever finds the block free finds it empty.
void LockSegment::free_block(uint32_t number) {
  for (Cell& cell : block(number - 1).cells) {
    uint64_t seen = cell.word.load();
    // Another sequence: what was computed for the old lock must fail.
    while (
        !cell.word.compare_exchange_weak(seen, cell_word(seq_in(seen) + 1, CellState::kEmpty, 0))) {
    }
    const CellState was = state_in(seen);
    if (was == CellState::kWaiting || was == CellState::kNotified) {
      futex_wake(low_half(cell.word), INT_MAX);
    }
  }
  link(number - 1).store(LinkWord{}.encode());
}

LockOutcome LockSegment::create(const LockOptions& options, uint64_t object_id,
                                uint64_t token_start, uint32_t* out) {
  uint32_t index = 0;
  while (index < geometry_.lines_max && index < lines_used() &&
         line(index).generation.load() % 2 != 0) {
    ++index;
  }
  if (index >= geometry_.lines_max) return LockOutcome::kTooMany;
  if (!reserve_line(index)) return LockOutcome::kCorrupt;
  if (index >= lines_used()) {
    header().lines_used.store(index + 1);
    lines_seen_ = index + 1;
  }
  free_chain(index);
  uint32_t blocks = 0;
  // Only who stands in a line of its own kind can be kept in order: a condition's waiters stand in
  // the same cells.
  const bool word_lock = options.kind == LockKind::kMutex || options.kind == LockKind::kRlock ||
                         options.kind == LockKind::kRw;
  const bool strict = word_lock && options.fair == Fairness::kStrict;
  if (options.kind == LockKind::kSemaphore || options.kind == LockKind::kBarrier) {
    blocks = (options.count + kCellsPerBlock - 1) / kCellsPerBlock;
  } else if (options.kind == LockKind::kRw || options.kind == LockKind::kCondition || strict) {
    blocks = 1;
  }
  LockLine& of = line(index);
  uint32_t first = kNoBlock;
  for (uint32_t i = 0; i < blocks; ++i) {
    const uint32_t block = claim_block(0, index);
    if (block == kNoBlock) {
      of.blocks.store(first);
      free_chain(index);
      return LockOutcome::kTooMany;
    }
    link(block - 1).store(LinkWord{LinkState::kLinked, 0, index, first}.encode());
    first = block;
  }
  const uint64_t before = full_token(of.base.load(), token_low(of.word.load()));
  const uint64_t start = before > token_start ? before : token_start;
  of.base.store(start >> 31);
  of.word.store(start << 32);
  of.kind.store(static_cast<uint8_t>(options.kind));
  of.policy.store(static_cast<uint8_t>(options.policy));
  of.fair.store(static_cast<uint8_t>(strict ? Fairness::kStrict : Fairness::kBarging));
  of.depth.store(0);
  // The low half goes on where the lock before it ended: see destroy().
  of.head.store((options.kind == LockKind::kCounting ? uint64_t{options.count} << 32 : 0) |
                (of.head.load() & kLowMask));
  of.drain.store(0);
  of.limit.store(options.count);
  of.count_max.store(options.count_max);
  of.all_upto.store(0);
  of.ticket.store(0);
  of.dead_by.store(0);
  of.armed.store(0);
  of.object_id.store(object_id);
  of.seen.store(0);
  of.request.store(0);
  of.request_at.store(0);
  of.blocks.store(first);
  of.generation.fetch_add(1);
  *out = index;
  return LockOutcome::kOk;
}

uint64_t LockSegment::destroy(uint32_t index) {
  LockLine& of = line(index);
  Lock lock(this, index, of.generation.load());
  if (lock.generation() % 2 != 0) of.generation.fetch_add(1);
  const uint64_t step = mutated(LockMutant::kTokenStays) ? 0 : kTokenOne;
  // Another token and another sequence: what was computed for this lock must fail from now on, and
  // nobody can fall asleep on what it saw.
  uint64_t seen = of.word.load();
  while (!of.word.compare_exchange_weak(seen, (seen & ~kLowMask) + step)) {
  }
  seen = of.head.load();
  while (!of.head.compare_exchange_weak(seen,
                                        (((seen & kLowMask) | (kHeadSeqOne - 1)) + 1) & kLowMask)) {
  }
  const uint64_t last = lock.token();
  uint64_t base = of.base.load();
  if (base != last >> 31) of.base.compare_exchange_strong(base, last >> 31);
  lock.wake_everybody();
  free_chain(index);
  return last;
}

uint64_t Lock::token() const {
  const uint64_t word = line_->word.load();
  return full_token(line_->base.load(), token_low(word));
}

void Lock::arm(bool on) {
  line_->armed.store(on ? 1 : 0);
  if (on) note_sleeper();
}

void Lock::enlist(bool starving) {
  line_->armed.store(1);
  const LockKind of = kind();
  if (of == LockKind::kSemaphore || of == LockKind::kCounting || of == LockKind::kEvent) {
    const bool starves = starving && of != LockKind::kEvent;
    line_->head.fetch_or(kHeadSleepers | (starves ? kHeadStarving : 0));
  } else if (of != LockKind::kBarrier) {
    line_->word.fetch_or(kSleepers | (starving ? kStarving : 0));
  }
  note_sleeper();
}

void Lock::wake_everybody() {
  mark_dirty();
  each_cell([](Cell& cell) {
    const CellState state = state_in(cell.word.load());
    if (state == CellState::kWaiting || state == CellState::kNotified) {
      futex_wake(low_half(cell.word), INT_MAX);
    }
    return true;
  });
  ring_drain();
  futex_wake(low_half(line_->word), INT_MAX);
  futex_wake(low_half(line_->head), INT_MAX);
}

size_t Lock::standing(LockStanding* out, size_t n) const {
  size_t found = 0;
  const auto add = [&](uint32_t holder, LockMode mode, bool waits) {
    if (found < n) out[found] = {holder, mode, waits};
    ++found;
  };
  const uint64_t word = line_->word.load(std::memory_order_acquire);
  if (holder_in(word) != 0) {
    const LockMode mode = kind() == LockKind::kSemaphore ? LockMode::kShared
                          : (word & kUpdate) != 0        ? LockMode::kUpdate
                                                         : LockMode::kExclusive;
    add(holder_in(word), mode, (word & kClaimed) != 0 && mode == LockMode::kExclusive);
  }
  each_cell([&](Cell& cell) {
    const uint64_t seen = cell.word.load(std::memory_order_acquire);
    const CellState state = state_in(seen);
    if (state == CellState::kHeld) add(holder_in(seen), LockMode::kShared, false);
    if (state == CellState::kWaiting || state == CellState::kNotified ||
        state == CellState::kArrived) {
      add(holder_in(seen), LockMode::kExclusive, true);
    }
    return true;
  });
  return found;
}

}  // namespace heddle::shm
