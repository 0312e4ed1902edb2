// The one function behind every change of a dict. Its steps and their crash story are in dict.h.
#include <algorithm>
#include <cstring>

#include "proto/shm/copy_unproved.h"
#include "proto/shm/dict.h"
#include "proto/shm/dict_mutant.h"
#include "proto/shm/flatten.h"

namespace heddle::shm {
namespace {

constexpr auto kPlain = std::memory_order_relaxed;
constexpr auto kPublish = std::memory_order_release;
constexpr uint32_t kNonsenseMax = 16;
// Who fails over a bucket word has changed it, or somebody else has.
constexpr uint32_t kTurnsMax = 1000;

constexpr uint64_t phase_of(DictPhase phase) { return static_cast<uint64_t>(phase); }

}  // namespace

struct Dict::Attempt {
  DictHash h;
  const View* base = nullptr;  // what the value goes on from
  uint64_t x = 0, b = 0;       // references
  uint64_t bytes = 0;          // of the whole value
  uint64_t entries_more = 0, bytes_more = 0;
  uint64_t seen = 0;  // the bucket word of the last turn, and for how many it stood there
  uint32_t turns = 0;
  uint32_t nonsense = 0;
  uint64_t expired = 0;     // revision of an entry in the way that has expired
  bool over_limit = false;  // by entries_more or bytes_more
};

/// The new record and an empty block, named by the journal, still private.
Outcome Dict::prepare(DictActor& a, const DictWrite& w, Attempt* t) {
  RecordPlan plan;
  if (!plan_record(a, w, t->base, &plan) || !make_room(a, kDictClassBlock, 1)) {
    return Outcome::kMemoryExhausted;
  }
  const uint32_t x = memory_.pop(a, plan.size_class), b = memory_.pop(a, kDictClassBlock);
  if (x == 0 || b == 0) return Outcome::kCorrupt;
  DictRecord& r = memory_.record(x);
  DictJournal& j = memory_.journal(a);
  const uint64_t generation = stamp_generation(r.stamp.load(kPlain));
  const uint64_t block_generation = stamp_generation(memory_.stamp(b).load(kPlain));
  fill_record(w, t->base, plan, x, generation);
  t->bytes = plan.value_bytes;
  t->x = dict_ref(generation, x);
  t->b = dict_ref(block_generation, b);
  j.x.store(t->x, kPlain);
  j.b.store(t->b, kPlain);
  j.o.store(0, kPlain);
  j.phase.store(phase_of(DictPhase::kRun), kPublish);
  const uint64_t mine = mutated(DictMutant::kNotMine) ? 0 : kStampMine;
  r.stamp.store(make_stamp(generation, a.row, plan.size_class, DictChunkState::kUsed) | kStampLive |
                    kStampHistory | mine,
                kPublish);
  memory_.stamp(b).store(
      make_stamp(block_generation, a.row, kDictClassBlock, DictChunkState::kUsed), kPublish);
  if (mutated(DictMutant::kStampBeforeJournal)) r.rev.store(kRevUnassigned | generation, kPublish);
  return plan.large ? fill_extents(a, w, t->base, t->x) : Outcome::kOk;
}

void Dict::give_up(DictActor& a) {
  DictJournal& j = memory_.journal(a);
  j.phase.store(phase_of(DictPhase::kUnpublished), kPublish);
  memory_.release_private(a, j.x.load(kPlain), a.row);
  memory_.release_private(a, j.b.load(kPlain), a.row);
  j.phase.store(phase_of(DictPhase::kIdle), kPublish);
}

/// kOk: the change may be made. `there`: as far as this write is concerned.
Outcome Dict::refused(const DictWrite& w, bool there, bool equal, uint64_t rev,
                      DictWritten* out) const {
  out->existed = there;
  out->revision = there ? rev : 0;
  if (there && w.if_absent) return Outcome::kExists;
  if (w.if_version != kDictAnyVersion && out->revision != w.if_version) {
    return there ? w.if_version == 0 ? Outcome::kExists : Outcome::kMismatch : Outcome::kNotFound;
  }
  if (!there &&
      (w.if_present || w.if_value != nullptr || !is_value(static_cast<uint8_t>(w.kind)))) {
    return Outcome::kNotFound;
  }
  return equal ? Outcome::kOk : Outcome::kMismatch;
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

/// What the record says about the value that it replaces, and which that is: 0, or it stays as
/// `previous`.
uint64_t Dict::link_record(const DictWrite& w, uint32_t line, const Found& old, bool there) {
  DictRecord& x = memory_.record(line);
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
  if (w.expiry != DictExpiry::kPolicy || policy_expires_ || w.owner != 0) {
    settle_expiry(w, line, there, old.view);
  }
  return keep ? old.ref : 0;
}

/// What the journal and the record say about the old state, before the CAS that makes it true.
void Dict::announce(DictActor& a, const DictWrite& w, const Attempt& t, const Spot& spot,
                    const Found& old, const uint64_t* dropped) {
  DictJournal& j = memory_.journal(a);
  DictRow& row = memory_.row(a.row);
  const bool there = old.pair != 0 && is_value(old.view.kind);
  const uint64_t kept = link_record(w, ref_line(t.x), old, there);
  j.o.store(spot.block == 0
                ? 0
                : dict_ref(stamp_generation(memory_.stamp(spot.block).load(kPlain)), spot.block),
            kPlain);
  j.retired[0].store(kept, kPlain);
  j.retired[1].store(kept != 0 || old.pair == 0 ? 0 : old.ref, kPlain);
  j.retired[2].store(dropped[0], kPlain);
  j.retired[3].store(dropped[1], kPlain);
  j.entries.store(row.entries.load(kPlain), kPlain);
  j.bytes.store(row.bytes.load(kPlain), kPlain);
  j.entries_more.store(t.entries_more, kPlain);
  j.bytes_more.store(t.bytes_more, kPublish);
}

/// By how much the accounts grow.
void Dict::count(const DictWrite& w, bool there, const View& old, uint64_t bytes, uint64_t* entries,
                 uint64_t* more) const {
  const bool stays = is_value(static_cast<uint8_t>(w.kind));
  *entries += uint64_t{stays} - uint64_t{there};
  *more += (stays ? bytes + w.key.bytes : 0) - (there ? old.value_bytes + w.key.bytes : 0);
}

Outcome Dict::attempt(DictActor& a, const DictWrite& w, Attempt* t, DictWritten* out, bool* again) {
  *again = true;
  Spot spot;
  if (!find(t->h, &spot)) return ++t->nonsense, Outcome::kCorrupt;
  t->turns = spot.seen == t->seen ? t->turns + 1 : 0;
  t->seen = spot.seen;
  if (t->turns > kTurnsMax) t->nonsense = kNonsenseMax;
  if (spot.child != nullptr || spot.pending) {
    spot.pending ? meet(a, spot) : finish_split(a, spot.name, spot.seen);
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
  const bool equal = w.if_value == nullptr || (sane && old.pair != 0 && has_value(old.view, w));
  const bool value = old.pair != 0 && sane && is_value(old.view.kind);
  const bool gone = value && old.view.flags != 0 && has_expired(old.view);
  if (!unchanged(spot)) return Outcome::kCorrupt;
  if (!sane) return ++t->nonsense, Outcome::kCorrupt;
  if (old.pair != 0 && (old.view.rev & kRevUnassigned) != 0 &&
      !mutated(DictMutant::kReplaceWithoutHelp)) {
    if (!assign(a, old.view.line, old.view.rev)) t->nonsense = kNonsenseMax;
    return Outcome::kCorrupt;
  }
  const bool expires = w.kind == DictKind::kExpired;
  if (gone && !expires) {
    *again = false;
    t->expired = old.view.rev;
    return Outcome::kNotFound;
  }
  if (const Outcome no = refused(w, expires ? gone : value, equal, old.view.rev, out);
      no != Outcome::kOk) {
    *again = false;
    return no;
  }
  uint64_t dropped[2];
  const bool erase = !is_value(static_cast<uint8_t>(w.kind));
  if (!build(*t, pairs, old, erase, dropped)) {
    *again = grow(a, spot, pairs);
    return Outcome::kMemoryExhausted;
  }
  t->entries_more = t->bytes_more = 0;
  count(w, value, old.view, t->bytes, &t->entries_more, &t->bytes_more);
  if (!fits(a, t->entries_more, t->bytes_more)) {
    *again = false;
    t->over_limit = true;
    return Outcome::kFull;
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
  if (ages_ != 0) note_age(t.h.high());
  if (static_cast<int64_t>(t.entries_more) < 0 || static_cast<int64_t>(t.bytes_more) < 0) {
    give_back(a.row, kGiveBackOver, kKeepPortions);
  }
}

/// A value that lost its bucket stays as the `previous` of x while x is in the history.
void Dict::keep_previous(DictActor& a, uint64_t x, uint64_t p) {
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

/// Also called by the reaper, with the journal and the row of the dead.
void Dict::finish_write(DictActor& a, DictJournal& j, DictRow& row) {
  if (!mutated(DictMutant::kAccountsNotSettled) || &row == &memory_.row(a.row)) {
    row.entries.store(j.entries.load(kPlain) + j.entries_more.load(kPlain), kPublish);
    row.bytes.store(j.bytes.load(kPlain) + j.bytes_more.load(kPlain), kPublish);
  }
  const uint64_t x = j.x.load(kPlain), p = j.retired[0].load(kPlain);
  if (p != 0) keep_previous(a, x, p);
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

HEDDLE_FLATTEN Outcome Dict::write_once(DictActor& a, const DictWrite& w, Attempt* t,
                                        DictWritten* out) {
  *out = {};
  Outcome outcome = prepare(a, w, t);
  if (outcome != Outcome::kOk) {
    if (dict_phase(memory_.journal(a).phase.load(kPlain)) == DictPhase::kRun) give_up(a);
    return outcome;
  }
  bool again = true;
  for (uint32_t tries = 0; again && tries < kDictTriesMax && t->nonsense < kNonsenseMax; ++tries) {
    outcome = attempt(a, w, t, out, &again);
  }
  if (outcome != Outcome::kOk) give_up(a);
  return outcome;
}

/// With `base`, w's bytes come behind that value; if_version says that it is still there.
Outcome Dict::write_onto(DictActor& a, const DictWrite& w, const View* base, DictWritten* out) {
  const uint64_t bytes = w.bytes + (base != nullptr ? base->value_bytes : 0);
  if (const Outcome no = unfit(w, bytes); no != Outcome::kOk) {
    *out = {};
    return no;
  }
  const DictHash h = hash(w.key.data, w.key.bytes);
  for (uint32_t turns = 0; turns < kDictTriesMax; ++turns) {
    Attempt t{h, base};
    const Outcome outcome = write_once(a, w, &t, out);
    if (outcome == Outcome::kOk) return outcome;
    Outcome way = outcome;
    if (t.expired != 0) {
      way = take_out(a, w.key, DictKind::kExpired, t.expired);
    } else if (t.over_limit && limits_.at_limit != DictAtLimit::kReject) {
      way = evict(a, h.high(), t.entries_more, t.bytes_more);
    } else {
      return outcome;
    }
    if (way != Outcome::kOk) return way;
  }
  return Outcome::kCorrupt;
}

Outcome Dict::write(DictActor& a, const DictWrite& w, DictWritten* out) {
  return write_onto(a, w, nullptr, out);
}

/// One entry goes, if it has that revision still. kOk: it is gone, whoever did it.
Outcome Dict::take_out(DictActor& a, const DictKey& key, DictKind why, uint64_t revision) {
  DictWrite w;
  w.key = key;
  w.kind = why;
  w.if_version = revision;
  DictWritten written;
  Attempt t{hash(key.data, key.bytes)};
  const Outcome outcome = write_once(a, w, &t, &written);
  if (outcome == Outcome::kNotFound || outcome == Outcome::kMismatch ||
      outcome == Outcome::kExists) {
    return Outcome::kOk;
  }
  return outcome;
}

}  // namespace heddle::shm
