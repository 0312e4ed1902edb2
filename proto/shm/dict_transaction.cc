// Several changes with one revision, all or none.
//
// Step by step, and what is left if the thread stops there
//   1  compares looked at, branch chosen                                  nothing
//   2  list CACHED(me); journal: it, tphase 1; USED, decision OPEN        reaper: undone
//   3  each change's record: entry of the list, USED
//   4  bucket by bucket in the order of the hash: conditions and compares once more, pending block
//      named by the list, new block by that; CAS of the bucket word NORMAL -> PENDING
//   5  shape of the list, journal: the accounts
//   6  CAS of the decision OPEN -> MADE: visible, all at once. Readers of a pending bucket follow
//      its list; the reaper and everybody: finish
//   7  the list gets its place of the history; the changes its revision; each bucket NORMAL, with
//      the new block; what was replaced, old blocks, pending blocks; MINE off; tphase 0
// Whoever writes to a pending bucket waits a little, then CAS OPEN -> UNDONE; the bucket gets its
// old block back, by him or by the owner, who begins again. In order, so no two wait for each other
// in a circle. Until 6 nothing has a revision, so D4 holds: what was replaced has one since 4.
// Nobody but the owner and his reaper frees anything.
#include <algorithm>
#include <cstring>

#include "proto/shm/copy_unproved.h"
#include "proto/shm/dict.h"
#include "proto/shm/flatten.h"

