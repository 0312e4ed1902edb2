// What is done for a thread that died in the middle of a change. The decision is recorded in the
// dead thread's journal before it is acted on, so a second reaper goes on where the first stopped.
#include "proto/shm/list.h"
#include "proto/shm/list_mutant.h"

namespace heddle::shm {
namespace {

constexpr auto kLate = std::memory_order_acquire;
constexpr uint64_t list_decision(DictPhase phase) { return static_cast<uint64_t>(phase); }

}  // namespace

void List::reap(ListActor& reaper, uint16_t dead) {
  const uint32_t used = memory_.header().rows_used.load(kLate);
  for (uint32_t i = 0; i < used && i < kDictRowsMax; ++i) {
    const uint64_t word = memory_.row(i).word.load(kLate);
    if (i != reaper.row && dict_row_taken(word) && dict_row_owner(word) == dead) {
      reap_row(reaper, i);
    }
  }
}

void List::reap_thread(ListActor& reaper, uint16_t owner, uint16_t thread) {
  const uint32_t used = memory_.header().rows_used.load(kLate);
  for (uint32_t i = 0; i < used && i < kDictRowsMax; ++i) {
    if (i != reaper.row && memory_.row(i).word.load(kLate) == dict_row_word(owner, thread)) {
      reap_row(reaper, i);
    }
  }
}

/// The root is read before the mark: whoever replaced the head marked it before that.
bool List::was_published(const ListJournal& j) const {
  const uint64_t head = j.head.load(kLate);
  if (ref_line(head) == 0) return false;
  if (header().root.load(std::memory_order_seq_cst) == head) return true;
  const uint64_t stamp = memory_.stamp(ref_line(head)).load(kLate);
  return !same_life(stamp, head) || (stamp & kStampPublished) != 0;
}

void List::reap_row(ListActor& reaper, uint32_t dead) {
  ListJournal& j = journal(dead);
  memory_.reap_dying(dead);
  if (dict_phase(j.phase.load(kLate)) == DictPhase::kRun) {
    const bool published = was_published(j);
    if (list_mutated(ListMutant::kActBeforeDecision) && !published) {
      memory_.release_private(reaper, j.head.load(kLate), dead);
    }
    dict_cas(j.phase, list_decision(DictPhase::kRun),
             list_decision(published ? DictPhase::kPublished : DictPhase::kUnpublished));
  }
  const DictPhase phase = dict_phase(j.phase.load(kLate));
  if (phase == DictPhase::kPublished) {
    wake_watchers();
    const uint32_t n = j.retired_n.load(kLate);
    for (uint32_t i = 0; i < n && i < kListRetired; ++i) {
      if (!list_mutated(ListMutant::kRetiredNotReaped)) release(reaper, j.retired[i].load(kLate));
    }
    if (!list_mutated(ListMutant::kGarbageNotReaped)) release_garbage(reaper, j);
  } else if (phase == DictPhase::kUnpublished) {
    const uint32_t n = j.fresh_n.load(kLate);
    for (uint32_t i = 0; i < n && i < kListFresh; ++i) {
      memory_.release_private(reaper, j.fresh[i].load(kLate), dead);
    }
  }
  j.phase.store(list_decision(DictPhase::kIdle), std::memory_order_release);
  if (!list_mutated(ListMutant::kRestNotReaped)) end_rest(reaper, j);
  memory_.reap_claims(dead);
  memory_.reap_magazines(dead);
  memory_.row(dead).word.store(0, std::memory_order_release);
}

}  // namespace heddle::shm
