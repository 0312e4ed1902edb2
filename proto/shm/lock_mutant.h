// Defects on demand. The test of the lock tests builds the lock sources once more with
// HEDDLE_LOCK_MUTANTS and breaks one rule at a time; in every other build this is nothing.
#pragma once

namespace heddle::shm {

enum class LockMutant {
  kNone,
  kHeldWithoutTry,       // a reader is inside before it has looked at the word again
  kDrainNotRung,         // a claim that is taken away leaves its writer asleep
  kReaperSilent,         // the reaper repairs and wakes nobody
  kReleaseClears,        // a release takes SLEEPERS away although more may sleep
  kNotifiedNotPassed,    // the notification of a dead waiter is lost
  kCellEmptiedEarly,     // a waiter leaves its cell before it has its lock back
  kClaimStays,           // nobody takes the claim of a stopped writer away
  kBaseAfterCas,         // half wraps are counted after the grant
  kHandOffForgotten,     // a release does not hand off to one that starves
  kBarrierSilent,        // who completes a generation wakes nobody
  kAllWithoutCommit,     // notify_all tells one after the other, and commits nothing
  kNoSequence,           // a released permit leaves the word as a sleeper saw it
  kAbandonedStays,       // every owner after a death is told of it
  kClaimForgetsDeath,    // a writer's claim swallows the word of a death
  kEventClearsFirst,     // a set is cleared before those who wait for it are woken
  kNoWakeAfterClearing,  // who slept between the wake and the clearing is forgotten
  kTokenStays,           // destroy leaves the token as it was
};

#ifdef HEDDLE_LOCK_MUTANTS
inline LockMutant lock_mutant = LockMutant::kNone;
inline bool mutated(LockMutant m) { return lock_mutant == m; }
#else
constexpr bool mutated(LockMutant) { return false; }
#endif

}  // namespace heddle::shm
