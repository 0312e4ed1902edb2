// Kills a client after every instruction of every dict operation, and the reaper in the middle of
// repairing it. By default a sample of the kills; every one with HEDDLE_LONG.
#include <cstdio>
#include <cstdlib>

#include "proto/shm/futex.h"
#include "tests/crash/dict/dict_stage.h"
#include "tests/support/stepper.h"
#include "tests/support/watchdog.h"

namespace heddle::shm {
namespace {

bool long_run() { return std::getenv("HEDDLE_LONG") != nullptr; }

class DictKill : public ::testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    const char* why;
    if (!test::can_step(&why)) {
      if (std::getenv("CI") != nullptr) FAIL() << why;
      GTEST_SKIP() << why;
    }
  }
};

DictSample sample() {
  return long_run() ? DictSample{} : DictSample{.states = 12, .kills = 1, .stops = 2, .victims = 1};
}

class DictReaperKill : public DictKill {};
class DictTwoReapers : public DictKill {};
class DictFreeze : public DictKill {};

void report(const char* what, const char* scenario, const DictFigures& f, int64_t start_ns) {
  std::printf("shown: dict, %s; %s; %llu points, %llu kills, %llu states, %llu freezes, %.2f s\n",
              what, scenario, static_cast<unsigned long long>(f.points),
              static_cast<unsigned long long>(f.kills), static_cast<unsigned long long>(f.states),
              static_cast<unsigned long long>(f.freezes),
              static_cast<double>(monotonic_ns() - start_ns) / 1e9);
}

TEST_P(DictKill, ClientLosesNothing) {
  test::Watchdog dog("dict kill", long_run() ? 1800 : 60);
  const int64_t start_ns = monotonic_ns();
  const DictScenario scenario = dict_scenarios()[GetParam()];
  DictFigures f;
  EXPECT_EQ(run_killed(scenario, sample(), &f), "");
  report("client", scenario.name, f, start_ns);
}

TEST_P(DictReaperKill, AnotherGoesOn) {
  test::Watchdog dog("dict reaper", long_run() ? 1800 : 60);
  const int64_t start_ns = monotonic_ns();
  const DictScenario scenario = dict_scenarios()[GetParam()];
  DictFigures f;
  EXPECT_EQ(run_reaper_killed(scenario, sample(), &f), "");
  report("reaper", scenario.name, f, start_ns);
}

TEST_P(DictTwoReapers, OneWaitsForNobody) {
  test::Watchdog dog("dict two reapers", long_run() ? 1800 : 60);
  const int64_t start_ns = monotonic_ns();
  const DictScenario scenario = dict_scenarios()[GetParam()];
  DictFigures f;
  const DictSample most =
      long_run() ? DictSample{.stops = 200, .victims = 40} : DictSample{.stops = 2, .victims = 2};
  EXPECT_EQ(run_two_reapers(scenario, most, &f), "");
  report("two reapers", scenario.name, f, start_ns);
}

TEST_P(DictFreeze, OthersGoOnAndTheLateOneHarmsNothing) {
  test::Watchdog dog("dict freeze", long_run() ? 1800 : 60);
  const int64_t start_ns = monotonic_ns();
  const DictScenario scenario = dict_scenarios()[GetParam()];
  DictFigures f;
  EXPECT_EQ(run_frozen(scenario, sample(), &f), "");
  report("freeze", scenario.name, f, start_ns);
}

std::string name_of(const ::testing::TestParamInfo<size_t>& p) {
  std::string name = dict_scenarios()[p.param].name;
  for (char& c : name)
    if (!isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

/// Some for the reapers unless the run is a long one.
std::vector<size_t> all_or_each(size_t nth) {
  std::vector<size_t> some;
  const size_t all = dict_scenarios().size();
  for (size_t i = 0; i < all; i += long_run() ? 1 : nth) some.push_back(i);
  return some;
}

/// A history that is cut on purpose cannot be followed.
std::vector<size_t> followed() {
  std::vector<size_t> some;
  const std::vector<DictScenario> all = dict_scenarios();
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].extents == 0) some.push_back(i);
  }
  return some;
}

INSTANTIATE_TEST_SUITE_P(Dict, DictKill, ::testing::Range<size_t>(0, dict_scenarios().size()),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Dict, DictReaperKill, ::testing::ValuesIn(all_or_each(4)), name_of);
INSTANTIATE_TEST_SUITE_P(Dict, DictTwoReapers, ::testing::ValuesIn(all_or_each(7)), name_of);
INSTANTIATE_TEST_SUITE_P(Dict, DictFreeze, ::testing::ValuesIn(followed()), name_of);

}  // namespace
}  // namespace heddle::shm
