// Barriers: as many cells as parties. A generation ends by one CAS on `head`, which counts
// generations and remembers which of the last 32 broke: so a waiter that comes late still learns
// how its own ended.
//
// arrive    (1) a cell that is EMPTY, one's own MEMBER, or still ARRIVED in an older generation
//           (its owner is stopped or slow and needs it no more) -> TRY; (2) the generation into the
//           cell's note; (3) TRY -> ARRIVED; (4) whoever sees all cells ARRIVED in this generation
//           does CAS head g -> g + 1 and wakes all; else sleep on the head. (5) cell -> EMPTY.
//           There are no more cells than parties, so nobody arrives in a generation without being
//           counted. Dead before (3): the cell is emptied. Dead after it: a generation that is
//           complete completes, else it breaks; only then is the cell emptied.
// action    ARRIVED cells say if their owner brought an action; then (4) is for the one of them who
//           first writes the generation into `drain`. It runs the action and ends the generation.
//           Dead in between: the generation breaks.
// break     CAS head g -> g + 1 with the outcome "broke", with `keep` also BROKEN until a reset.
#include <climits>

#include "proto/shm/lock_cells.h"
#include "proto/shm/wait_note.h"

namespace heddle::shm {
namespace {

constexpr uint64_t kNoteAction = 1, kNoteMember = 2;

uint32_t generation_in(uint64_t head) { return static_cast<uint32_t>(head & kLowMask) >> 1; }
uint64_t note_of(uint32_t generation, bool action, bool member) {
  return (uint64_t{generation} << 2) | (action ? kNoteAction : 0) | (member ? kNoteMember : 0);
}

/// How generation `g` ended, seen from `head` of a later one.
bool broke(uint64_t head, uint32_t g) {
  const uint32_t ago = (generation_in(head) - g - 1) & 0x7fffffff;
  // Who was stopped for more than 32 generations was counted in its own; it is told no more.
  return ago < 32 && (head >> 32 >> ago & 1) != 0;
}

}  // namespace

Cell* Lock::barrier_cell(uint32_t position) const {
  Cell* found = nullptr;
  each_cell([&](Cell& cell) {
    found = &cell;
    return position-- != 0;
  });
  return found;
}

bool Lock::broken() const { return (line_->head.load() & kBarrierBroken) != 0; }

/// Counted with a second look at each word: a note belongs to the word before and after it.
uint32_t Lock::arrived() const {
  const uint32_t generation = generation_in(line_->head.load());
  uint32_t count = 0;
  bool action;
  count_arrived(generation, &count, &action);
  return count;
}

void Lock::count_arrived(uint32_t generation, uint32_t* count, bool* action) const {
  const uint32_t parties = line_->limit.load();
  uint32_t position = 0;
  *count = 0;
  *action = false;
  each_cell([&](Cell& cell) {
    if (position++ >= parties) return false;
    const uint64_t seen = cell.word.load();
    if (state_in(seen) != CellState::kArrived) return true;
    const uint64_t note = cell.note.load();
    if (cell.word.load() != seen || note >> 2 != generation) return true;
    ++*count;
    *action = *action || (note & kNoteAction) != 0;
    return true;
  });
}

bool Lock::all_arrived(uint32_t generation, bool* action) const {
  uint32_t count;
  count_arrived(generation, &count, action);
  return count >= line_->limit.load();
}

/// From `head` to the next generation; false when somebody else ended it.
bool Lock::end_generation(uint64_t head, bool was_broken, bool keep) {
  const uint64_t history = (head >> 32 << 1 | (was_broken ? 1 : 0)) << 32;
  const uint32_t next = (generation_in(head) + 1) << 1 | (keep ? 1 : 0);
  const bool mine = line_->head.compare_exchange_strong(head, history | next);
  mark_dirty();
  futex_wake(low_half(line_->head), INT_MAX);
  return mine;
}

LockOutcome Lock::begin_arrive(LockActor& a, bool action, Standing* s) {
  if (gone()) return LockOutcome::kGone;
  const uint64_t head = line_->head.load();
  if ((head & kBarrierBroken) != 0) return LockOutcome::kBroken;
  const uint32_t generation = generation_in(head);
  const uint32_t parties = line_->limit.load();
  uint32_t position = 0;
  bool member = false, claimed = false;
  const auto claim = [&](Cell& cell, uint64_t seen) {
    const uint64_t mine = cell_word(seq_in(seen) + 1, CellState::kTry, a.holder());
    if (!cell.word.compare_exchange_strong(seen, mine)) return false;
    s->cell = &cell;
    s->word = mine;
    return claimed = true;
  };
  for (const bool own : {true, false}) {
    position = 0;
    each_cell([&](Cell& cell) {
      if (claimed || position >= parties) return false;
      s->index = position++;
      const uint64_t seen = cell.word.load();
      const CellState state = state_in(seen);
      const uint64_t note = cell.note.load();
      const bool mine = state == CellState::kMember && holder_in(seen) == a.holder();
      // A member's cell stays its own even when it is late.
      const bool old = state == CellState::kArrived && note >> 2 != generation &&
                       (note & kNoteMember) == 0 && cell.word.load() == seen;
      if (own ? mine : state == CellState::kEmpty || old) member = claim(cell, seen) && own;
      return !claimed;
    });
    if (claimed) break;
  }
  if (!claimed) return LockOutcome::kTimedOut;
  s->number = generation;
  s->action = action;
  s->cell->note.store(note_of(generation, action, member));
  const uint64_t arrived_word = cell_in_state(s->word, CellState::kArrived);
  if (!s->cell->word.compare_exchange_strong(s->word, arrived_word)) return LockOutcome::kGone;
  s->word = arrived_word;
  note_sleeper();
  return LockOutcome::kOk;
}

void Lock::end_arrive(const Standing& s) {
  uint64_t word = s.word;
  const bool member = (s.cell->note.load() & kNoteMember) != 0;
  // A later arrival may have taken the cell over.
  s.cell->word.compare_exchange_strong(
      word, member ? cell_in_state(word, CellState::kMember) : cell_emptied(word));
}

LockOutcome Lock::look_arrive(LockActor& a, Standing& s) {
  for (;;) {
    if (gone()) return LockOutcome::kGone;
    const uint64_t head = line_->head.load();
    if (generation_in(head) != s.number) {
      end_arrive(s);
      return broke(head, s.number) ? LockOutcome::kBroken : LockOutcome::kOk;
    }
    bool action;
    if (!all_arrived(s.number, &action)) return LockOutcome::kTimedOut;
    if (action) {
      uint32_t led = line_->drain.load();
      if (!s.action || led == s.number + 1) return LockOutcome::kTimedOut;
      if (!line_->drain.compare_exchange_strong(led, s.number + 1)) continue;
      return LockOutcome::kLead;
    }
    end_generation(head, false, false);
    ring(a);
  }
}

LockOutcome Lock::finish_action(LockActor& a) {
  const uint64_t head = line_->head.load();
  if (line_->drain.load() != generation_in(head) + 1) return LockOutcome::kBroken;
  const bool mine = end_generation(head, false, false);
  ring(a);
  uint64_t word;
  if (Cell* cell = own_cell(a.holder(), CellState::kArrived, &word)) {
    end_arrive({.cell = cell, .word = word});
  }
  return mine ? LockOutcome::kOk : LockOutcome::kBroken;
}

LockOutcome Lock::arrive(LockActor& a, bool action, int64_t deadline_ns, uint32_t* index) {
  WaitNote note(a, WaitFor::kBarrier, static_cast<uint32_t>(line_->object_id.load()));
  Standing s;
  bool in = false;
  for (;;) {
    const uint64_t head = line_->head.load();
    LockOutcome outcome = in ? look_arrive(a, s) : begin_arrive(a, action, &s);
    if (!in && outcome == LockOutcome::kOk) {
      in = true;
      *index = s.index;
      continue;
    }
    if (outcome != LockOutcome::kTimedOut) return outcome;
    const int64_t now_ns = monotonic_ns();
    if (deadline_ns == kLockTry || now_ns >= deadline_ns) {
      if (!in) return LockOutcome::kTimedOut;
      const uint64_t seen = line_->head.load();
      if (generation_in(seen) == s.number && end_generation(seen, true, false)) {
        ring(a);
        end_arrive(s);
        return LockOutcome::kTimedOut;
      }
      continue;
    }
    if (!note.published()) {
      note.publish();
      continue;
    }
    // Cells that the generation before has not left yet come back without a wake.
    const int64_t most = in ? a.sleep_ns_max : kStarvingNs;
    const int result = futex_wait_until(low_half(line_->head), static_cast<uint32_t>(head),
                                        std::min(deadline_ns, now_ns + most), ~0u);
    if (note.interrupted(result)) {
      if (in && generation_in(line_->head.load()) == s.number) break_barrier(false);
      if (in) end_arrive(s);
      return LockOutcome::kInterrupted;
    }
  }
}

void Lock::break_barrier(bool keep) {
  for (;;) {
    const uint64_t head = line_->head.load();
    if ((head & kBarrierBroken) != 0) return;
    if (end_generation(head, true, keep)) return;
  }
}

void Lock::reset_barrier() {
  for (;;) {
    const uint64_t head = line_->head.load();
    if (end_generation(head, arrived() != 0, false)) return;
  }
}

LockOutcome Lock::join(LockActor& a) {
  if (gone()) return LockOutcome::kGone;
  uint64_t word;
  if (own_cell(a.holder(), CellState::kMember, &word) != nullptr) return LockOutcome::kOk;
  const uint32_t parties = line_->limit.load();
  for (uint32_t position = 0; position < parties; ++position) {
    Cell* cell = barrier_cell(position);
    if (cell == nullptr) break;
    uint64_t seen = cell->word.load();
    if (state_in(seen) != CellState::kEmpty) continue;
    const uint64_t mine = cell_word(seq_in(seen) + 1, CellState::kMember, a.holder());
    if (cell->word.compare_exchange_strong(seen, mine)) return LockOutcome::kOk;
  }
  return LockOutcome::kTooMany;
}

LockOutcome Lock::leave(LockActor& a) {
  uint64_t word;
  Cell* cell = own_cell(a.holder(), CellState::kMember, &word);
  if (cell == nullptr) return LockOutcome::kNotHeld;
  cell->word.compare_exchange_strong(word, cell_emptied(word));
  return LockOutcome::kOk;
}

}  // namespace heddle::shm
