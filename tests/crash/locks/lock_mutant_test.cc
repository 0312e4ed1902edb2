// The test of the tests: the lock sources with one deliberate defect at a time (lock_mutant.h),
// each of which must be noticed by the run that is there for it.
#include <cstdio>
#include <cstdlib>

#include "proto/shm/futex.h"
#include "proto/shm/lock_mutant.h"
#include "tests/crash/locks/lock_runs.h"

namespace heddle::shm {
namespace {

void expect_caught(LockMutant mutant, const char* name, const std::function<std::string()>& run) {
  if (!can_run()) return;
  stride_wanted = 3;
  // What these runs see without a defect is the business of the other tests, but for who doubts it.
  if (long_run() || std::getenv("HEDDLE_WITHOUT_DEFECT") != nullptr) {
    EXPECT_EQ(run(), "") << "without a defect";
  }
  lock_mutant = mutant;
  const int64_t start_ns = monotonic_ns();
  const std::string wrong = run();
  lock_mutant = LockMutant::kNone;
  std::printf("mutant %-22s %5.2f s  %s\n", name,
              static_cast<double>(monotonic_ns() - start_ns) / 1e9, wrong.c_str());
  EXPECT_NE(wrong, "") << name << " is not noticed";
}

std::string states(const char* name) {
  Figures f;
  return run_states(lock_scenario(name), &f);
}
std::string sleepers(const char* name) {
  Figures f;
  return run_sleepers(lock_scenario(name), 0, &f);
}
std::string freeze(const char* name) {
  Figures f;
  return run_freeze(lock_scenario(name), 0, &f);
}
std::string late(const char* name) {
  Figures f;
  return run_late(lock_scenario(name), 0, &f);
}
std::string story(std::string (*one)(Figures*)) {
  Figures f;
  return one(&f);
}

#define HEDDLE_CAUGHT(mutant, run)                                     \
  TEST(LockMutants, mutant) {                                          \
    expect_caught(LockMutant::k##mutant, #mutant, [] { return run; }); \
  }

HEDDLE_CAUGHT(HeldWithoutTry, freeze("rw read"))
HEDDLE_CAUGHT(DrainNotRung, story(story_withdrawn_claim))
HEDDLE_CAUGHT(ReaperSilent, sleepers("mutex release, one sleeps"))
HEDDLE_CAUGHT(ReleaseClears, sleepers("mutex release, two sleep"))
HEDDLE_CAUGHT(NotifiedNotPassed, story(story_notified_waiter))
HEDDLE_CAUGHT(CellEmptiedEarly, story(story_notified_waiter))
HEDDLE_CAUGHT(ClaimStays, freeze("rw write"))
HEDDLE_CAUGHT(BaseAfterCas, story(story_half_wraps))
HEDDLE_CAUGHT(HandOffForgotten, story(story_hand_off))
HEDDLE_CAUGHT(BarrierSilent, late("barrier last"))
HEDDLE_CAUGHT(AllWithoutCommit, sleepers("condition notify all"))
HEDDLE_CAUGHT(NoSequence, story(story_frozen_sleeper))
HEDDLE_CAUGHT(AbandonedStays, states("mutex pair"))
HEDDLE_CAUGHT(ClaimForgetsDeath, states("rw write"))
HEDDLE_CAUGHT(EventClearsFirst, story(story_event_pair))
HEDDLE_CAUGHT(NoWakeAfterClearing, late("rw upgrade refused, a writer sleeps"))
HEDDLE_CAUGHT(TokenStays, story(story_token_after_delete))

}  // namespace
}  // namespace heddle::shm
