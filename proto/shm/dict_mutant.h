// Defects on demand. The test of the dict tests builds the dict sources once more with
// HEDDLE_DICT_MUTANTS and breaks one rule at a time; in every other build this is nothing.
#pragma once

namespace heddle::shm {

enum class DictMutant {
  kNone,
  kAssignWithoutLook,      // a record is placed without a last look at its revision
  kActBeforeDecision,      // the reaper frees before it has recorded that nothing was published
  kStampBeforeJournal,     // the record's old revision is there when the journal names it
  kNotMine,                // a writer does not pin its record
  kSplitNotMarked,         // a finisher does not mark the split block
  kReplaceWithoutHelp,     // a record without revision is replaced
  kHistoryNotReaped,       // the reaper forgets the history step
  kPreviousNotChecked,     // whoever retires a value does not look whether it is still needed
  kMagazineNotReaped,      // chunks of the dead stay theirs
  kAccountsNotSettled,     // the reaper leaves the accounts as they are
  kExtentsNotReturned,     // a record dies without the extents of its value
  kReadWithoutSecondLook,  // a reader believes what it has copied
  kListNotSettled,         // a transaction leaves the history without its changes
  kTransferNotSettled,     // a transfer begins before the last one is finished
  kPendingFreedFirst,      // a pending block goes before its bucket is put back
  kOpenNotUndone,          // who meets an open transaction takes the old block and lets it go on
};

#ifdef HEDDLE_DICT_MUTANTS
inline DictMutant dict_mutant = DictMutant::kNone;
inline bool mutated(DictMutant m) { return dict_mutant == m; }
#else
constexpr bool mutated(DictMutant) { return false; }
#endif

}  // namespace heddle::shm
