// Kills a client after every instruction of every queue operation, and the reaper in the middle of
// repairing it.
//
// One pass single-steps the operation and remembers each distinct state of the shared memory; each
// state is reaped and checked. Operations of up to 1,000 instructions are also killed for real,
// after every single one with HEDDLE_LONG and after each sixteenth without; a state that appears
// only then is checked as well. For the reaper the victim is dead in each of its states (some of
// them, all with HEDDLE_LONG), the reaper is stepped likewise, and a second one finishes.
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "tests/crash/step_world.h"
#include "tests/support/states.h"

namespace heddle::shm {
namespace {

using test::states_of;
using test::SteppedChild;

struct Totals {
  uint64_t points = 0, kills = 0, states = 0;
};

class StepKill : public ::testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    const char* why;
    if (!test::can_step(&why)) {
      if (std::getenv("CI") != nullptr) FAIL() << why;
      GTEST_SKIP() << why;
    }
  }
};

void report(const char* what, const Scenario& s, const Totals& t,
            std::chrono::steady_clock::time_point since) {
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
  std::printf("shown: %s; %s; %llu points, %llu kills, %llu states, %.2f s\n", what, s.name,
              static_cast<unsigned long long>(t.points), static_cast<unsigned long long>(t.kills),
              static_cast<unsigned long long>(t.states), seconds);
}

TEST_P(StepKill, ClientLosesNothing) {
  const auto start = std::chrono::steady_clock::now();
  const Scenario scenario = scenarios()[GetParam()];
  World world(scenario);
  Totals totals;
  const auto body = [&] {
    return static_cast<int>(scenario.operate(world.queue(), world.victim(), world.report()));
  };
  const std::vector<World::Image> images = states_of(world, body, &totals.points, &totals.states);
  const uint64_t steps = totals.points;
  std::unordered_set<uint64_t> seen;
  for (size_t i = 0; i < images.size(); ++i) {
    world.restore(images[i]);
    seen.insert(world.hash());
    world.reap_victim(kReaper);
    ASSERT_EQ(world.check_after_death(), "") << scenario.name << ", state " << i;
  }
  const uint64_t every = std::getenv("HEDDLE_LONG") != nullptr ? 1 : 16;
  for (uint64_t k = GetParam() % every; steps <= 1000 && k < steps; k += every) {
    world.restore();
    {
      SteppedChild child(body);
      for (uint64_t i = 0; i < k && child.step(); ++i) {
      }
      child.kill();
    }
    ++totals.kills;
    if (!seen.insert(world.hash()).second) continue;
    ++totals.states;
    world.reap_victim(kReaper);
    ASSERT_EQ(world.check_after_death(), "") << scenario.name << ", killed after " << k;
  }
  report("client", scenario, totals, start);
}

TEST_P(StepKill, ReaperIsResumed) {
  const auto start = std::chrono::steady_clock::now();
  const Scenario scenario = scenarios()[GetParam()];
  World world(scenario);
  Totals ignored, totals;
  const std::vector<World::Image> images = states_of(
      world,
      [&] {
        return static_cast<int>(scenario.operate(world.queue(), world.victim(), world.report()));
      },
      &ignored.points, &ignored.states);
  const size_t most = std::getenv("HEDDLE_LONG") != nullptr ? images.size() : 3;
  const size_t stride = images.size() > most ? images.size() / most : 1;
  for (size_t i = 0; i < images.size(); i += stride) {
    world.restore(images[i]);
    const std::vector<World::Image> halves = states_of(
        world,
        [&] {
          world.reap_victim(kReaper);
          return 0;
        },
        &totals.points, &totals.states);
    for (size_t half = 0; half < halves.size(); ++half) {
      world.restore(halves[half]);
      // The next incarnation: first the dead reaper, then whom that one was repairing.
      Actor second = world.newcomer(kSecondReaper);
      world.queue().reap(second, kReaper, world.line(kReaper), 1, {});
      world.queue().reap(second, kVictim, world.line(kVictim), 1, {77, 9});
      world.queue().leave(second);
      ASSERT_EQ(world.check_after_death(), "")
          << scenario.name << ", victim state " << i << ", reaper state " << half;
    }
  }
  report("reaper", scenario, totals, start);
}

INSTANTIATE_TEST_SUITE_P(Queue, StepKill, ::testing::Range<size_t>(0, scenarios().size()),
                         [](const auto& p) {
                           std::string name = scenarios()[p.param].name;
                           for (char& c : name)
                             if (!isalnum(static_cast<unsigned char>(c))) c = '_';
                           return name;
                         });

}  // namespace
}  // namespace heddle::shm
