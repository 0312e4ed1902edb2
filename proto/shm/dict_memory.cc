// Chunks of a dict: magazines, stamps and the bits of what is free. The order of the stores is in
// dict_memory.h.
#include "proto/shm/dict_memory.h"

#include <bit>

#include "proto/shm/dict_mutant.h"

namespace heddle::shm {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;

}  // namespace

Outcome DictMemory::claim_row(DictActor& a) {
  auto& used = header().rows_used;
  for (uint32_t i = 0; i < kDictRowsMax; ++i) {
    if (i >= used.load(kAcquire)) {
      if (!back_row(i)) return Outcome::kMemoryExhausted;
      uint32_t before = i;
      used.compare_exchange_strong(before, i + 1);
    }
    if (row(i).word.load(kRelaxed) != 0 ||
        !dict_cas(row(i).word, 0, dict_row_word(a.owner, a.thread)))
      continue;
    a.row = i;
    for (uint8_t& n : a.count) n = 0;
    for (uint32_t& e : a.cursor) e = 0;
    return Outcome::kOk;
  }
  return Outcome::kTooManyThreads;
}

void DictMemory::free_row(DictActor& a) {
  if (a.row == kDictRowNone) return;
  for (uint32_t c = 0; c < kDictClasses; ++c) spill(a, c, 0);
  // Numbers that stay in the magazine are nobody's: the stamps decide.
  row(a.row).word.store(0, kRelease);
  a.row = kDictRowNone;
}

bool DictMemory::fetch(DictActor& a, uint32_t size_class, uint32_t n) {
  for (uint32_t tries = 0; a.count[size_class] < n; ++tries) {
    if (tries > 4 * dict_magazine(size_class) || !refill(a, size_class, n)) return false;
  }
  return true;
}

uint32_t DictMemory::pop(DictActor& a, uint32_t size_class) {
  while (a.count[size_class] > 0) {
    const uint32_t line = row(a.row).magazine[size_class][--a.count[size_class]].load(kRelaxed);
    const uint64_t s = stamp(line).load(kRelaxed);
    if (stamp_state(s) == DictChunkState::kCached && stamp_row(s) == a.row &&
        stamp_class(s) == size_class) {
      return line;
    }
  }
  return 0;
}

bool DictMemory::refill(DictActor& a, uint32_t size_class, uint32_t n) {
  const uint32_t half = dict_magazine(size_class) / 2;
  const uint32_t want = n > half ? n : half;
  if (a.cursor[size_class] != 0 && refill_from(a, size_class, a.cursor[size_class], want)) {
    return true;
  }
  for (uint32_t tries = 0; tries < 2 * used() + 64; ++tries) {
    uint32_t e = find(a, size_class, a.cursor[size_class]);
    if (e == 0) break;
    if (refill_from(a, size_class, e, want)) return true;
    forget(a, size_class, e);
  }
  const uint32_t e = carve(a, size_class);
  return e != 0 && refill_from(a, size_class, e, want);
}

/// Takes up to `n` chunks that an extent has free.
bool DictMemory::refill_from(DictActor& a, uint32_t size_class, uint32_t e, uint32_t n) {
  DictExtent& x = extent(e);
  if (x.word.load(kAcquire) != dict_extent_carved(size_class)) return false;
  auto& slots = row(a.row).magazine[size_class];
  uint8_t& count = a.count[size_class];
  const uint32_t chunks = dict_chunks(size_class), before = count;
  for (uint32_t i = 0; i * 64 < chunks && count < n; ++i) {
    uint64_t bits = x.free[i].load(kRelaxed);
    if (chunks - i * 64 < 64) bits &= (uint64_t{1} << (chunks - i * 64)) - 1;
    uint32_t lines[kDictMagazine], found = 0;
    uint64_t mine = 0;
    while (bits != 0 && count + found < n && found < kDictMagazine) {
      const auto k = static_cast<uint32_t>(std::countr_zero(bits));
      bits &= bits - 1;
      mine |= uint64_t{1} << k;
      lines[found] = e * kDictExtentLines + (i * 64 + k) * kDictClassLines[size_class];
      slots[(count + found) % kDictMagazine].store(lines[found], kRelaxed);
      ++found;
    }
    if (mine == 0) continue;
    x.free[i].fetch_and(~mine);
    for (uint32_t j = 0; j < found; ++j) {
      const uint64_t s = stamp(lines[j]).load(kAcquire);
      if (stamp_state(s) != DictChunkState::kFree) continue;
      const uint64_t generation = s == 0 ? 1 : stamp_generation(s);
      slots[count % kDictMagazine].store(lines[j], kRelaxed);
      if (dict_cas(stamp(lines[j]), s,
                   make_stamp(generation, a.row, size_class, DictChunkState::kCached))) {
        ++count;
      }
    }
  }
  if (count == before) return false;
  a.cursor[size_class] = e;
  return true;
}

