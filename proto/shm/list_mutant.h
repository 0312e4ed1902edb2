// Defects on demand. The test of the list tests builds the list sources once more with
// HEDDLE_LIST_MUTANTS and breaks one rule at a time; in every other build this is nothing.
#pragma once

namespace heddle::shm {

enum class ListMutant {
  kNone,
  kReadWithoutSecondLook,  // a reader believes what it has copied
  kNotMarked,              // a head is replaced without a mark
  kActBeforeDecision,      // the reaper gives back before it has recorded what it found
  kRestNotReaped,          // what rested with the dead stays there
  kHeadLeftInJournal,      // a lost CAS leaves its head in the journal
  kGarbageNotReaped,       // the old tree of a dead thread's clear stays
  kRetiredNotReaped,       // what a dead thread replaced stays
};

#ifdef HEDDLE_LIST_MUTANTS
inline ListMutant list_mutant = ListMutant::kNone;
inline bool list_mutated(ListMutant m) { return list_mutant == m; }
#else
constexpr bool list_mutated(ListMutant) { return false; }
#endif

}  // namespace heddle::shm
