// The one function behind every change of a list. Its steps and their crash story are in list.h.
#include <algorithm>

#include "proto/shm/copy_unproved.h"
#include "proto/shm/list_edit.h"
#include "proto/shm/list_mutant.h"

namespace heddle::shm {
namespace {

constexpr auto kUnseen = std::memory_order_relaxed;
constexpr auto kShow = std::memory_order_release;
constexpr uint32_t kDamageSeenMax = 16;
constexpr uint32_t kReleaseTriesMax = 64;
constexpr uint32_t kClassesUpMax = 4;  // unless something is taken out

uint32_t class_of_size(uint64_t bytes) {
  uint32_t c = kDictClassRecord;
  while (c + 1 < kDictClasses && kDictClassLines[c] * uint64_t{kDictLineBytes} < bytes) ++c;
  return c;
}

constexpr uint64_t list_phase(DictPhase phase) { return static_cast<uint64_t>(phase); }
constexpr bool has_value(ListOp op) { return op == ListOp::kInsert || op == ListOp::kSet; }

}  // namespace

// ---- chunks ----

/// A class of which a chunk is there, a larger one if need be; to take something out, however
/// large, and at last from what is kept for that. kDictClasses: memory is exhausted, also after all
/// that rests was given back and others were helped.
uint32_t List::find_room(ListActor& a, uint64_t bytes) {
  const uint32_t wanted = class_of_size(bytes);
  if (memory_.ensure(a, wanted, 1)) return wanted;
  const bool takes_out = journal(a.row).takes_out.load(kUnseen) != 0;
  const uint32_t last = takes_out ? kDictClasses : std::min(wanted + kClassesUpMax, kDictClasses);
  for (int help = 0; help < 2; ++help) {
    if (help == 1) help_others(a);
    for (uint32_t c = wanted; c < last; ++c) {
      if (memory_.ensure(a, c, 1)) return c;
    }
  }
  if (!takes_out) return kDictClasses;
  a.reserve = true;
  const bool found = wanted <= kListClassNode && memory_.ensure(a, kListClassNode, 1);
  a.reserve = false;
  return found ? kListClassNode : kDictClasses;
}

/// A chunk for this change, named by the journal, still CACHED. 0: memory is exhausted.
uint64_t List::take(ListActor& a, Attempt* t, uint64_t bytes) {
  ListJournal& j = journal(a.row);
  const uint32_t n = j.fresh_n.load(kUnseen);
  if (n >= kListFresh) return 0;
  const uint32_t size_class = find_room(a, bytes);
  const uint32_t line = size_class == kDictClasses ? 0 : memory_.pop(a, size_class);
  if (line == 0) {
    t->exhausted = true;
    return 0;
  }
  const uint64_t ref = dict_ref(stamp_generation(memory_.stamp(line).load(kUnseen)), line);
  j.fresh[n].store(ref, kUnseen);
  j.fresh_n.store(n + 1, kShow);
  return ref;
}

void List::use(ListActor& a, uint64_t ref) {
  auto& stamp = memory_.stamp(ref_line(ref));
  stamp.store(make_stamp(ref_generation(ref), a.row, stamp_class(stamp.load(kUnseen)),
                         DictChunkState::kUsed),
              kShow);
}

/// Once, by generation. A mark may come in between, from somebody who was slow.
void List::release(ListActor& a, uint64_t ref) {
  const uint32_t line = ref_line(ref);
  if (line == 0) return;
  for (uint32_t tries = 0; tries < kReleaseTriesMax; ++tries) {
    const uint64_t s = memory_.stamp(line).load(std::memory_order_acquire);
    if (!same_life(s, ref) || stamp_state(s) != DictChunkState::kUsed) return;
    if (memory_.release(a, line, s)) return;
  }
}

/// What was replaced is given back only when its place is wanted for another; large ones at once.
void List::rest(ListActor& a, ListJournal& j, uint64_t ref) {
  const uint32_t line = ref_line(ref);
  const uint64_t stamp = memory_.stamp(line).load(kUnseen);
  const auto flags = static_cast<uint8_t>(memory_.record(line).meta.load(kUnseen) >> 56);
  if ((flags & kRecordExtents) != 0 || kDictClassLines[stamp_class(stamp)] > kListRestingLinesMax) {
    release(a, ref);
    return;
  }
  const uint64_t at = j.resting_at.load(kUnseen);
  auto& place = j.resting[at % kListResting];
  if (const uint64_t before = place.load(kUnseen); before != 0) release(a, before);
  place.store(ref, kShow);
  j.resting_at.store(at + 1, kUnseen);
}

void List::end_rest(ListActor& a, ListJournal& j) {
  for (auto& place : j.resting) {
    const uint64_t ref = place.load(std::memory_order_acquire);
    if (ref == 0) continue;
    release(a, ref);
    place.store(0, kShow);
  }
}

/// Children first: while the node is there, the rest of it is found from it.
void List::release_tree(ListActor& a, uint64_t ref, uint32_t height, uint32_t* budget) {
  Node node;
  if (height == 0 || height > kListHeightMax || *budget == 0 || !load_node(ref, height, &node)) {
    return;
  }
  --*budget;
  for (uint32_t i = 0; i < node.n; ++i) {
    if (node.leaf()) {
      release(a, node.ref[i]);
    } else {
      release_tree(a, node.ref[i], height - 1, budget);
    }
  }
  release(a, ref);
}

void List::release_garbage(ListActor& a, ListJournal& j) {
  const uint64_t top = j.garbage.load(std::memory_order_acquire);
  if (top == 0) return;
  uint32_t budget = memory_.geometry().extents * kDictExtentLines;
  j.rubbish.store(top, kShow);
  release_tree(a, top, static_cast<uint32_t>(j.garbage_height.load(kUnseen)), &budget);
  j.rubbish.store(0, kShow);
}

/// Trees that others, who may be stopped, have not yet given back, and what rests with anybody: it
/// was replaced before, so only readers that are slow miss it. False: there was no such tree.
bool List::help_others(ListActor& a) {
  const uint32_t used = memory_.header().rows_used.load(std::memory_order_acquire);
  bool helped = false;
  for (uint32_t i = 0; i < used && i < kDictRowsMax; ++i) {
    ListJournal& j = journal(i);
    for (auto& place : j.resting) release(a, place.load(std::memory_order_acquire));
    const uint64_t top = j.rubbish.load(std::memory_order_acquire);
    if (i == a.row || top == 0) continue;
    const uint64_t meta = memory_.record(ref_line(top)).meta.load(kUnseen);
    if (!alive(top)) continue;
    uint32_t budget = memory_.geometry().extents * kDictExtentLines;
    release_tree(a, top, node_meta_height(meta), &budget);
    helped = true;
  }
  return helped;
}

// ---- a change ----

void List::begin(ListActor& a, const ListChange& c) {
  ListJournal& j = journal(a.row);
  a.reserve = false;
  j.takes_out.store(has_value(c.op) ? 0 : 1, kUnseen);
  j.head.store(0, kUnseen);
  j.garbage.store(0, kUnseen);
  j.fresh_n.store(0, kUnseen);
  j.retired_n.store(0, kUnseen);
  j.phase.store(list_phase(DictPhase::kRun), kShow);
}

/// The new record, still private.
Outcome List::prepare(ListActor& a, const ListChange& c, Attempt* t) {
  const bool large = sizeof(DictRecord) + c.bytes > kDictRecordBytesMax;
  const uint64_t list = large ? (dict_value_extents(c.bytes) * 4 + 7) / 8 * 8 : 0;
  // What it takes to take something out again is left to this thread in any case.
  if (!memory_.ensure(a, kListClassNode, kListNodesKept)) {
    help_others(a);
    if (!memory_.ensure(a, kListClassNode, kListNodesKept)) return Outcome::kMemoryExhausted;
  }
  t->x = take(a, t, sizeof(DictRecord) + list + (large ? 0 : c.bytes));
  if (t->x == 0) return Outcome::kMemoryExhausted;
  t->x_bytes = c.bytes;
  DictRecord& r = memory_.record(ref_line(t->x));
  r.meta.store(make_meta(c.bytes, 0, c.kind, large ? kRecordExtents : 0), kUnseen);
  auto* extents = reinterpret_cast<std::atomic<uint32_t>*>(r.body());
  for (uint64_t i = 0; i < list / 4; ++i) extents[i].store(0, kUnseen);
  if (!large) copy_unproved(r.body(), static_cast<const std::byte*>(c.value), c.bytes);
  use(a, t->x);
  return large && !fill_extents(a, c, t->x) ? Outcome::kMemoryExhausted : Outcome::kOk;
}

bool List::fill_extents(ListActor& a, const ListChange& c, uint64_t x) {
  auto* list = reinterpret_cast<std::atomic<uint32_t>*>(memory_.record(ref_line(x)).body());
  const auto* from = static_cast<const std::byte*>(c.value);
  for (uint64_t at = 0, i = 0; at < c.bytes; at += kDictExtentBytes, ++i) {
    if (!memory_.lend(a, x, list[i]) && (!help_others(a) || !memory_.lend(a, x, list[i]))) {
      return false;
    }
    const uint64_t left = c.bytes - at;
    copy_unproved(memory_.extent_data(list[i].load(kUnseen)), from + at,
                  left < kDictExtentBytes ? left : kDictExtentBytes);
  }
  return true;
}

/// kOk: the change may be made, at out->index.
Outcome List::refused(const ListChange& c, const Head& h, ListWritten* out) const {
  const auto length = static_cast<int64_t>(h.length());
  out->revision = h.revision;
  out->length = h.length();
  if (c.if_revision != kListAnyRevision && h.revision != c.if_revision) return Outcome::kMismatch;
  int64_t index = c.index < 0 ? c.index + length : c.index;
  if (c.op == ListOp::kInsert) {
    if (h.length() >= limits_.max_len || c.bytes > limits_.max_bytes - h.bytes) {
      return Outcome::kFull;
    }
    index = index < 0 ? 0 : index > length ? length : index;
  } else if (c.op != ListOp::kClear) {
    if (c.op == ListOp::kRemove && length == 0) return Outcome::kEmpty;
    if (c.op == ListOp::kRemove && c.index == kListEnd) index = length - 1;
    if (index < 0 || index >= length) return Outcome::kOutOfRange;
  }
  out->index = static_cast<uint64_t>(index);
  return Outcome::kOk;
}

bool List::edit(ListActor& a, const ListChange& c, Attempt* t, uint64_t index) {
  switch (c.op) {
    case ListOp::kInsert:
      return edit_insert(a, t, index);
    case ListOp::kSet:
      return edit_set(a, t, index);
    case ListOp::kRemove:
      return edit_remove(a, t, index);
    case ListOp::kClear:
      edit_clear(t);
      return true;
  }
  return false;
}

Outcome List::attempt(ListActor& a, const ListChange& c, Attempt* t, ListWritten* out,
                      bool* again) {
  *again = true;
  t->root = header().root.load(std::memory_order_acquire);
  t->gone_n = 0;
  t->garbage = 0;
  if (!load_head(t->root, &t->head)) return Outcome::kCorrupt;
  *again = false;
  if (const Outcome no = refused(c, t->head, out); no != Outcome::kOk) return no;
  if (t->root != 0) retire(t, t->root);
  ++t->head.revision;
  if (t->x != 0) memory_.record(ref_line(t->x)).rev.store(t->head.revision, kUnseen);
  if (!edit(a, c, t, out->index)) {
    *again = !t->exhausted;
    return t->exhausted ? Outcome::kMemoryExhausted : Outcome::kCorrupt;
  }
  if (c.op == ListOp::kSet && t->head.bytes > limits_.max_bytes && t->x_bytes > t->old.bytes) {
    return Outcome::kFull;
  }
  if (c.previous != nullptr && t->removed != 0) {
    c.previous->bytes = t->old.bytes;
    c.previous->revision = t->old.revision;
    c.previous->kind = t->old.kind;
    // Believed: the record was alive when it was looked at.
    if (t->old.bytes > c.previous->room_bytes) return Outcome::kTooLarge;
  }
  const uint64_t head = make_head(a, t, t->head);
  if (head == 0) return Outcome::kMemoryExhausted;
  *again = !publish(a, t, head);
  if (*again) return Outcome::kCorrupt;
  out->revision = t->head.revision;
  out->length = t->head.length();
  return Outcome::kOk;
}

/// True: it was the root, and its writer's reaper will know.
bool List::mark_replaced(uint64_t head) {
  if (head == 0 || list_mutated(ListMutant::kNotMarked)) return true;
  auto& stamp = memory_.stamp(ref_line(head));
  for (uint32_t tries = 0; tries < kReleaseTriesMax; ++tries) {
    const uint64_t s = stamp.load(std::memory_order_acquire);
    if (!same_life(s, head) || stamp_state(s) != DictChunkState::kUsed) return false;
    if ((s & kStampPublished) != 0 || dict_cas(stamp, s, s | kStampPublished)) return true;
  }
  return false;
}

bool List::publish(ListActor& a, Attempt* t, uint64_t head) {
  ListJournal& j = journal(a.row);
  for (uint32_t i = 0; i < t->gone_n; ++i) j.retired[i].store(t->gone[i], kUnseen);
  j.retired_n.store(t->gone_n, kUnseen);
  j.garbage_height.store(t->garbage_height, kUnseen);
  j.garbage.store(t->garbage, kShow);
  j.head.store(head, kShow);
  return mark_replaced(t->root) && dict_cas(header().root, t->root, head);
}

/// Everything that was made but the first `keep` goes back. The head leaves the journal before it
/// gets another life, which would read as published.
void List::take_back(ListActor& a, uint32_t keep) {
  ListJournal& j = journal(a.row);
  if (!list_mutated(ListMutant::kHeadLeftInJournal)) j.head.store(0, kShow);
  const uint32_t n = j.fresh_n.load(kUnseen);
  for (uint32_t i = keep; i < n && i < kListFresh; ++i) {
    memory_.release_private(a, j.fresh[i].load(kUnseen), a.row);
  }
  j.fresh_n.store(keep < n ? keep : n, kShow);
}

void List::give_up(ListActor& a) {
  ListJournal& j = journal(a.row);
  j.phase.store(list_phase(DictPhase::kUnpublished), kShow);
  take_back(a, 0);
  j.phase.store(list_phase(DictPhase::kIdle), kShow);
}

/// After the CAS: what the caller wants to have, then the rest.
void List::finish(ListActor& a, const ListChange& c, const Attempt& t) {
  ListJournal& j = journal(a.row);
  j.phase.store(list_phase(DictPhase::kPublished), kShow);
  wake_watchers();
  if (c.previous != nullptr && t.removed != 0) copy_value(t.old, c.previous->room);
  for (uint32_t i = 0; i < t.gone_n; ++i) rest(a, j, t.gone[i]);
  release_garbage(a, j);
  j.phase.store(list_phase(DictPhase::kIdle), kShow);
}

Outcome List::change(ListActor& a, const ListChange& c, ListWritten* out) {
  *out = {};
  if (has_value(c.op) && c.bytes > limits_.max_value_bytes) return Outcome::kTooLarge;
  Attempt t;
  begin(a, c);
  Outcome outcome = has_value(c.op) ? prepare(a, c, &t) : Outcome::kOk;
  bool again = outcome == Outcome::kOk;
  const uint32_t keep = has_value(c.op) ? 1 : 0;
  uint64_t last = 0;
  for (uint32_t tries = 0; again && tries < kDictTriesMax && t.damage < kDamageSeenMax; ++tries) {
    t.removed = 0;
    outcome = attempt(a, c, &t, out, &again);
    if (!again) break;
    take_back(a, keep);
    // Whoever fails over a root that stays has met damage.
    t.damage += t.root == last;
    last = t.root;
  }
  if (outcome == Outcome::kOk) {
    finish(a, c, t);
  } else {
    give_up(a);
  }
  return outcome;
}

}  // namespace heddle::shm
