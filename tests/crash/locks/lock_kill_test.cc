// Kills a client after every instruction of every lock operation, with and without sleepers, and
// the reaper in the middle of repairing it.
//
// Without sleepers: one pass single-steps the operation and remembers each distinct state of the
// shared memory; each is reaped and checked; and the reaper is stepped likewise, killed in each of
// its states, and a second one finishes. With sleepers, who are processes asleep in the kernel: a
// real SIGKILL after an instruction, then one reap; whoever is owed a wake must come back by it,
// for sleeps are unbounded here and no scan runs. Every instruction with HEDDLE_LONG, else every
// seventh; both less often in the long spins beyond the 200th.
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "tests/crash/locks/lock_stage.h"
#include "tests/support/stepper.h"

namespace heddle::shm {
namespace {

using test::SteppedChild;

bool long_run() { return std::getenv("HEDDLE_LONG") != nullptr; }

class LockKill : public ::testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    const char* why;
    if (!test::can_step(&why)) {
      if (std::getenv("CI") != nullptr) FAIL() << why;
      GTEST_SKIP() << why;
    }
  }
  const LockScenario scenario_ = lock_scenarios()[GetParam()];
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  uint64_t points_ = 0, kills_ = 0, states_ = 0;

  void report(const char* what) {
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start_;
    std::printf("%-9s %-40s %7llu points %6llu kills %5llu states %6.2f s\n", what,
                scenario_.name.c_str(), static_cast<unsigned long long>(points_),
                static_cast<unsigned long long>(kills_), static_cast<unsigned long long>(states_),
                time.count());
  }

  std::vector<LockStage::Image> states_of(LockStage& stage, const std::function<int()>& body) {
    std::vector<LockStage::Image> images;
    std::unordered_set<uint64_t> seen;
    SteppedChild child(body);
    do {
      ++points_;
      if (seen.insert(stage.hash()).second) images.push_back(stage.save());
    } while (child.step());
    states_ += images.size();
    return images;
  }
};

class LockStates : public LockKill {};
TEST_P(LockStates, AreRepaired) {
  LockScenario alone = scenario_;
  alone.sleepers.clear();
  LockStage stage(alone);
  const auto body = [&] { return static_cast<int>(alone.operate(stage.lock(), stage.victim())); };
  const std::vector<LockStage::Image> images = states_of(stage, body);
  for (size_t i = 0; i < images.size(); ++i) {
    stage.restore(images[i]);
    const bool owned = stage.victim_owns();
    stage.reap();
    ASSERT_EQ(stage.check(owned, false), "") << scenario_.name << ", state " << i;
  }
  const size_t most = long_run() ? images.size() : 6;
  const size_t stride = images.size() > most ? images.size() / most : 1;
  for (size_t i = 0; i < images.size(); i += stride) {
    stage.restore(images[i]);
    const bool owned = stage.victim_owns();
    const std::vector<LockStage::Image> halves = states_of(stage, [&] {
      stage.reap();
      return 0;
    });
    for (size_t half = 0; half < halves.size(); ++half) {
      stage.restore(halves[half]);
      stage.reap();
      ASSERT_EQ(stage.check(owned, false), "")
          << scenario_.name << ", victim state " << i << ", reaper state " << half;
    }
  }
  report("states");
}

class LockSleepers : public LockKill {};
TEST_P(LockSleepers, AreWoken) {
  LockStage stage(scenario_);
  const size_t n = scenario_.sleepers.size();
  const uint64_t every = long_run() ? 1 : 7;
  bool ended = false;
  for (uint64_t k = GetParam() % every; !ended; k += every * (1 + k / 200)) {
    ASSERT_LT(k, 20'000u) << "the operation does not end";
    stage.restore();
    stage.start_sleepers();
    {
      SteppedChild victim(
          [&] { return static_cast<int>(scenario_.operate(stage.lock(), stage.victim())); });
      for (uint64_t i = 0; i < k && !ended; ++i) ended = !victim.step();
      victim.kill();
    }
    ++kills_;
    points_ += k;
    const size_t due = scenario_.due ? scenario_.due(stage.lock()) : n;
    const bool owned = stage.victim_owns();
    stage.reap();
    ASSERT_TRUE(stage.wait_for_sleepers(due, 5'000))
        << scenario_.name << ", killed after " << k << ": " << stage.sleepers_back() << " of "
        << due << " sleepers are back";
    if (scenario_.settle) scenario_.settle(stage.lock(), stage.other());
    // Condition waiters that were not notified are woken by the settling; so are all others.
    ASSERT_TRUE(stage.wait_for_sleepers(n, 5'000)) << scenario_.name << ", killed after " << k;
    stage.stop_sleepers();
    ASSERT_EQ(stage.check(owned, true), "") << scenario_.name << ", killed after " << k;
  }
  report("sleepers");
}

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
  std::string name = lock_scenarios()[p.param].name;
  for (char& c : name) {
    if (!isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Locks, LockStates, ::testing::ValuesIn(chosen(false)), name_of);
INSTANTIATE_TEST_SUITE_P(Locks, LockSleepers, ::testing::ValuesIn(chosen(true)), name_of);

}  // namespace
}  // namespace heddle::shm
