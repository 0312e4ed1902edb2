// The one function behind every change of a dict. Its steps and their crash story are in dict.h.
#include <algorithm>
#include <cstring>

#include "proto/shm/copy_unproved.h"
#include "proto/shm/dict.h"
#include "proto/shm/dict_mutant.h"

namespace heddle::shm {
namespace {

constexpr auto kPlain = std::memory_order_relaxed;
constexpr auto kPublish = std::memory_order_release;
constexpr uint32_t kNonsenseMax = 16;
constexpr uint32_t kClassesUp = 4;
// Who fails over a bucket word has changed it, or somebody else has.
constexpr uint32_t kTurnsMax = 1000;

uint32_t class_for(uint64_t bytes) {
  uint32_t c = kDictClassRecord;
  while (kDictClassLines[c] * uint64_t{kDictLineBytes} < bytes) ++c;
  return c;
}

constexpr uint64_t phase_of(DictPhase phase) { return static_cast<uint64_t>(phase); }

}  // namespace

struct Dict::Attempt {
  DictHash h;
  uint64_t x = 0, b = 0;  // references
  uint64_t seen = 0;      // the bucket word of the last turn, and for how many it stood there
  uint32_t turns = 0;
  uint32_t nonsense = 0;
};

/// The new record and an empty block, named by the journal, still private.
Outcome Dict::prepare(DictActor& a, const DictWrite& w, Attempt* t) {
  const bool large = sizeof(DictRecord) + w.key.bytes + w.bytes > kDictRecordBytesMax;
  const uint64_t list = large ? (dict_value_extents(w.bytes) * 4 + 7) / 8 * 8 : 0;
  const uint64_t need = sizeof(DictRecord) + list + w.key.bytes + (large ? 0 : w.bytes);
  const bool erase = !is_value(static_cast<uint8_t>(w.kind));
  a.reserve = erase;
  const uint32_t size_class = make_record_room(a, class_for(need), erase);
  if (size_class == kDictClasses || !make_room(a, kDictClassBlock, 1)) {
    return Outcome::kMemoryExhausted;
  }
  const uint32_t x = memory_.pop(a, size_class), b = memory_.pop(a, kDictClassBlock);
  if (x == 0 || b == 0) return Outcome::kCorrupt;
  DictRecord& r = memory_.record(x);
  DictJournal& j = memory_.journal(a);
  const uint64_t generation = stamp_generation(r.stamp.load(kPlain));
  const uint64_t block_generation = stamp_generation(memory_.stamp(b).load(kPlain));
  const uint64_t unassigned = kRevUnassigned | generation;
  if (!mutated(DictMutant::kStampBeforeJournal)) r.rev.store(unassigned, kPublish);
  r.meta.store(
      make_meta(w.bytes, w.key.bytes, static_cast<uint8_t>(w.kind), large ? kRecordExtents : 0),
      kPlain);
  r.previous.store(0, kPlain);
  std::byte* at = r.body();
  auto* extents = reinterpret_cast<std::atomic<uint32_t>*>(at);
  for (uint64_t i = 0; i < list / 4; ++i) extents[i].store(0, kPlain);
  copy_unproved(at + list, static_cast<const std::byte*>(w.key.data), w.key.bytes);
  if (!large) {
    copy_unproved(at + list + w.key.bytes, static_cast<const std::byte*>(w.value), w.bytes);
  }
  t->x = dict_ref(generation, x);
  t->b = dict_ref(block_generation, b);
  j.x.store(t->x, kPlain);
  j.b.store(t->b, kPlain);
  j.o.store(0, kPlain);
  j.phase.store(phase_of(DictPhase::kRun), kPublish);
  const uint64_t mine = mutated(DictMutant::kNotMine) ? 0 : kStampMine;
  r.stamp.store(make_stamp(generation, a.row, size_class, DictChunkState::kUsed) | kStampLive |
                    kStampHistory | mine,
                kPublish);
  memory_.stamp(b).store(
      make_stamp(block_generation, a.row, kDictClassBlock, DictChunkState::kUsed), kPublish);
  if (mutated(DictMutant::kStampBeforeJournal)) r.rev.store(unassigned, kPublish);
  return large ? fill_extents(a, w, t->x) : Outcome::kOk;
}

Outcome Dict::fill_extents(DictActor& a, const DictWrite& w, uint64_t x) {
  auto* list = reinterpret_cast<std::atomic<uint32_t>*>(memory_.record(ref_line(x)).body());
  const auto* from = static_cast<const std::byte*>(w.value);
  for (uint64_t at = 0, i = 0; at < w.bytes; at += kDictExtentBytes, ++i) {
    while (!memory_.lend(a, x, list[i])) {
      if (release_history(a, 1) == 0) return Outcome::kMemoryExhausted;
    }
    const uint64_t left = w.bytes - at;
    copy_unproved(memory_.extent_data(list[i].load(kPlain)), from + at,
                  left < kDictExtentBytes ? left : kDictExtentBytes);
  }
  return Outcome::kOk;
}

/// The class of a chunk that is there, or kDictClasses. A larger one rather than none; when
/// something is erased, however large.
uint32_t Dict::make_record_room(DictActor& a, uint32_t size_class, bool erase) {
  if (memory_.ensure(a, size_class, 1)) return size_class;
  const uint32_t last = erase ? kDictClasses : std::min(size_class + kClassesUp, kDictClasses);
  do {
    for (uint32_t c = size_class; c < last; ++c) {
      if (memory_.ensure(a, c, 1)) return c;
    }
  } while (release_history(a, kDictMagazine) != 0);
  return kDictClasses;
}

/// Chunks in the magazine, at the cost of the oldest history if need be.
bool Dict::make_room(DictActor& a, uint32_t size_class, uint32_t n) {
  while (!memory_.ensure(a, size_class, n)) {
    if (release_history(a, kDictMagazine) == 0) return false;
  }
  return true;
}

void Dict::give_up(DictActor& a) {
  DictJournal& j = memory_.journal(a);
  j.phase.store(phase_of(DictPhase::kUnpublished), kPublish);
  memory_.release_private(a, j.x.load(kPlain), a.row);
  memory_.release_private(a, j.b.load(kPlain), a.row);
  j.phase.store(phase_of(DictPhase::kIdle), kPublish);
}

/// kOk: the change may be made.
Outcome Dict::refused(const DictWrite& w, const Found& old, DictWritten* out) const {
  const bool there = old.pair != 0 && is_value(old.view.kind);
  out->existed = there;
  out->revision = there ? old.view.rev : 0;
  if (there && w.if_absent) return Outcome::kExists;
  if (w.if_version != kDictAnyVersion && out->revision != w.if_version) {
    return there ? w.if_version == 0 ? Outcome::kExists : Outcome::kMismatch : Outcome::kNotFound;
  }
  if (!there && (w.if_present || !is_value(static_cast<uint8_t>(w.kind)))) {
    return Outcome::kNotFound;
  }
  return Outcome::kOk;
}

/// The new block. False: it would be full. Up to two keys that are gone, and have their revision,
/// are left out: their records go into `dropped`.
bool Dict::build(const Attempt& t, const Pairs& pairs, const Found& old, bool erase,
                 uint64_t* dropped) {
  DictBlock& block = memory_.block(ref_line(t.b));
  uint32_t n = 0, drops = 0;
  dropped[0] = dropped[1] = 0;
  uint64_t all = 0;
  for (uint32_t i = 0; i < pairs.n; ++i) all |= pairs.word[i];
  if (old.pair != 0 && (all & kPairDeleted) == 0) {  // nearly always: one pair changes
    for (; n < pairs.n; ++n) block.pair[n].store(pairs.word[n], kPlain);
    for (; n < kDictPairs; ++n) block.pair[n].store(0, kPlain);
    block.pair[old.at].store(make_pair_word(t.h.tag(), erase, ref_line(t.x)), kPlain);
    return true;
  }
  for (uint32_t i = 0; i < pairs.n; ++i) {
    const uint64_t pair = pairs.word[i];
    if (old.pair != 0 && i == old.at) continue;
    if ((pair & kPairDeleted) != 0 && drops < 2) {
      const DictRecord& r = memory_.record(pair_record(pair));
      if ((r.rev.load(std::memory_order_acquire) & kRevUnassigned) == 0) {
        const uint64_t stamp = r.stamp.load(kPlain);
        dropped[drops++] = dict_ref(stamp_generation(stamp), pair_record(pair));
        continue;
      }
    }
    block.pair[n++].store(pair, kPlain);
  }
  if (n == kDictPairs) return false;
  block.pair[n++].store(make_pair_word(t.h.tag(), erase, ref_line(t.x)), kPlain);
  for (; n < kDictPairs; ++n) block.pair[n].store(0, kPlain);
  return true;
}

/// What the journal and the record say about the old state, before the CAS that makes it true.
void Dict::announce(DictActor& a, const DictWrite& w, const Attempt& t, const Spot& spot,
                    const Found& old, const uint64_t* dropped) {
  DictJournal& j = memory_.journal(a);
  DictRow& row = memory_.row(a.row);
  DictRecord& x = memory_.record(ref_line(t.x));
  const bool there = old.pair != 0 && is_value(old.view.kind);
  const bool stays = is_value(static_cast<uint8_t>(w.kind));
  const bool keep = there && limits_.keep_previous != 0;
  uint64_t version = 1, created = 0;
  if (there) {
    const DictRecord& r = memory_.record(old.view.line);
    version = r.version.load(kPlain) + 1;
    created = r.create_revision.load(kPlain);
    if (created == 0) created = old.view.rev;
  }
  x.version.store(version, kPlain);
  x.create_revision.store(created, kPlain);
  x.previous.store(keep ? old.ref : 0, kPlain);
  j.o.store(spot.block == 0
                ? 0
                : dict_ref(stamp_generation(memory_.stamp(spot.block).load(kPlain)), spot.block),
            kPlain);
  j.retired[0].store(keep ? old.ref : 0, kPlain);
  j.retired[1].store(keep || old.pair == 0 ? 0 : old.ref, kPlain);
  j.retired[2].store(dropped[0], kPlain);
  j.retired[3].store(dropped[1], kPlain);
  j.entries.store(row.entries.load(kPlain), kPlain);
  j.bytes.store(row.bytes.load(kPlain), kPlain);
  j.entries_more.store(uint64_t{stays} - uint64_t{there}, kPlain);
  const uint64_t before = there ? old.view.value_bytes + w.key.bytes : 0;
  j.bytes_more.store((stays ? w.bytes + w.key.bytes : 0) - before, kPublish);
}

Outcome Dict::attempt(DictActor& a, const DictWrite& w, Attempt* t, DictWritten* out, bool* again) {
  *again = true;
  Spot spot;
  if (!find(t->h, &spot)) return ++t->nonsense, Outcome::kCorrupt;
  t->turns = spot.seen == t->seen ? t->turns + 1 : 0;
  t->seen = spot.seen;
  if (t->turns > kTurnsMax) t->nonsense = kNonsenseMax;
  if (spot.child != nullptr) {
    finish_split(a, spot.name, spot.seen);
    return Outcome::kCorrupt;
  }
  Pairs pairs;
  load_pairs(spot.block, &pairs);
  Found old;
  const bool sane = find_key(pairs, t->h.tag(), w.key, &old);
  if (sane && old.pair != 0) {
    const uint64_t stamp = memory_.stamp(old.view.line).load(kPlain);
    old.ref = dict_ref(stamp_generation(stamp), old.view.line);
  }
  if (!unchanged(spot)) return Outcome::kCorrupt;
  if (!sane) return ++t->nonsense, Outcome::kCorrupt;
  if (old.pair != 0 && (old.view.rev & kRevUnassigned) != 0 &&
      !mutated(DictMutant::kReplaceWithoutHelp)) {
    if (!assign(a, old.view.line, old.view.rev)) t->nonsense = kNonsenseMax;
    return Outcome::kCorrupt;
  }
  if (const Outcome no = refused(w, old, out); no != Outcome::kOk) {
    *again = false;
    return no;
  }
  uint64_t dropped[2];
  const bool erase = !is_value(static_cast<uint8_t>(w.kind));
  if (!build(*t, pairs, old, erase, dropped)) {
    *again = grow(a, spot, pairs);
    return Outcome::kMemoryExhausted;
  }
  announce(a, w, *t, spot, old, dropped);
  if (!dict_cas(*spot.word, spot.seen, next_node(spot.seen, NodeFlag::kNormal, ref_line(t->b)))) {
    return Outcome::kCorrupt;
  }
  *again = false;
  publish(a, w, *t, old, out);
  return Outcome::kOk;
}

/// After the CAS: what the caller wants to know, the revision, the end.
void Dict::publish(DictActor& a, const DictWrite& w, const Attempt& t, const Found& old,
                   DictWritten* out) {
  const uint32_t line = ref_line(t.x);
  DictRecord& x = memory_.record(line);
  if (w.previous != nullptr && out->existed) {  // pinned until finish_write()
    describe(old.view, w.previous);
    if (w.previous->bytes <= w.previous->room_bytes) copy_value(old.view, w.previous->room);
  }
  assign(a, line, kRevUnassigned | ref_generation(t.x));
  const uint64_t rev = x.rev.load(std::memory_order_acquire);
  out->revision = (rev & kRevUnassigned) != 0 ? 0 : rev;
  const uint64_t created = x.create_revision.load(kPlain);
  out->create_revision = created != 0 ? created : out->revision;
  out->version = x.version.load(kPlain);
  finish_write(a, memory_.journal(a), memory_.row(a.row));
}

/// Also called by the reaper, with the journal and the row of the dead.
void Dict::finish_write(DictActor& a, DictJournal& j, DictRow& row) {
  if (!mutated(DictMutant::kAccountsNotSettled) || &row == &memory_.row(a.row)) {
    row.entries.store(j.entries.load(kPlain) + j.entries_more.load(kPlain), kPublish);
    row.bytes.store(j.bytes.load(kPlain) + j.bytes_more.load(kPlain), kPublish);
  }
  const uint64_t x = j.x.load(kPlain), p = j.retired[0].load(kPlain);
  if (p != 0) {
    auto& stamp = memory_.stamp(ref_line(p));
    for (uint32_t tries = 0; tries < kDictTriesMax; ++tries) {
      const uint64_t s = stamp.load(std::memory_order_acquire);
      if (!same_life(s, p) || stamp_state(s) != DictChunkState::kUsed || (s & kStampLive) == 0 ||
          dict_cas(stamp, s, (s & ~kStampLive) | kStampPrevious))
        break;
    }
    // Whoever takes x out of the history takes HISTORY from x first and then looks for PREVIOUS
    // here; this sets PREVIOUS first and then looks for HISTORY there. MINE keeps x's stamp alive.
    const uint64_t s = memory_.stamp(ref_line(x)).load(std::memory_order_seq_cst);
    if (same_life(s, x) && (s & kStampMine) != 0 && (s & kStampHistory) == 0 &&
        !mutated(DictMutant::kPreviousNotChecked)) {
      memory_.unpin(a, p, kStampPrevious);
    }
  }
  for (int i = 1; i < 4; ++i) memory_.unpin(a, j.retired[i].load(kPlain), kStampLive);
  const uint64_t o = j.o.load(kPlain);
  if (o != 0) {
    const uint64_t s = memory_.stamp(ref_line(o)).load(std::memory_order_acquire);
    if (same_life(s, o) && stamp_state(s) == DictChunkState::kUsed) {
      memory_.release(a, ref_line(o), s);
    }
  }
  memory_.unpin(a, x, kStampMine);
  j.phase.store(phase_of(DictPhase::kIdle), kPublish);
}

Outcome Dict::write(DictActor& a, const DictWrite& w, DictWritten* out) {
  *out = {};
  if (w.key.bytes > limits_.max_key_bytes || w.bytes > limits_.max_value_bytes) {
    return Outcome::kTooLarge;
  }
  Attempt t{hash(w.key.data, w.key.bytes)};
  Outcome outcome = prepare(a, w, &t);
  if (outcome != Outcome::kOk) {
    if (dict_phase(memory_.journal(a).phase.load(kPlain)) == DictPhase::kRun) give_up(a);
    return outcome;
  }
  bool again = true;
  for (uint32_t tries = 0; again && tries < kDictTriesMax && t.nonsense < kNonsenseMax; ++tries) {
    outcome = attempt(a, w, &t, out, &again);
  }
  if (outcome != Outcome::kOk) give_up(a);
  return outcome;
}

}  // namespace heddle::shm
