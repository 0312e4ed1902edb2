// Kills a client after every instruction of every lock operation, with and without sleepers, and
// the reaper in the middle of repairing it.
//
// Without sleepers every distinct state of the shared memory is reaped and checked. With sleepers,
// who are processes asleep in the kernel: a real SIGKILL, then one reap; whoever is owed a wake
// must come back by it, for sleeps are unbounded here and no scan runs. Every instruction with
// HEDDLE_LONG, else every seventh; both less often in the long spins beyond the 100th.
#include "proto/shm/futex.h"
#include "tests/crash/locks/lock_runs.h"

namespace heddle::shm {
namespace {

/// Which scenarios a test is for. A barrier without its sleepers would wait for ever.
std::vector<size_t> chosen(bool sleepers) {
  const std::vector<LockScenario> all = lock_scenarios();
  std::vector<size_t> some;
  for (size_t i = 0; i < all.size(); ++i) {
    const bool sleep = !all[i].sleepers.empty();
    if (sleepers ? sleep : !sleep || all[i].options.kind != LockKind::kBarrier) some.push_back(i);
  }
  return some;
}

std::string name_of(const ::testing::TestParamInfo<size_t>& p) {
  return scenario_name(lock_scenarios()[p.param].name);
}

class LockStates : public ::testing::TestWithParam<size_t> {};
TEST_P(LockStates, AreRepaired) {
  if (!can_run()) return;
  const int64_t start_ns = monotonic_ns();
  const LockScenario scenario = lock_scenarios()[GetParam()];
  Figures f;
  EXPECT_EQ(run_states(scenario, &f), "");
  report("states", scenario.name, f, start_ns);
}

class LockSleepers : public ::testing::TestWithParam<size_t> {};
TEST_P(LockSleepers, AreWoken) {
  if (!can_run()) return;
  const int64_t start_ns = monotonic_ns();
  const LockScenario scenario = lock_scenarios()[GetParam()];
  Figures f;
  EXPECT_EQ(run_sleepers(scenario, GetParam(), &f), "");
  report("sleepers", scenario.name, f, start_ns);
}

/// Two of the same kind, each stopped at any of its states, then both dead at once.
class LockPairs : public ::testing::TestWithParam<size_t> {};
TEST_P(LockPairs, AreRepairedByOneReap) {
  if (!can_run()) return;
  const std::vector<LockScenario> all = lock_scenarios();
  const LockScenario& first = all[GetParam()];
  if (first.options.kind == LockKind::kBarrier) return;
  const int64_t start_ns = monotonic_ns();
  Figures f;
  for (const LockScenario& second : all) {
    const bool same = first.options.kind == second.options.kind &&
                      first.options.policy == second.options.policy &&
                      first.options.fair == second.options.fair;
    // The second one enters as well as leaves; a mere release would find nothing to do.
    if (!same || !second.enters) continue;
    ASSERT_EQ(run_pair(first, second, &f), "");
  }
  report("pairs", first.name, f, start_ns);
}

INSTANTIATE_TEST_SUITE_P(Locks, LockPairs, ::testing::ValuesIn(chosen(false)), name_of);
INSTANTIATE_TEST_SUITE_P(Locks, LockStates, ::testing::ValuesIn(chosen(false)), name_of);
INSTANTIATE_TEST_SUITE_P(Locks, LockSleepers, ::testing::ValuesIn(chosen(true)), name_of);

}  // namespace
}  // namespace heddle::shm
