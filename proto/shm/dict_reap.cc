// What is done for a thread that died in the middle of something. Each decision is recorded in the
// dead thread's journal before it is acted on, so a second reaper goes on where the first stopped.
#include "proto/shm/dict.h"
#include "proto/shm/dict_mutant.h"

namespace heddle::shm {
namespace {

constexpr auto kSee = std::memory_order_acquire;
constexpr uint32_t kLooksMax = 10'000;

constexpr uint64_t recorded(DictPhase phase) { return static_cast<uint64_t>(phase); }

}  // namespace

/// Of two reapers one works on a row. What a dead reaper had begun, who reaps him takes over, and
/// before his own rows go: they say that it was he.
template <class Dead>
void Dict::reap_rows(DictActor& reaper, Dead dead) {
  const uint32_t used = memory_.header().rows_used.load(kSee);
  for (const bool begun : {true, false}) {
    for (uint32_t i = 0; i < used && i < kDictRowsMax; ++i) {
      const uint64_t word = memory_.row(i).word.load(kSee);
      if (i == reaper.row || !dict_row_taken(word)) continue;
      const uint32_t by = dict_row_claimed_by(word);
      const uint64_t whose = begun ? by == 0 ? 0 : memory_.row(by - 1).word.load(kSee) : word;
      if (!dict_row_taken(whose) || !dead(whose) || (begun ? by - 1 == reaper.row : by != 0)) {
        continue;
      }
      if (dict_cas(memory_.row(i).word, word, dict_row_claim(word, reaper.row))) {
        reap_row(reaper, i);
      }
    }
  }
}

void Dict::reap(DictActor& reaper, uint16_t dead) {
  reap_rows(reaper, [dead](uint64_t word) { return dict_row_owner(word) == dead; });
}

void Dict::reap_thread(DictActor& reaper, uint16_t owner, uint16_t thread) {
  reap_rows(reaper,
            [=](uint64_t word) { return (word & ~kRowClaimed) == dict_row_word(owner, thread); });
}

void Dict::reap_row(DictActor& reaper, uint32_t dead) {
  DictRow& row = memory_.row(dead);
  DictJournal& j = row.journal;
  memory_.reap_dying(dead);
  reap_split(reaper, dead);
  reap_finish(reaper, dead);
  reap_write(reaper, dead);
  if (j.tphase.load(kSee) != 0) finish_transaction(reaper, dead);
  const uint64_t hw = j.hw.load(kSee), place = j.hplace.load(kSee);
  const uint64_t now = memory_.history(place).word.load(kSee);
  if (hw != 0 && now != hw && !mutated(DictMutant::kHistoryNotReaped)) {
    if (now >> 60 == (laps(place) & 15)) finish_place(place, now);
    settle_history(reaper, j);
  }
  j.hw.store(0, std::memory_order_release);
  memory_.reap_claims(dead);
  memory_.reap_magazines(dead);
  give_back(dead, 0, 0);
  row.word.store(0, std::memory_order_release);
}

/// The bucket is looked at before the split block: nothing can be published any more.
bool Dict::was_split(const DictJournal& j) const {
  const uint64_t s = j.s.load(kSee);
  const uint64_t node = memory_.named_node(j.snode.load(kSee)).load(kSee);
  const uint64_t stamp = memory_.stamp(ref_line(s)).load(kSee);
  const bool array = j.l.load(kSee) == 0;
  const NodeFlag published = array ? NodeFlag::kArray : NodeFlag::kMoved;
  if (same_life(stamp, s) && node_flag(node) == published && node_block(node) == ref_line(s)) {
    return true;
  }
  return !array && (!same_life(stamp, s) || (stamp & kStampPublished) != 0);
}

void Dict::reap_split(DictActor& reaper, uint32_t dead) {
  DictJournal& j = memory_.row(dead).journal;
  if (dict_phase(j.sphase.load(kSee)) == DictPhase::kRun) {
    const DictPhase decision = was_split(j) ? DictPhase::kPublished : DictPhase::kUnpublished;
    dict_cas(j.sphase, recorded(DictPhase::kRun), recorded(decision));
  }
  const DictPhase phase = dict_phase(j.sphase.load(kSee));
  if (phase == DictPhase::kUnpublished) give_up_split(reaper, j, dead);
  if (phase != DictPhase::kPublished) return;
  const uint64_t name = j.snode.load(kSee), s = j.s.load(kSee);
  const uint64_t node = memory_.named_node(name).load(kSee);
  const bool moved = node_flag(node) == NodeFlag::kMoved && node_block(node) == ref_line(s);
  if (j.l.load(kSee) != 0 && moved) finish_split(reaper, name, node);
  if (j.l.load(kSee) != 0) release_split_block(reaper, s);
  end_split(reaper, j);
}

/// A split block whose bucket is DONE. Once, by its generation.
void Dict::release_split_block(DictActor& reaper, uint64_t s) {
  const uint64_t stamp = memory_.stamp(ref_line(s)).load(kSee);
  if (ref_line(s) != 0 && same_life(stamp, s) && stamp_state(stamp) == DictChunkState::kUsed) {
    memory_.release(reaper, ref_line(s), stamp);
  }
}

/// Somebody's split that the dead one was finishing.
void Dict::reap_finish(DictActor& reaper, uint32_t dead) {
  DictJournal& j = memory_.row(dead).journal;
  const uint64_t s = j.fs.load(kSee), name = j.fnode.load(kSee);
  if (s == 0 || (name & kNodeInArray) != 0) return;
  const uint64_t node = memory_.node(name).load(kSee);
  if (node_flag(node) == NodeFlag::kMoved && node_block(node) == ref_line(s)) {
    finish_split(reaper, name, node);
  } else if (node_flag(node) == NodeFlag::kDone) {
    release_split_block(reaper, s);
  }
  j.fs.store(0, std::memory_order_release);
}

void Dict::reap_write(DictActor& reaper, uint32_t dead) {
  DictRow& row = memory_.row(dead);
  DictJournal& j = row.journal;
  const uint64_t x = j.x.load(kSee);
  if (dict_phase(j.phase.load(kSee)) == DictPhase::kRun) {
    const bool published = was_published(reaper, x);
    if (mutated(DictMutant::kActBeforeDecision) && !published) {
      memory_.release_private(reaper, x, dead);
    }
    dict_cas(j.phase, recorded(DictPhase::kRun),
             recorded(published ? DictPhase::kPublished : DictPhase::kUnpublished));
  }
  switch (dict_phase(j.phase.load(kSee))) {
    case DictPhase::kPublished:
      finish_write(reaper, j, row);
      break;
    case DictPhase::kUnpublished:
      memory_.release_private(reaper, x, dead);
      memory_.release_private(reaper, j.b.load(kSee), dead);
      break;
    default:
      break;
  }
  j.phase.store(recorded(DictPhase::kIdle), std::memory_order_release);
}

/// Of a record that its dead writer had prepared. MINE keeps it from a next life.
bool Dict::was_published(DictActor& reaper, uint64_t x) {
  const uint32_t line = ref_line(x);
  if (line == 0) return false;
  const DictRecord& r = memory_.record(line);
  for (uint32_t looks = 0; looks < kLooksMax; ++looks) {
    const uint64_t stamp = r.stamp.load(kSee);
    if (!same_life(stamp, x)) return true;
    const uint64_t rev = r.rev.load(kSee);
    if ((rev & kRevUnassigned) == 0) {
      ensure_done(line, kRevUnassigned);
      return true;
    }
    if (stamp_state(stamp) != DictChunkState::kUsed) return false;
    if (is_in_bucket(line)) {
      assign(reaper, line, rev);
      return true;
    }
    // Replaced meanwhile? Then it has its revision now.
    if (r.rev.load(kSee) == rev) return false;
  }
  return false;
}

bool Dict::is_in_bucket(uint32_t line) const {
  View v;
  if (!view(line, &v)) return false;
  const DictHash h = hash(v.key, v.key_bytes);
  for (uint32_t looks = 0, lost = 0; looks < kLooksMax && lost < 16; ++looks) {
    Spot spot;
    if (!find(h, &spot)) {
      ++lost;
      continue;
    }
    Pairs pairs;
    load_pairs(spot.block, &pairs);
    if (!unchanged(spot)) continue;
    for (uint32_t i = 0; i < pairs.n; ++i) {
      if (pair_record(pairs.word[i]) == line) return true;
    }
    return false;
  }
  return false;
}

}  // namespace heddle::shm
