// What the broker does for threads that are stopped, or slow, in the middle of something that
// others see already: a change that is visible gets its revision, so that watchers hear of it.
// Nothing else of a stopped thread is in anybody's way.
//
// Any reader with hands does the same for what it reads. Here the journals tell where to look; what
// they say is a hint, and may be of a thread that goes on meanwhile: each step is the one that
// its owner takes, and happens once, whoever takes it.
#include "proto/shm/dict.h"

namespace heddle::shm {
namespace {

constexpr auto kHint = std::memory_order_acquire;

bool under_way(const DictJournal& j) {
  return dict_phase(j.phase.load(kHint)) == DictPhase::kRun || j.tphase.load(kHint) != 0;
}

}  // namespace

bool Dict::is_busy() const {
  const uint32_t used = memory_.header().rows_used.load(kHint);
  for (uint32_t i = 0; i < used && i < kDictRowsMax; ++i) {
    const DictRow& row = memory_.row(i);
    if (dict_row_taken(row.word.load(kHint)) && under_way(row.journal)) return true;
  }
  return false;
}

void Dict::help(DictActor& helper) {
  const uint32_t used = memory_.header().rows_used.load(kHint);
  for (uint32_t i = 0; i < used && i < kDictRowsMax; ++i) {
    const DictRow& row = memory_.row(i);
    if (i == helper.row || !dict_row_taken(row.word.load(kHint))) continue;
    const DictJournal& j = row.journal;
    if (j.tphase.load(kHint) != 0) {
      help_transaction(helper, j.list.load(kHint));
    } else if (dict_phase(j.phase.load(kHint)) == DictPhase::kRun) {
      help_write(helper, j.x.load(kHint));
    }
  }
}

void Dict::help_write(DictActor& helper, uint64_t x) {
  const uint32_t line = ref_line(x);
  if (line == 0) return;
  const DictRecord& r = memory_.record(line);
  const uint64_t stamp = r.stamp.load(kHint), rev = r.rev.load(kHint);
  if (!same_life(stamp, x) || stamp_state(stamp) != DictChunkState::kUsed) return;
  if ((rev & kRevUnassigned) != 0 && is_in_bucket(line)) {
    assign(helper, line, rev);
  } else if ((rev & kRevUnassigned) == 0) {
    ensure_done(line, kRevUnassigned | ref_generation(x));
  }
}

void Dict::help_transaction(DictActor& helper, uint64_t list) {
  const uint32_t line = ref_line(list);
  if (line == 0) return;
  const DictRecord& r = memory_.record(line);
  const uint64_t generation = ref_generation(list);
  if (decision_of(r.version.load(kHint), generation) != DictDecision::kMade) return;
  if (same_life(r.stamp.load(kHint), list)) assign(helper, line, kRevUnassigned | generation);
}

}  // namespace heddle::shm