namespace heddle::shm {
namespace {

constexpr auto kLax = std::memory_order_relaxed;
constexpr auto kOut = std::memory_order_release;
constexpr uint32_t kDamagedMax = 16;
constexpr uint32_t kTurnsOfBucket = 10'000;

bool same_start(const DictHash& x, const DictHash& y, uint32_t bits) {
  if (bits <= 64) return (x.high() ^ y.high()) >> (64 - bits) == 0;
  return x.high() == y.high() && (x.low() ^ y.low()) >> (128 - bits) == 0;
}

}  // namespace

/// A compare or an operation, in the order of the hash.
struct Dict::Item {
  uint64_t high;
  uint16_t at;
  bool compare;
};

struct Dict::Deal {
  const DictTransaction* t;
  DictOperation* ops;
  uint32_t ops_n;
  bool held;  // all compares did when the branch was chosen
  Item items[kDictTransactionMax];
  uint32_t n = 0;
  uint64_t list = 0;
  uint32_t entries = 0, buckets = 0;
  uint32_t failed = 0;  // compares, as the buckets were locked
  uint64_t entries_more = 0, bytes_more = 0;
  uint32_t refused = 0;
  bool again = false;  // it was undone, or something came in between
  bool over_limit = false;
};

/// What the items of one bucket want, from one look at it.
struct Dict::Group {
  Spot spot;
  Pairs pairs;
  struct {
    uint64_t word[kGroupPairs];
    uint32_t n = 0;
  } now;
  uint32_t end = 0;  // the first item of another bucket
  uint32_t failed = 0;
  uint64_t entries_more = 0, bytes_more = 0;
  uint64_t dropped[kPendingDroppedMax] = {};
  uint32_t drops = 0;
  bool sane = true, changed = false, full = false;
  // What is in the way: a record without revision, an expired one, an operation that refuses.
  uint32_t unassigned = 0;
  uint64_t unassigned_rev = 0;
  const DictKey* expired = nullptr;
  uint64_t expired_rev = 0;
  Outcome outcome = Outcome::kOk;
  uint32_t refused = 0;
};

bool Dict::item_before(const Deal& d, const Item& x, const Item& y) const {
  if (x.high != y.high) return x.high < y.high;
  const uint64_t p = item_hash(d, x).low(), q = item_hash(d, y).low();
  return p != q ? p < q : x.at < y.at;
}

const DictKey& Dict::item_key(const Deal& d, const Item& i) {
  return i.compare ? d.t->compares[i.at].key : d.ops[i.at].write.key;
}

DictHash Dict::item_hash(const Deal& d, const Item& i) const {
  const DictKey& key = item_key(d, i);
  return {i.high, key.data, key.bytes, seed_};
}

/// -1, 0, 1 as the bytes of the value come before, are, come after these.
int Dict::order_of(const View& v, const void* bytes, uint64_t n) const {
  const auto* other = static_cast<const std::byte*>(bytes);
  const uint64_t both = std::min(v.value_bytes, n);
  std::byte some[256];
  for (uint64_t at = 0; at < both;) {
    const uint64_t part = std::min<uint64_t>(sizeof some, both - at);
    copy_part({}, &v, at, part, some);
    const int order = std::memcmp(some, other + at, part);
    if (order != 0) return order < 0 ? -1 : 1;
    at += part;
  }
  return v.value_bytes == n ? 0 : v.value_bytes < n ? -1 : 1;
}

bool Dict::holds(const DictCompare& c, bool there, const View& v) const {
  int order;
  if (c.what == DictCompare::What::kValue) {
    if (!there || v.kind != static_cast<uint8_t>(c.kind)) {
      return c.sign == DictCompare::Sign::kNotEqual;
    }
    order = order_of(v, c.value, c.bytes);
  } else {
    uint64_t number = 0;
    if (there) {
      DictEntry e;
      describe(v, &e);
      number = c.what == DictCompare::What::kModRevision      ? e.mod_revision
               : c.what == DictCompare::What::kCreateRevision ? e.create_revision
                                                              : e.version;
    }
    order = number == c.number ? 0 : number < c.number ? -1 : 1;
  }
  switch (c.sign) {
    case DictCompare::Sign::kEqual:
      return order == 0;
    case DictCompare::Sign::kNotEqual:
      return order != 0;
    case DictCompare::Sign::kLess:
      return order < 0;
    case DictCompare::Sign::kGreater:
      return order > 0;
  }
  return false;
}

/// Which branch, as things are now; it is looked at once more under the lock.
Outcome Dict::choose_branch(DictActor& a, Deal* d) {
  d->held = true;
  for (uint32_t i = 0; i < d->t->compares_n && d->held; ++i) {
    View v;
    const Outcome found = look(a, d->t->compares[i].key, &v);
    if (found != Outcome::kOk && found != Outcome::kNotFound) return found;
    d->held = holds(d->t->compares[i], found == Outcome::kOk, v);
  }
  d->ops = d->held ? d->t->first : d->t->other;
  d->ops_n = d->held ? d->t->first_n : d->t->other_n;
  d->n = 0;
  for (uint32_t i = 0; i < d->t->compares_n; ++i) {
    const DictKey& key = d->t->compares[i].key;
    d->items[d->n++] = {hash(key.data, key.bytes).high(), static_cast<uint16_t>(i), true};
  }
  d->entries = 0;
  for (uint32_t i = 0; i < d->ops_n; ++i) {
    const DictKey& key = d->ops[i].write.key;
    d->items[d->n++] = {hash(key.data, key.bytes).high(), static_cast<uint16_t>(i), false};
    d->ops[i].done = {};
    d->ops[i].outcome = Outcome::kOk;
    d->entries += d->ops[i].get == nullptr;
  }
  std::sort(d->items, d->items + d->n,
            [&](const Item& x, const Item& y) { return item_before(*d, x, y); });
  // The same key twice lies side by side, or with a compare or a get between.
  for (uint32_t i = 0; i < d->n; ++i) {
    if (d->items[i].compare || d->ops[d->items[i].at].get != nullptr) continue;
    for (uint32_t k = i + 1; k < d->n && d->items[k].high == d->items[i].high; ++k) {
      if (d->items[k].compare || d->ops[d->items[k].at].get != nullptr) continue;
      const DictKey &x = item_key(*d, d->items[i]), &y = item_key(*d, d->items[k]);
      if (x.bytes == y.bytes && std::memcmp(x.data, y.data, x.bytes) == 0) {
        d->refused = std::max(d->items[i].at, d->items[k].at);
        return Outcome::kOutOfRange;
      }
    }
  }
  return Outcome::kOk;
}

/// The list, in use and named by the journal, with nothing in it.
Outcome Dict::begin_list(DictActor& a, uint64_t tries, Deal* d) {
  const uint64_t bytes = uint64_t{d->entries} * sizeof(DictListEntry) + uint64_t{d->n} * 8;
  a.reserve = false;
  const uint32_t size_class =
      make_record_room(a, dict_class_for(sizeof(DictRecord) + bytes), false);
  if (size_class == kDictClasses) return Outcome::kMemoryExhausted;
  const uint32_t line = memory_.pop(a, size_class);
  if (line == 0) return Outcome::kCorrupt;
  DictRecord& l = memory_.record(line);
  DictJournal& j = memory_.journal(a);
  const uint64_t generation = stamp_generation(l.stamp.load(kLax));
  l.rev.store(kRevUnassigned | generation, kOut);
  l.meta.store(make_meta(0, 0, static_cast<uint8_t>(DictKind::kList), 0), kLax);
  l.create_revision.store(make_shape({0, d->entries, d->n}), kLax);
  l.version.store(
      make_decision(generation, std::min(tries, kDecisionTriesMax), DictDecision::kOpen), kLax);
  l.previous.store(0, kLax);
  auto* words = reinterpret_cast<std::atomic<uint64_t>*>(l.body());
  for (uint64_t i = 0; i < bytes / 8; ++i) words[i].store(0, kLax);
  d->list = dict_ref(generation, line);
  d->buckets = 0;
  d->failed = 0;
  d->entries_more = d->bytes_more = 0;
  j.list.store(d->list, kLax);
  j.tphase.store(1, kOut);
  l.stamp.store(
      make_stamp(generation, a.row, size_class, DictChunkState::kUsed) | kStampHistory | kStampMine,
      kOut);
  return Outcome::kOk;
}

/// The records of the changes, before any bucket is touched.
HEDDLE_FLATTEN Outcome Dict::make_changes(DictActor& a, Deal* d) {
  uint32_t entry = 0;
  for (uint32_t i = 0; i < d->ops_n; ++i) {
    DictOperation& op = d->ops[i];
    if (op.get != nullptr) continue;
    RecordPlan plan;
    d->refused = i;
    if (const Outcome no = unfit(op.write, op.write.bytes); no != Outcome::kOk) return no;
    if (!plan_record(a, op.write, nullptr, &plan)) return Outcome::kMemoryExhausted;
    plan.flags |= kRecordMember;
    const uint32_t x = memory_.pop(a, plan.size_class);
    if (x == 0) return Outcome::kCorrupt;
    const uint64_t generation = stamp_generation(memory_.stamp(x).load(kLax));
    fill_record(op.write, nullptr, plan, x, generation);
    op.scratch[0] = dict_ref(generation, x);
    op.scratch[1] = entry;
    DictListEntry* e = list_entry(ref_line(d->list), entry++);
    if (e == nullptr) return Outcome::kCorrupt;
    e->change.store(op.scratch[0], kOut);
    memory_.stamp(x).store(make_stamp(generation, a.row, plan.size_class, DictChunkState::kUsed) |
                               kStampLive | kStampHistory | kStampMine,
                           kOut);
    if (!plan.large) continue;
    const Outcome filled = fill_extents(a, op.write, nullptr, op.scratch[0]);
    if (filled != Outcome::kOk) return filled;
  }
  return Outcome::kOk;
}

/// One item, as the bucket is. What is in the way is noted, not acted upon: it may not be true.
void Dict::weigh_item(const Deal& d, const Item& item, Group* g) {
  const DictKey& key = item_key(d, item);
  Found old;
  if (!find_key(g->pairs, item.high >> 33, key, &old)) {
    g->sane = false;
    return;
  }
  const bool there = old.pair != 0 && is_value(old.view.kind);
  if (old.pair != 0) {
    const uint64_t stamp = memory_.stamp(old.view.line).load(kLax);
    old.ref = dict_ref(stamp_generation(stamp), old.view.line);
    if ((old.view.rev & kRevUnassigned) != 0) {
      g->unassigned = old.view.line;
      g->unassigned_rev = old.view.rev;
      return;
    }
    if (there && !is_there(old.view)) {
      g->expired = &key;
      g->expired_rev = old.view.rev;
      return;
    }
  }
  if (item.compare) {
    g->failed += !holds(d.t->compares[item.at], there, old.view);
    return;
  }
  DictOperation& op = d.ops[item.at];
  if (op.get != nullptr) {
    op.outcome = there ? Outcome::kOk : Outcome::kNotFound;
    if (!there) return;
    describe(old.view, op.get);
    if (op.get->bytes > op.get->room_bytes) {
      op.outcome = Outcome::kTooLarge;
    } else {
      copy_value(old.view, op.get->room);
    }
    return;
  }
  weigh_write(item, old, there, &op, g);
}

void Dict::weigh_write(const Item& item, const Found& old, bool there, DictOperation* op,
                       Group* g) {
  const DictWrite& w = op->write;
  const bool erase = !is_value(static_cast<uint8_t>(w.kind));
  const bool equal = w.if_value == nullptr || (there && has_value(old.view, w));
  op->outcome = refused(w, there, equal, old.view.rev, &op->done);
  op->scratch[2] = 0;
  if (erase && !there && op->outcome == Outcome::kNotFound && !w.if_present &&
      w.if_value == nullptr && (w.if_version == kDictAnyVersion || w.if_version == 0)) {
    return;  // nothing to erase: nothing changes
  }
  if (op->outcome != Outcome::kOk) {
    if (g->outcome == Outcome::kOk) g->refused = item.at;
    if (g->outcome == Outcome::kOk) g->outcome = op->outcome;
    return;
  }
  if (w.previous != nullptr && there) {
    describe(old.view, w.previous);
    if (w.previous->bytes <= w.previous->room_bytes) copy_value(old.view, w.previous->room);
  }
  const uint32_t line = ref_line(op->scratch[0]);
  link_record(w, line, old, there);
  op->done.version = memory_.record(line).version.load(kLax);
  op->done.create_revision = memory_.record(line).create_revision.load(kLax);
  op->scratch[2] = old.pair != 0 ? old.ref : 1;  // it is a change
  count(w, there, old.view, w.bytes, &g->entries_more, &g->bytes_more);
  g->changed = true;
  const uint64_t pair = make_pair_word(item.high >> 33, erase, line);
  if (old.pair != 0) {
    g->now.word[old.at] = pair;
  } else if (g->now.n < kGroupPairs) {
    g->now.word[g->now.n++] = pair;
  } else {
    g->full = true;
  }
}

/// Deleted keys that were there before and have their revision make room.
void Dict::drop_deleted(Group* g) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < g->now.n; ++i) {
    const uint64_t pair = g->now.word[i];
    const bool before = i < g->pairs.n && g->pairs.word[i] == pair;
    if (before && (pair & kPairDeleted) != 0 && g->drops < kPendingDroppedMax) {
      const DictRecord& r = memory_.record(pair_record(pair));
      if ((r.rev.load(std::memory_order_acquire) & kRevUnassigned) == 0) {
        const uint64_t stamp = r.stamp.load(kLax);
        g->dropped[g->drops++] = dict_ref(stamp_generation(stamp), pair_record(pair));
        continue;
      }
    }
    g->now.word[n++] = pair;
  }
  g->now.n = n;
  g->full = g->full || n > kDictPairs;
}

