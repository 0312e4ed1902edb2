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
//           complete completes, else it breaks; only then is the cell emptied. A member goes from
//           MEMBER to ARRIVED directly, so that its death is that of a member all the way.
// action    ARRIVED cells say if their owner brought an action; then (4) is for the one of them who
//           first writes the generation into `drain`. It runs the action and ends the generation.
//           An arrival that completes the generation but brought no action wakes those who did,
//           until one leads. A death before the end: the generation breaks.
// break     CAS head g -> g + 1 with the outcome "broke", with `keep` also BROKEN until a reset.
#include <climits>

#include "proto/shm/lock_cells.h"
#include "proto/shm/wait_note.h"

namespace heddle::shm {
namespace {

constexpr uint32_t kNoteAction = 1, kNoteMember = 2;

uint32_t generation_in(uint64_t head) { return static_cast<uint32_t>(head & kLowMask) >> 1; }
uint32_t note_of(uint32_t generation, bool action, bool member) {
  return generation << 2 | (action ? kNoteAction : 0) | (member ? kNoteMember : 0);
}
/// A note holds the low 30 bits of a generation.
bool is_of(uint32_t note, uint32_t generation) { return note >> 2 == (generation & 0x3fffffff); }

/// How generation `g` ended, seen from `head` of a later one.
bool broke(uint64_t head, uint32_t g) {
  const uint32_t ago = (generation_in(head) - g - 1) & 0x7fffffff;
  // Nobody knows any more: not to be taken for a success.
  return ago >= 32 || (head >> 32 >> ago & 1) != 0;
}

}  // namespace

bool Lock::broken() const { return (line_->head.load() & kBarrierBroken) != 0; }

uint32_t Lock::arrived() const {
  const uint32_t generation = generation_in(line_->head.load());
  uint32_t count = 0;
  bool action;
  count_arrived(generation, &count, &action);
  return count;
}

size_t Lock::missing(uint32_t* holders, size_t n) const {
  const uint32_t parties = line_->limit.load();
  uint32_t position = 0;
  size_t found = 0;
  each_cell([&](Cell& cell) {
    if (position++ >= parties) return false;
    const uint64_t seen = cell.word.load(std::memory_order_acquire);
    if (state_in(seen) != CellState::kMember) return true;
    if (found < n) holders[found] = holder_in(seen);
    ++found;
    return true;
  });
  return found;
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
    uint32_t note;
    if (!read_note(cell, seen, &note) || !is_of(note, generation)) return true;
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
  if (!mutated(LockMutant::kBarrierSilent)) futex_wake(low_half(line_->head), INT_MAX);
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
  uint64_t before = 0;
  const auto claim = [&](Cell& cell, uint64_t seen) {
    const CellState to = member ? CellState::kMember : CellState::kTry;
    const uint64_t mine = cell_word(seq_in(seen) + 1, to, a.holder());
    if (gone() || (!member && !cell.word.compare_exchange_strong(seen, mine))) return false;
    s->cell = &cell;
    s->word = mine;
    before = member ? seen : mine;
    return claimed = true;
  };
  for (const bool own : {true, false}) {
    position = 0;
    each_cell([&](Cell& cell) {
      if (claimed || position >= parties) return false;
      s->index = position++;
      const uint64_t seen = cell.word.load();
      member = own && state_in(seen) == CellState::kMember && holder_in(seen) == a.holder();
      if (own ? member : free_for_arrival(cell, seen, generation)) claim(cell, seen);
      return !claimed;
    });
    if (claimed) break;
  }
  if (!claimed) return gone() ? LockOutcome::kGone : LockOutcome::kTimedOut;
  s->number = generation;
  s->action = action;
  if (!write_note(*s->cell, s->word, note_of(generation, action, member))) {
    return LockOutcome::kGone;
  }
  s->word = cell_in_state(s->word, CellState::kArrived);
  if (!s->cell->word.compare_exchange_strong(before, s->word)) return LockOutcome::kGone;
  note_sleeper();
  bool others = false;
  s->last = !action && all_arrived(generation, &others) && others;
  return LockOutcome::kOk;
}

/// Nobody's, or left over from a generation that is over. A member's cell stays its own even when
/// it is late.
bool Lock::free_for_arrival(const Cell& cell, uint64_t seen, uint32_t generation) {
  if (state_in(seen) == CellState::kEmpty) return true;
  uint32_t note;
  return state_in(seen) == CellState::kArrived && read_note(cell, seen, &note) &&
         !is_of(note, generation) && (note & kNoteMember) == 0;
}

void Lock::end_arrive(const Standing& s) {
  uint64_t word = s.word;
  uint32_t note;
  const bool member = read_note(*s.cell, word, &note) && (note & kNoteMember) != 0;
  // A later arrival may have taken the cell over.
  s.cell->word.compare_exchange_strong(
      word, member ? cell_in_state(word, CellState::kMember) : cell_emptied(word));
}

LockOutcome Lock::look_arrive(LockActor& a, Standing& s) {
  for (;;) {
    const uint64_t head = line_->head.load();
    if (gone()) return LockOutcome::kGone;
    if (generation_in(head) != s.number) {
      end_arrive(s);
      return broke(head, s.number) ? LockOutcome::kBroken : LockOutcome::kOk;
    }
    bool action;
    if (!all_arrived(s.number, &action)) return LockOutcome::kTimedOut;
    if (action) {
      uint32_t led = line_->drain.load();
      s.last = s.last && led != s.number + 1;
      if (s.last) futex_wake(low_half(line_->head), INT_MAX);
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
  uint64_t word;
  uint32_t note;
  Cell* cell = own_cell(a.holder(), CellState::kArrived, &word);
  if (gone()) return LockOutcome::kGone;
  // Its own arrival says which generation it leads: that one may be over, and another led by now.
  if (cell == nullptr || !read_note(*cell, word, &note)) return LockOutcome::kBroken;
  const uint32_t generation = generation_in(head);
  const bool leads = is_of(note, generation) && line_->drain.load() == generation + 1;
  const bool mine = leads && end_generation(head, false, false);
  ring(a);
  end_arrive({.cell = cell, .word = word});
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
    if (note.cancelled()) {
      if (in && generation_in(line_->head.load()) == s.number) break_barrier(false);
      if (in) end_arrive(s);
      return LockOutcome::kDeadlock;
    }
    if (!note.published()) {
      note.publish();
      continue;
    }
    note.tell(now_ns);
    // Cells that the generation before has not left yet come back without a wake.
    const int64_t most = in && !s.last ? a.sleep_ns_max : kStarvingNs;
    const int64_t wake_ns = std::min(note.wake_at(now_ns, deadline_ns), now_ns + most);
    const int result =
        futex_wait_until(low_half(line_->head), static_cast<uint32_t>(head), wake_ns, ~0u);
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
    if ((head & kBarrierBroken) != 0 || gone()) return;
    if (end_generation(head, true, keep)) return;
  }
}

void Lock::reset_barrier() {
  for (;;) {
    const uint64_t head = line_->head.load();
    // Broken also when nobody is seen: one may be arriving just now.
    if (gone() || end_generation(head, true, false)) return;
  }
}

LockOutcome Lock::join(LockActor& a) {
  uint64_t word;
  if (own_cell(a.holder(), CellState::kMember, &word) != nullptr) return LockOutcome::kOk;
  const uint32_t parties = line_->limit.load();
  const uint32_t generation = generation_in(line_->head.load());
  uint32_t position = 0;
  bool joined = false;
  each_cell([&](Cell& cell) {
    if (position++ >= parties) return false;
    uint64_t seen = cell.word.load();
    if (gone()) return false;
    if (!free_for_arrival(cell, seen, generation)) return true;
    const uint64_t mine = cell_word(seq_in(seen) + 1, CellState::kMember, a.holder());
    joined = cell.word.compare_exchange_strong(seen, mine);
    return !joined;
  });
  if (joined) return LockOutcome::kOk;
  return gone() ? LockOutcome::kGone : LockOutcome::kTooMany;
}

LockOutcome Lock::leave(LockActor& a) {
  uint64_t word;
  Cell* cell = own_cell(a.holder(), CellState::kMember, &word);
  if (cell == nullptr) return LockOutcome::kNotHeld;
  cell->word.compare_exchange_strong(word, cell_emptied(word));
  return LockOutcome::kOk;
}

/// A dead party. False when a live one changed what was seen: look at the cell again. Never breaks
/// a generation that began after the reaping, which the dead cannot have been part of: so one reap
/// breaks one generation, however many died.
bool Lock::reap_party(Cell& cell, uint64_t* word, uint32_t generation) {
  const CellState state = state_in(*word);
  if (state == CellState::kMember) {
    // What is owed is written down first, so that a reaper which comes later does not break more.
    write_note(cell, *word, note_of(generation, false, true));
    const uint64_t dead = cell_in_state(*word, CellState::kBroke);
    if (!cell.word.compare_exchange_strong(*word, dead)) return false;
    *word = dead;
  }
  uint32_t note;
  if (state != CellState::kArrived && state_in(*word) != CellState::kBroke) return true;
  if (!read_note(cell, *word, &note) || !is_of(note, generation)) return true;
  const uint64_t head = line_->head.load();
  if (generation_in(head) != generation) return true;
  bool action = false;
  const bool complete = state == CellState::kArrived && all_arrived(generation, &action);
  // Complete, but its action did not run to its end.
  return end_generation(head, !complete || action, (head & kBarrierBroken) != 0);
}

uint32_t Lock::barrier_generation() const { return generation_in(line_->head.load()); }

void Lock::rescan_barrier() {
  const uint64_t head = line_->head.load();
  const uint32_t generation = generation_in(head);
  bool action = false, late = false;
  const bool complete = all_arrived(generation, &action);
  if (complete && !action) end_generation(head, false, false);
  each_cell([&](Cell& cell) {
    const uint64_t seen = cell.word.load();
    uint32_t note;
    late = state_in(seen) == CellState::kArrived && read_note(cell, seen, &note) &&
           !is_of(note, generation);
    return !late;
  });
  if (late || complete) futex_wake(low_half(line_->head), INT_MAX);
}

}  // namespace heddle::shm
