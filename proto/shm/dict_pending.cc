// Buckets that are part of a transaction: who meets one, and how each ends. The story is in
// dict_transaction.cc.
#include "proto/shm/cpu_pause.h"
#include "proto/shm/dict.h"
#include "proto/shm/dict_mutant.h"
#include "proto/shm/flatten.h"
#include "proto/shm/futex.h"

namespace heddle::shm {
namespace {

constexpr auto kSeen = std::memory_order_acquire;
constexpr auto kBare = std::memory_order_relaxed;
constexpr int64_t kPatienceNs = 2000;  // doubled each time the transaction had to begin again
constexpr uint64_t kPatienceDoublings = 9;
constexpr int kPausesPerLook = 8;

}  // namespace

/// What the transaction with this record has come to; open: waited for, and in the end undone.
DictDecision Dict::decided(uint64_t list, const Spot& spot) {
  auto& word = memory_.record(ref_line(list)).version;
  const uint64_t generation = ref_generation(list);
  uint64_t now = word.load(kSeen);
  int64_t until = 0;
  while (decision_of(now, generation) == DictDecision::kOpen) {
    const int64_t clock = monotonic_ns();
    const uint64_t tries = decision_tries(now);
    if (until == 0) {
      until = clock + (kPatienceNs << (tries < kPatienceDoublings ? tries : kPatienceDoublings));
    }
    if (clock >= until) {
      if (mutated(DictMutant::kOpenNotUndone)) break;
      dict_cas(word, now, make_decision(generation, tries, DictDecision::kUndone));
    }
    for (int i = 0; i < kPausesPerLook; ++i) cpu_pause();
    if (spot.word->load(kSeen) != spot.seen) break;
    now = word.load(kSeen);
  }
  return decision_of(now, generation);
}

/// The changes in this bucket get the transaction's revision. False: somebody else was faster.
bool Dict::number_members(DictActor& a, const Spot& spot, uint64_t list, uint32_t block) {
  const uint32_t line = ref_line(list);
  if (!assign(a, line, kRevUnassigned | ref_generation(list))) return false;
  const uint64_t rev = memory_.record(line).rev.load(kSeen);
  Pairs pairs;
  load_pairs(block, &pairs);
  uint64_t unassigned[kDictPairs] = {};
  for (uint32_t i = 0; i < pairs.n; ++i) {
    View v;
    if (!view(pair_record(pairs.word[i]), &v)) return false;
    if ((v.flags & kRecordMember) != 0 && (v.rev & kRevUnassigned) != 0) unassigned[i] = v.rev;
  }
  // Unchanged: the list has not ended, and what was read belongs to it.
  if (!unchanged(spot) || (rev & kRevUnassigned) != 0) return false;
  for (uint32_t i = 0; i < pairs.n; ++i) {
    if (unassigned[i] == 0) continue;
    dict_cas(memory_.record(pair_record(pairs.word[i])).rev, unassigned[i], rev);
  }
  return true;
}

/// Afterwards the bucket is no longer as in `spot`.
void Dict::meet(DictActor& a, const Spot& spot) {
  const auto& words = memory_.block(node_block(spot.seen)).pair;
  const uint64_t list = words[kPendingList].load(kBare);
  const uint64_t before = words[kPendingOld].load(kBare), after = words[kPendingNew].load(kBare);
  if (!unchanged(spot)) return;
  uint64_t block = before;
  if (decided(list, spot) == DictDecision::kMade) {
    if (after != 0) block = after;
    if (!number_members(a, spot, list, ref_line(block))) return;
  }
  dict_cas(*spot.word, spot.seen, next_node(spot.seen, NodeFlag::kNormal, ref_line(block)));
}

/// One bucket of a transaction that is decided; by its owner or his reaper. The pending block goes
/// last: while it is there, all of this may be done again.
void Dict::close_bucket(DictActor& a, uint64_t pending, bool made, uint32_t row) {
  const uint32_t line = ref_line(pending);
  const uint64_t stamp = memory_.stamp(line).load(kSeen);
  if (line == 0 || !same_life(stamp, pending)) return;
  if (stamp_state(stamp) == DictChunkState::kUsed) {
    const auto& words = memory_.block(line).pair;
    const uint64_t before = words[kPendingOld].load(kBare), after = words[kPendingNew].load(kBare);
    const uint64_t block = made && after != 0 ? after : before;
    auto& node = memory_.named_node(words[kPendingNode].load(kBare));
    const uint32_t turns = mutated(DictMutant::kPendingFreedFirst) ? 0 : kDictTriesMax;
    for (uint32_t tries = 0; tries < turns; ++tries) {
      const uint64_t w = node.load(std::memory_order_seq_cst);
      if (node_flag(w) != NodeFlag::kPending || node_block(w) != line) break;
      if (dict_cas(node, w, next_node(w, NodeFlag::kNormal, ref_line(block)))) break;
    }
    if (!made) {
      memory_.release_private(a, after, row);
    } else if (after != 0) {
      for (uint32_t i = 0; i < kPendingDroppedMax; ++i) {
        memory_.unpin(a, words[kPendingDropped + i].load(kBare), kStampLive);
      }
      const uint64_t old = memory_.stamp(ref_line(before)).load(kSeen);
      if (ref_line(before) != 0 && same_life(old, before) &&
          stamp_state(old) == DictChunkState::kUsed) {
        memory_.release(a, ref_line(before), old);
      }
    }
  }
  memory_.release_private(a, pending, row);
}

/// Everything that a transaction had begun, or made; by its owner or his reaper.
HEDDLE_FLATTEN uint64_t Dict::finish_transaction(DictActor& a, uint32_t owner) {
  DictRow& row = memory_.row(owner);
  DictJournal& j = row.journal;
  const uint64_t list = j.list.load(kSeen);
  const uint32_t line = ref_line(list);
  DictRecord& l = memory_.record(line);
  const uint64_t stamp = l.stamp.load(kSeen);
  uint64_t rev = 0;
  if (line == 0 || !same_life(stamp, list) || stamp_state(stamp) != DictChunkState::kUsed) {
    memory_.release_private(a, list, owner);
    j.tphase.store(0, std::memory_order_release);
    return rev;
  }
  const uint64_t seen = l.version.load(kSeen);
  if (decision_of(seen, ref_generation(list)) == DictDecision::kOpen) {
    dict_cas(l.version, seen,
             make_decision(ref_generation(list), decision_tries(seen), DictDecision::kUndone));
  }
  const bool made = decision_of(l.version.load(kSeen), ref_generation(list)) == DictDecision::kMade;
  const DictListShape shape = shape_of(l.create_revision.load(kSeen));
  if (made) {
    assign(a, line, kRevUnassigned | ref_generation(list));
    rev = l.rev.load(kSeen);
    row.entries.store(j.entries.load(kBare) + j.entries_more.load(kBare),
                      std::memory_order_release);
    row.bytes.store(j.bytes.load(kBare) + j.bytes_more.load(kBare), std::memory_order_release);
    for (uint32_t i = 0; i < shape.changes && (rev & kRevUnassigned) == 0; ++i) {
      const DictListEntry* e = list_entry(line, i);
      if (e == nullptr) break;
      const uint64_t x = e->change.load(kBare);
      dict_cas(memory_.record(ref_line(x)).rev, kRevUnassigned | ref_generation(x), rev);
    }
  }
  for (uint32_t i = 0; i < shape.buckets; ++i) {
    const auto* bucket = list_bucket(line, shape.entries, i);
    if (bucket != nullptr) close_bucket(a, bucket->load(kBare), made, owner);
  }
  for (uint32_t i = 0; i < shape.entries; ++i) {
    const DictListEntry* e = list_entry(line, i);
    if (e == nullptr) break;
    const uint64_t x = e->change.load(kBare);
    if (made) {
      close_change(a, x, e->replaced.load(kBare));
    } else {
      memory_.release_private(a, x, owner);
    }
  }
  memory_.unpin(a, list, made ? kStampMine : kStampMine | kStampHistory);
  j.tphase.store(0, std::memory_order_release);
  return rev;
}

/// What a change has replaced. MINE goes last: while it is there, this may be done again.
void Dict::close_change(DictActor& a, uint64_t x, uint64_t replaced) {
  const uint64_t stamp = memory_.stamp(ref_line(x)).load(kSeen);
  if (ref_line(x) == 0 || !same_life(stamp, x) || (stamp & kStampMine) == 0) return;
  if (replaced != 0) {
    if (memory_.record(ref_line(x)).previous.load(kBare) == replaced) {
      keep_previous(a, x, replaced);
    } else {
      memory_.unpin(a, replaced, kStampLive);
    }
  }
  memory_.unpin(a, x, kStampMine);
}

}  // namespace heddle::shm
