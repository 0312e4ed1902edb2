// The test of the list tests: the list sources with one deliberate defect at a time
// (list_mutant.h), each of which must be noticed by the run that is there for it.
#include <cstdio>
#include <cstdlib>

#include "proto/shm/futex.h"
#include "proto/shm/list_mutant.h"
#include "tests/crash/dict/list_stage.h"
#include "tests/support/stepper.h"
#include "tests/support/watchdog.h"

namespace heddle::shm {
namespace {

using Run = std::string (*)(const ListScenario&, const ListSample&, ListFigures*);

void expect_caught(ListMutant mutant, const char* name, const std::string& scenario, Run run,
                   const ListSample& most) {
  const char* why;
  if (!test::can_step(&why)) {
    if (std::getenv("CI") != nullptr) FAIL() << why;
    GTEST_SKIP() << why;
  }
  test::Watchdog dog("list mutant", 120);
  const int64_t start_ns = monotonic_ns();
  std::string wrong = "no such scenario";
  for (const ListScenario& s : list_scenarios()) {
    if (s.name != scenario) continue;
    ListFigures f;
    list_mutant = mutant;
    wrong = run(s, most, &f);
    list_mutant = ListMutant::kNone;
  }
  std::printf("shown: list, mutant %s; %.2f s; %s\n", name,
              static_cast<double>(monotonic_ns() - start_ns) / 1e9, wrong.substr(0, 150).c_str());
  EXPECT_NE(wrong, "no such scenario");
  EXPECT_NE(wrong, "") << name << " is not noticed";
}

#define CAUGHT(mutant, scenario, ...) \
  TEST(ListMutant, mutant) { expect_caught(ListMutant::k##mutant, #mutant, scenario, __VA_ARGS__); }

CAUGHT(ReadWithoutSecondLook, "page", run_frozen, {.stops = 60})
CAUGHT(NotMarked, "append over a stopped one", run_killed, {.kills = 0})
CAUGHT(ActBeforeDecision, "append beside a stopped one", run_reaper_killed, {.victims = 1})
CAUGHT(RestNotReaped, "append", run_killed, {.kills = 0})
CAUGHT(HeadLeftInJournal, "append", run_overtaken, {})
CAUGHT(GarbageNotReaped, "clear", run_killed, {.kills = 0})
CAUGHT(RetiredNotReaped, "set in the tree", run_killed, {.kills = 0})

}  // namespace
}  // namespace heddle::shm