/// All items from `from` on that are in one bucket, by one look. False: look again.
bool Dict::look_at_group(DictActor& a, const Deal& d, uint32_t from, Group* g) {
  const DictHash h = item_hash(d, d.items[from]);
  if (!find(h, &g->spot)) {
    g->sane = false;
    return true;
  }
  if (g->spot.child != nullptr || g->spot.pending) {
    g->spot.pending ? meet(a, g->spot) : finish_split(a, g->spot.name, g->spot.seen);
    return false;
  }
  load_pairs(g->spot.block, &g->pairs);
  for (uint32_t i = 0; i < g->pairs.n; ++i) g->now.word[i] = g->pairs.word[i];
  g->now.n = g->pairs.n;
  for (g->end = from; g->end < d.n; ++g->end) {
    if (!same_start(h, item_hash(d, d.items[g->end]), g->spot.depth)) break;
    weigh_item(d, d.items[g->end], g);
  }
  if (g->changed) drop_deleted(g);
  return unchanged(g->spot);
}

/// The pending block, and the new one if there are changes; made once, filled in again each time.
bool Dict::make_pending(DictActor& a, const Deal& d, const Group& g) {
  auto* named = list_bucket(ref_line(d.list), d.entries, d.buckets);
  if (named == nullptr) return false;
  uint64_t pending = named->load(kLax);
  if (pending == 0) {
    if (!make_room(a, kDictClassBlock, 2)) return false;
    pending = begin_block(a, *named);
    if (pending == 0) return false;
    memory_.block(ref_line(pending)).pair[kPendingNew].store(0, kLax);
    use_chunk(a, pending, kDictClassBlock);
  }
  auto& words = memory_.block(ref_line(pending)).pair;
  if (g.changed && words[kPendingNew].load(kLax) == 0) {
    if (!make_room(a, kDictClassBlock, 1)) return false;
    const uint64_t fresh = begin_block(a, words[kPendingNew]);
    if (fresh == 0) return false;
    use_chunk(a, fresh, kDictClassBlock);
  }
  words[kPendingList].store(d.list, kLax);
  const uint32_t old = g.spot.block;
  words[kPendingOld].store(
      old == 0 ? 0 : dict_ref(stamp_generation(memory_.stamp(old).load(kLax)), old), kLax);
  words[kPendingNode].store(g.spot.name, kLax);
  for (uint32_t i = 0; i < kPendingDroppedMax; ++i) {
    words[kPendingDropped + i].store(i < g.drops ? g.dropped[i] : 0, kLax);
  }
  const uint64_t fresh = words[kPendingNew].load(kLax);
  if (fresh == 0) return true;
  DictBlock& block = memory_.block(ref_line(fresh));
  for (uint32_t i = 0; i < kDictPairs; ++i) {
    block.pair[i].store(i < g.now.n ? g.now.word[i] : 0, kLax);
  }
  return true;
}

