// The history ring gives out the revisions. D2 and D3 in dict.h are its invariants.
//
// Orders: the old word of a place is loaded before its `done`, and both before the last look at the
// record's own revision (acquire loads stay in order); the three CAS are seq_cst. A word of the
// history never occurs twice: it carries lap, generation and line, so a late CAS fails.
#include "proto/shm/copy_unproved.h"
#include "proto/shm/cpu_pause.h"
#include "proto/shm/dict.h"
#include "proto/shm/dict_mutant.h"
#include "proto/shm/wake.h"

namespace heddle::shm {
namespace {

constexpr auto kLook = std::memory_order_acquire;
constexpr uint64_t kNoPrevious = 1;  // in hprev: known, and there is none
constexpr uint64_t kTailStep = 16;   // how often the shared hint is renewed
constexpr uint32_t kTailTriesMax = 8;
// How often one may look at the same tail: everybody who does finishes it or moves it.
constexpr uint32_t kTailLooksMax = 1000;
constexpr uint32_t word_line(uint64_t w) { return static_cast<uint32_t>(w & kDictLineMask); }
constexpr uint64_t word_generation(uint64_t w) { return w >> 28 & 0xffffffff; }

DictKind kind_of(const DictRecord& r) {
  return static_cast<DictKind>(r.meta.load(std::memory_order_relaxed) >> 48 & 0xff);
}

constexpr bool is_word_of(uint64_t stamp, uint64_t w) {
  return (stamp_generation(stamp) & 0xffffffff) == word_generation(w);
}

}  // namespace

/// The first place that is not done; all before it are. `from` may lie behind it by any number of
/// laps; one that lies ahead is not believed. 0: the words contradict each other.
uint64_t Dict::find_tail(uint64_t from) const {
  const uint64_t n = history_;
  const auto done_at = [this](uint64_t place) { return memory_.history(place).done.load(kLook); };
  for (uint32_t tries = 0; tries < kTailTriesMax; ++tries) {
    uint64_t t = from;
    for (int i = 0; i < 8; ++i) {  // nearly always here, or one or two places on
      const uint64_t d = done_at(t);
      if (d < t) break;
      t = d + 1;
    }
    if (done_at(t) + n == t && (t > from || done_at(t - 1) == t - 1)) return t;
    uint64_t low = t - 1;  // done, unless `from` lies ahead
    if (t == from) {
      low = 0;
      for (uint64_t i = 0; i < n; ++i) {
        const uint64_t d = done_at(i);
        if (d > low && d % n == i) low = d;
      }
    }
    // Between a place that is done and one lap on there is one border.
    uint64_t high = low + n;
    while (high - low > 1) {
      const uint64_t middle = low + (high - low) / 2;
      (done_at(middle) >= middle ? low : high) = middle;
    }
    from = low;
  }
  return 0;
}

/// A place that is taken, whose record may have no revision yet.
void Dict::finish_place(uint64_t place, uint64_t word) {
  const uint32_t line = word_line(word);
  DictHistory& at = memory_.history(place);
  if (line != 0) {
    DictRecord& r = memory_.record(line);
    const uint64_t rev = r.rev.load(kLook);
    if ((rev & kRevUnassigned) != 0) {
      // The record stays in its place at least until the place is done.
      if ((rev & 0xffffffff) != word_generation(word)) return;
      dict_cas(r.rev, rev, place - history_);
    } else if (rev != place - history_) {
      return;
    }
  }
  if (at.done.load(kLook) < place && dict_cas(at.done, place - history_, place)) wake_watchers();
}

bool Dict::assign(DictActor& a, uint32_t line, uint64_t unassigned) {
  DictJournal& j = memory_.journal(a);
  auto& rev = memory_.record(line).rev;
  const uint64_t n = history_;
  for (uint32_t looks = 0; looks < kTailLooksMax; ++looks) {
    if (rev.load(kLook) != unassigned) break;
    const uint64_t t = find_tail(a.tail);
    if (t == 0) continue;
    if (t != a.tail) looks = 0;
    a.tail = t;
    DictHistory& at = memory_.history(t);
    const uint64_t w = at.word.load(kLook);
    prefetch_for_write(&memory_.record(word_line(w)));  // it is settled when the place is taken
    if (at.done.load(kLook) + n != t) continue;
    if (w >> 60 == (laps(t) & 15)) {
      finish_place(t, w);
      continue;
    }
    j.hw.store(0, std::memory_order_release);
    j.hprev.store(0, std::memory_order_release);
    j.hplace.store(t, std::memory_order_release);
    j.hw.store(w, std::memory_order_release);
    if (!mutated(DictMutant::kAssignWithoutLook) && rev.load(kLook) != unassigned) break;
    const uint64_t word = laps(t) << 60 | (unassigned & 0xffffffff) << 28 | line;
    if (!dict_cas(at.word, w, word)) continue;
    dict_cas(rev, unassigned, t - n);
    if (dict_cas(at.done, t - n, t)) wake_watchers();
    a.tail = t + 1;
    if (t % kTailStep == 0) memory_.header().tail.store(t + 1, std::memory_order_release);
    settle_history(a, j);
    break;
  }
  j.hw.store(0, std::memory_order_release);
  return ensure_done(line, unassigned);
}

/// The record has its revision, so its place is done, even if whoever filled it was stopped between
/// the two. A record of another life was done long ago. False: it has none.
bool Dict::ensure_done(uint32_t line, uint64_t unassigned) {
  const uint64_t rev = memory_.record(line).rev.load(kLook);
  if (rev == unassigned) return false;
  if ((rev & kRevUnassigned) != 0) return true;
  const uint64_t place = rev + history_;
  DictHistory& at = memory_.history(place);
  const uint64_t w = at.word.load(kLook);
  if (at.done.load(kLook) + history_ == place && w >> 60 == (laps(place) & 15)) {
    finish_place(place, w);
  }
  return true;
}

/// The changes of a transaction leave the history with it, before it does: who goes on for a dead
/// one finds the same list.
void Dict::settle_list(DictActor& a, uint64_t w, uint32_t line) {
  if (mutated(DictMutant::kListNotSettled)) return;
  auto& stamp = memory_.stamp(line);
  const DictRecord& list = memory_.record(line);
  const uint32_t changes = shape_of(list.create_revision.load(kLook)).changes;
  for (uint32_t i = 0; i < changes; ++i) {
    const DictListEntry* entry = list_entry(line, i);
    if (entry == nullptr) return;
    const uint64_t change = entry->change.load(kLook), replaced = entry->replaced.load(kLook);
    const uint64_t s = stamp.load(kLook);
    if (!is_word_of(s, w) || (s & kStampHistory) == 0) return;
    memory_.unpin(a, change, kStampHistory);
    memory_.unpin(a, replaced, kStampPrevious);
  }
}

/// What lost its place leaves the history, and what it had replaced is no longer needed. Whose CAS
/// it was does not matter: each step is by generation, and `hprev` is known before it can be lost.
void Dict::settle_history(DictActor& a, DictJournal& j) {
  const uint64_t w = j.hw.load(kLook);
  const uint32_t line = word_line(w);
  if (line == 0) return;
  auto& stamp = memory_.stamp(line);
  uint64_t previous = j.hprev.load(kLook);
  const auto in_history = [&](uint64_t s) {
    return is_word_of(s, w) && stamp_state(s) == DictChunkState::kUsed && (s & kStampHistory) != 0;
  };
  const uint64_t s = stamp.load(kLook);
  if (previous == 0) {
    if (!in_history(s)) return;
    if (kind_of(memory_.record(line)) == DictKind::kList) settle_list(a, w, line);
    previous = memory_.record(line).previous.load(kLook);
    if (previous == 0) previous = kNoPrevious;
    if (previous != kNoPrevious) prefetch_for_write(&memory_.stamp(ref_line(previous)));
    if (!in_history(stamp.load(kLook))) return;
    j.hprev.store(previous, std::memory_order_release);
  }
  if (is_word_of(s, w)) memory_.unpin(a, dict_ref(stamp_generation(s), line), kStampHistory);
  if (previous != kNoPrevious) memory_.unpin(a, previous, kStampPrevious);
}

uint64_t Dict::revision() const {
  return find_tail(memory_.header().tail.load(kLook)) - 1 - history_;
}

uint64_t Dict::oldest_revision() const {
  const uint64_t last = revision();
  const uint64_t first = last >= history_ ? last - history_ + 1 : 1;
  // Places that were released early follow one another from the oldest on.
  uint64_t low = first, high = last + 1;
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    const DictHistory& at = memory_.history(middle + history_);
    if (word_line(at.word.load(kLook)) == 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/// A place is released as it is replaced: CAS of the word, then what it pinned. Its `done` stays.
uint32_t Dict::release_history(DictActor& a, uint32_t places) {
  DictJournal& j = memory_.journal(a);
  uint32_t released = 0;
  const uint64_t oldest = oldest_revision() + history_, tail = revision() + history_ + 1;
  for (uint64_t p = oldest; p < tail && p < oldest + history_ && released < places; ++p) {
    DictHistory& at = memory_.history(p);
    const uint64_t w = at.word.load(kLook);
    if (w >> 60 != (laps(p) & 15) || at.done.load(kLook) != p || word_line(w) == 0) continue;
    j.hw.store(0, std::memory_order_release);
    j.hprev.store(0, std::memory_order_release);
    j.hplace.store(p, std::memory_order_release);
    j.hw.store(w, std::memory_order_release);
    if (dict_cas(at.word, w, (laps(p) & 15) << 60 | (p & 0xffffffff) << 28)) {
      settle_history(a, j);
      ++released;
    }
    j.hw.store(0, std::memory_order_release);
  }
  return released;
}

void Dict::wake_watchers() {
  WakeWord& line = memory_.header().changed;
  if ((line.word.load(std::memory_order_seq_cst) & kWakeSleepers) != 0) wake_all_on(line);
}

Outcome Dict::wait_change(DictActor& a, uint64_t revision, int64_t deadline_ns) {
  return wait_on(a, memory_.header().changed, deadline_ns, [&](bool* done) {
    *done = memory_.history(revision + history_).done.load(std::memory_order_seq_cst) >=
            revision + history_;
    return *done ? Outcome::kOk : Outcome::kTimedOut;
  });
}

Outcome Dict::read_change(uint64_t revision, DictChange* out) const {
  const uint64_t p = revision + history_;
  const DictHistory& at = memory_.history(p);
  const uint64_t w = at.word.load(kLook);
  const uint64_t done = at.done.load(kLook);
  if (done < p) return Outcome::kEmpty;
  if (done > p || w >> 60 != (laps(p) & 15) || word_line(w) == 0) return Outcome::kOutOfRange;
  View v;
  bool sane = view(word_line(w), &v), fits = true;
  const bool numbered = sane && v.rev == revision;
  out->had_previous = false;
  out->of = 1;
  if (sane && v.kind == static_cast<uint8_t>(DictKind::kList)) {
    out->of = shape_of(memory_.record(v.line).create_revision.load(kLook)).changes;
    const DictListEntry* entry = list_entry(v.line, out->at);
    sane = entry != nullptr && view(ref_line(entry->change.load(kLook)), &v);
  }
  const bool beyond = out->at >= out->of;
  if (sane && !beyond) {
    describe(v, &out->entry);
    out->revision = revision;
    out->entry.mod_revision = revision;  // a transaction's changes get it after the transaction
    if (out->entry.create_revision == 0) out->entry.create_revision = revision;
    out->key_bytes = v.key_bytes;
    copy_unproved(out->key_room, v.key, v.key_bytes);
    fits = is_value(v.kind) && v.value_bytes > out->entry.room_bytes ? false : true;
    if (fits && is_value(v.kind)) copy_value(v, out->entry.room);
    const uint32_t before = ref_line(memory_.record(v.line).previous.load(kLook));
    View previous;
    if (before != 0 && out->previous.room != nullptr) {
      sane = view(before, &previous);
      if (sane) {
        describe(previous, &out->previous);
        out->had_previous = true;
        const bool room = previous.value_bytes <= out->previous.room_bytes;
        if (room) copy_value(previous, out->previous.room);
        fits = fits && room;
      }
    }
  }
  std::atomic_thread_fence(kLook);
  if (at.word.load(kLook) != w) return Outcome::kOutOfRange;
  if (!sane || !numbered) return Outcome::kCorrupt;
  if (beyond) return Outcome::kNotFound;
  return fits ? Outcome::kOk : Outcome::kTooLarge;
}

}  // namespace heddle::shm
