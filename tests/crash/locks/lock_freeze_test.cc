// Stops a client at every instruction of every lock operation; others go on, sleepers come, or the
// lock is deleted; then the stopped one resumes, and what it computed before must fail.
//
// A stopped one that holds the lock is waited for; one that is before its grant or after its
// release blocks nobody. Every instruction with HEDDLE_LONG, else every 13th; both less often in
// the long spins beyond the 100th.
#include "proto/shm/futex.h"
#include "tests/crash/locks/lock_runs.h"

namespace heddle::shm {
namespace {

using Run = std::string (*)(const LockScenario&, uint64_t, Figures*);

void run(const char* what, size_t index, Run one) {
  if (!can_run()) return;
  stride_wanted = 13;
  const int64_t start_ns = monotonic_ns();
  const LockScenario scenario = lock_scenarios()[index];
  Figures f;
  EXPECT_EQ(one(scenario, index * 3, &f), "");
  report(what, scenario.name, f, start_ns);
}

class LockFreeze : public ::testing::TestWithParam<size_t> {};
TEST_P(LockFreeze, BlocksNobody) { run("freeze", GetParam(), run_freeze); }
TEST_P(LockFreeze, WakesWhoComesMeanwhile) {
  if (lock_scenarios()[GetParam()].sleepers.empty()) return;
  run("late", GetParam(), run_late);
}
TEST_P(LockFreeze, HurtsNoLockAfterIt) { run("deleted", GetParam(), run_deleted); }

INSTANTIATE_TEST_SUITE_P(Locks, LockFreeze, ::testing::Range<size_t>(0, lock_scenarios().size()),
                         [](const auto& p) {
                           return scenario_name(lock_scenarios()[p.param].name);
                         });

void tell(const char* name, std::string (*story)(Figures*)) {
  if (!can_run()) return;
  const int64_t start_ns = monotonic_ns();
  Figures f;
  EXPECT_EQ(story(&f), "");
  report("story", name, f, start_ns);
}

TEST(LockStories, WithdrawnClaim) { tell("withdrawn claim", story_withdrawn_claim); }
TEST(LockStories, NotifiedWaiter) { tell("notified waiter", story_notified_waiter); }
TEST(LockStories, HalfWraps) { tell("half wraps", story_half_wraps); }
TEST(LockStories, HandOff) { tell("hand-off", story_hand_off); }
TEST(LockStories, FrozenSleeper) { tell("frozen sleeper", story_frozen_sleeper); }
TEST(LockStories, EventPair) { tell("event pair", story_event_pair); }
TEST(LockStories, ReissuedNumber) { tell("reissued number", story_reissued_number); }
TEST(LockStories, TokenAfterDelete) { tell("token after delete", story_token_after_delete); }
TEST(LockStories, MemberDies) { tell("member dies", story_member_dies); }
TEST(LockStories, WokenThenStopped) { tell("woken, then stopped", story_woken_then_stopped); }
TEST(LockStories, BrokerDies) { tell("broker dies", story_broker_dies); }

}  // namespace
}  // namespace heddle::shm