/// The bucket of item `from` becomes pending. d->again: the transaction was undone.
HEDDLE_FLATTEN Outcome Dict::lock_group(DictActor& a, Deal* d, uint32_t from, uint32_t* end) {
  for (uint32_t turns = 0, damaged = 0; turns < kTurnsOfBucket && damaged < kDamagedMax; ++turns) {
    const uint64_t decision = memory_.record(ref_line(d->list)).version.load(kLax);
    d->again = decision_of(decision, ref_generation(d->list)) != DictDecision::kOpen;
    if (d->again) return Outcome::kMismatch;
    Group g;
    if (!look_at_group(a, *d, from, &g)) continue;
    if (!g.sane) {
      ++damaged;
    } else if (g.unassigned != 0) {
      damaged += !assign(a, g.unassigned, g.unassigned_rev);
    } else if (g.expired != nullptr) {
      const Outcome gone = take_out(a, *g.expired, DictKind::kExpired, g.expired_rev);
      if (gone != Outcome::kOk) return gone;
    } else if (g.outcome != Outcome::kOk) {
      d->refused = g.refused;
      return g.outcome;
    } else if (g.full) {
      if (!grow(a, g.spot, g.pairs)) return Outcome::kMemoryExhausted;
    } else if (!make_pending(a, *d, g)) {
      return Outcome::kMemoryExhausted;
    } else {
      const auto* named = list_bucket(ref_line(d->list), d->entries, d->buckets);
      const uint32_t line = ref_line(named->load(kLax));
      if (!dict_cas(*g.spot.word, g.spot.seen, next_node(g.spot.seen, NodeFlag::kPending, line))) {
        continue;
      }
      ++d->buckets;
      d->failed += g.failed;
      d->entries_more += g.entries_more;
      d->bytes_more += g.bytes_more;
      *end = g.end;
      return Outcome::kOk;
    }
  }
  return Outcome::kCorrupt;
}