void DictMemory::spill(DictActor& a, uint32_t size_class, uint32_t keep) {
  auto& slots = row(a.row).magazine[size_class];
  for (; a.count[size_class] > keep; --a.count[size_class]) {
    const uint32_t line = slots[a.count[size_class] - 1].load(kRelaxed);
    const uint64_t s = stamp(line).load(kRelaxed);
    if (stamp_state(s) != DictChunkState::kCached || stamp_row(s) != a.row) continue;
    const uint64_t free = make_stamp(stamp_generation(s), 0, size_class, DictChunkState::kFree);
    stamp(line).store(free, kRelease);
    set_free(line, free);
  }
}

/// The bit of a FREE chunk. Harmless for any other: the stamp decides.
void DictMemory::set_free(uint32_t line, uint64_t stamp) {
  const uint32_t e = line / kDictExtentLines;
  if (stamp_state(stamp) != DictChunkState::kFree || e == 0 || e >= used()) return;
  const uint64_t word = extent(e).word.load(kAcquire);
  const uint32_t size_class = dict_extent_class(word);
  if (dict_extent_state(word) != DictExtentState::kCarved || size_class >= kDictClasses) return;
  const uint32_t k = line % kDictExtentLines / kDictClassLines[size_class];
  if (k >= dict_chunks(size_class)) return;
  extent(e).free[k / 64].fetch_or(uint64_t{1} << k % 64);
  note(size_class, e);
}

bool DictMemory::release(DictActor& a, uint32_t line, uint64_t expected) {
  const uint32_t size_class = stamp_class(expected);
  DictJournal& j = journal(a);
  const uint64_t generation = stamp_generation(expected);
  const bool large = size_class >= kDictClassRecord &&
                     (record(line).meta.load(kRelaxed) >> 56 & kRecordExtents) != 0 &&
                     !mutated(DictMutant::kExtentsNotReturned);
  if (large) {
    const uint64_t dying = make_stamp(generation, a.row, size_class, DictChunkState::kDying);
    j.dying.store(dict_ref(generation, line), kRelease);
    if (!dict_cas(stamp(line), expected, dying)) {
      j.dying.store(0, kRelease);
      return false;
    }
    give_back_extents(line, generation);
    expected = dying;
  }
  if (a.count[size_class] >= dict_magazine(size_class)) {
    spill(a, size_class, dict_magazine(size_class) / 2);
  }
  row(a.row).magazine[size_class][a.count[size_class]].store(line, kRelaxed);
  const uint64_t cached =
      make_stamp(next_generation(expected), a.row, size_class, DictChunkState::kCached);
  const bool done = dict_cas(stamp(line), expected, cached);
  if (done) ++a.count[size_class];
  if (large) j.dying.store(0, kRelease);
  return done;
}

void DictMemory::unpin(DictActor& a, uint64_t ref, uint64_t pins) {
  const uint32_t line = ref_line(ref);
  if (line == 0) return;
  for (uint32_t tries = 0; tries < kDictTriesMax; ++tries) {
    const uint64_t s = stamp(line).load(kAcquire);
    if (!same_life(s, ref) || stamp_state(s) != DictChunkState::kUsed || (s & pins) == 0) return;
    const uint64_t left = s & ~pins;
    if ((left & kStampPins) != 0 ? dict_cas(stamp(line), s, left) : release(a, line, s)) return;
  }
}

void DictMemory::release_private(DictActor& a, uint64_t ref, uint32_t row) {
  const uint32_t line = ref_line(ref);
  if (line == 0) return;
  const uint64_t s = stamp(line).load(kAcquire);
  if (!same_life(s, ref) || stamp_row(s) != row) return;
  if (stamp_state(s) == DictChunkState::kCached || stamp_state(s) == DictChunkState::kUsed) {
    release(a, line, s);
  }
}

void DictMemory::reap_dying(uint32_t dead) {
  DictJournal& j = row(dead).journal;
  const uint64_t ref = j.dying.load(kAcquire);
  if (ref == 0) return;
  const uint32_t line = ref_line(ref);
  uint64_t s = stamp(line).load(kAcquire);
  if (same_life(s, ref) && stamp_state(s) == DictChunkState::kDying && stamp_row(s) == dead) {
    give_back_extents(line, ref_generation(ref));
    dict_cas(stamp(line), s,
             make_stamp(next_generation(s), 0, stamp_class(s), DictChunkState::kFree));
  }
  set_free(line, stamp(line).load(kAcquire));
  j.dying.store(0, kRelease);
}

void DictMemory::reap_magazines(uint32_t dead) {
  if (mutated(DictMutant::kMagazineNotReaped)) return;
  for (auto& slots : row(dead).magazine) {
    for (auto& slot : slots) {
      const uint32_t line = slot.load(kRelaxed);
      if (line == 0) break;  // they were filled from the first on
      if (line < kDictExtentLines || line >= lines_) continue;
      const uint64_t s = stamp(line).load(kAcquire);
      if (stamp_state(s) == DictChunkState::kCached && stamp_row(s) == dead) {
        dict_cas(stamp(line), s,
                 make_stamp(stamp_generation(s), 0, stamp_class(s), DictChunkState::kFree));
      }
      set_free(line, stamp(line).load(kAcquire));
    }
  }
}

}  // namespace heddle::shm
