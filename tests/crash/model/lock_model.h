// What the models of the locks share: a word on whose low half waiters sleep, a victim that dies at
// any operation, and the rules that a mutant breaks.
#pragma once

#include "proto/shm/lock_word.h"
#include "tests/crash/model/model_check.h"

namespace heddle::model {

enum class LockRule {
  kAll,                // none is broken
  kClearByCompare,     // SLEEPERS is cleared against the very word of the release
  kWakeAfterClear,     // who slept between the wake and the clearing is woken
  kKeepSleepers,       // a release leaves SLEEPERS
  kTakeBeforeClock,    // a waiter whose time is over tries once more
  kReaperWakes,        // the reaper wakes everybody
  kLookAgainAfterTry,  // a reader looks at the word after its TRY
  kTryBeforeHeld,      // a reader is not inside before that
  kRefuseTries,        // a writer refuses readers that are about to enter
  kRingDrain,          // taking a claim away rings the writer that waits with it
  kRingAfterLeave,     // a reader that leaves rings a writer that waits
  kDrainBeforeScan,    // the writer knows the bell before it looks for readers
};
inline LockRule broken_rule = LockRule::kAll;
inline bool keeps(LockRule rule) { return broken_rule != rule; }

class LockWordAtomic : public Atomic<uint64_t> {
 public:
  /// As FUTEX_WAIT on the low half. `timed`: the time may be over at any moment.
  void wait_low(uint64_t expected, bool timed) {
    fate.step();
    const uint64_t seen = value_.fetch_or(0, rl::mo_seq_cst, RL_INFO);
    if (static_cast<uint32_t>(seen) != static_cast<uint32_t>(expected)) return;
    value_.wait(rl::ctx(), timed, false, RL_INFO);
  }
};

/// Threads are processes here: session i + 1, thread 1.
inline uint32_t model_holder() {
  return shm::holder_of(static_cast<uint16_t>(rl::thread_index() + 1), 1);
}

/// In half of the schedules somebody dies. Last in before(), for that is done by a thread's number.
inline void draw_death(unsigned threads, unsigned operations) {
  if (lot(2) == 0) return;
  fate.victim = static_cast<int>(rl::rand(threads));
  fate.dies = true;
  fate.stop_at = 1 + rl::rand(operations);
}

template <class Model>
Run run_broken(unsigned iterations, LockRule rule) {
  broken_rule = rule;
  Run run = run_random<Model>(iterations);
  broken_rule = LockRule::kAll;
  return run;
}

}  // namespace heddle::model