/// What turned out to be no change goes out of the list; how many are left.
uint32_t Dict::close_ranks(DictActor& a, Deal* d) {
  const uint32_t line = ref_line(d->list);
  for (uint32_t i = 0; i < d->ops_n; ++i) {
    DictOperation& op = d->ops[i];
    if (op.get != nullptr) continue;
    DictListEntry* e = list_entry(line, static_cast<uint32_t>(op.scratch[1]));
    if (op.scratch[2] != 0) {
      e->replaced.store(op.scratch[2] == 1 ? 0 : op.scratch[2], kLax);
      continue;
    }
    memory_.release_private(a, op.scratch[0], a.row);
    e->change.store(0, kOut);
  }
  uint32_t n = d->entries;
  for (uint32_t i = 0; i < n;) {
    DictListEntry* e = list_entry(line, i);
    if (e->change.load(kLax) != 0) {
      ++i;
      continue;
    }
    DictListEntry* last = list_entry(line, --n);
    if (last == e) break;
    e->replaced.store(last->replaced.load(kLax), kLax);
    e->change.store(last->change.load(kLax), kOut);
    last->change.store(0, kOut);
    last->replaced.store(0, kLax);
  }
  return n;
}

/// From the first lock to the decision. kOk: it is made.
Outcome Dict::strike(DictActor& a, Deal* d) {
  for (uint32_t i = 0; i < d->n;) {
    const Outcome locked = lock_group(a, d, i, &i);
    if (locked != Outcome::kOk) return locked;
  }
  d->again = (d->failed == 0) != d->held;
  if (d->again) return Outcome::kMismatch;
  const uint32_t changes = close_ranks(a, d);
  DictRecord& l = memory_.record(ref_line(d->list));
  const uint64_t open = l.version.load(kLax), generation = ref_generation(d->list);
  if (!fits(a, d->entries_more, d->bytes_more)) {
    d->over_limit = true;
    return Outcome::kFull;
  }
  l.create_revision.store(make_shape({changes, d->entries, d->n}), kLax);
  DictJournal& j = memory_.journal(a);
  DictRow& row = memory_.row(a.row);
  j.entries.store(row.entries.load(kLax), kLax);
  j.bytes.store(row.bytes.load(kLax), kLax);
  j.entries_more.store(d->entries_more, kLax);
  j.bytes_more.store(d->bytes_more, kOut);
  // Without changes there is nothing to make: that nobody has undone it is what counts.
  const DictDecision what = changes != 0 ? DictDecision::kMade : DictDecision::kUndone;
  d->again = decision_of(open, generation) != DictDecision::kOpen ||
             !dict_cas(l.version, open, make_decision(generation, decision_tries(open), what));
  return d->again ? Outcome::kMismatch : Outcome::kOk;
}

void Dict::tell(const Deal& d, uint64_t revision, DictTransacted* out) const {
  out->held = d.held;
  out->revision = revision != 0 ? revision : this->revision();
  for (uint32_t i = 0; i < d.ops_n; ++i) {
    DictOperation& op = d.ops[i];
    if (op.get != nullptr || op.scratch[2] == 0) continue;
    ++out->changes;
    op.done.revision = revision;
    if (op.done.create_revision == 0) op.done.create_revision = revision;
  }
}

Outcome Dict::transact(DictActor& a, const DictTransaction& t, DictTransacted* out) {
  *out = {};
  if (t.compares_n + uint64_t{std::max(t.first_n, t.other_n)} > kDictTransactionMax) {
    return Outcome::kOutOfRange;
  }
  Deal d;
  d.t = &t;
  for (uint64_t tries = 0; tries < kDictTriesMax; ++tries) {
    d.again = d.over_limit = false;
    d.refused = 0;
    Outcome outcome = choose_branch(a, &d);
    uint64_t revision = 0;
    if (outcome == Outcome::kOk) {
      outcome = begin_list(a, tries, &d);
      if (outcome == Outcome::kOk) outcome = make_changes(a, &d);
      if (outcome == Outcome::kOk) outcome = strike(a, &d);
      if (memory_.journal(a).tphase.load(kLax) != 0) revision = finish_transaction(a, a.row);
    }
    if (outcome == Outcome::kOk) {
      tell(d, revision, out);
      give_back(a.row, kGiveBackOver, kKeepPortions);
      return outcome;
    }
    if (d.over_limit && limits_.at_limit != DictAtLimit::kReject) {
      const Outcome way = evict(a, 0, d.entries_more, d.bytes_more);
      if (way == Outcome::kOk) continue;
      outcome = way;
    }
    if (d.again) continue;
    out->held = d.held;
    out->refused = d.refused;
    return outcome;
  }
  return Outcome::kCorrupt;
}

}  // namespace heddle::shm
