// The test of the dict tests: the dict sources with one deliberate defect at a time
// (dict_mutant.h), each of which must be noticed by the run that is there for it.
#include <cstdio>
#include <cstdlib>

#include "proto/shm/dict_mutant.h"
#include "proto/shm/futex.h"
#include "tests/crash/dict/dict_stage.h"
#include "tests/support/stepper.h"
#include "tests/support/watchdog.h"

namespace heddle::shm {
namespace {

enum Way { kKilled, kReaperKilled, kFrozen };

DictScenario named(const char* name) {
  for (DictScenario& s : dict_scenarios()) {
    if (std::string(s.name) == name) return s;
  }
  ADD_FAILURE() << "no scenario " << name;
  return {};
}

void expect_caught(DictMutant mutant, const char* name, const char* scenario, Way run,
                   const DictSample& most) {
  const char* why;
  if (!test::can_step(&why)) {
    if (std::getenv("CI") != nullptr) FAIL() << why;
    GTEST_SKIP() << why;
  }
  test::Watchdog dog("dict mutant", 120);
  const int64_t start_ns = monotonic_ns();
  DictFigures f;
  const DictScenario s = named(scenario);
  dict_mutant = mutant;
  const std::string wrong = run == kKilled         ? run_killed(s, most, &f)
                            : run == kReaperKilled ? run_reaper_killed(s, most, &f)
                                                   : run_frozen(s, most, &f);
  dict_mutant = DictMutant::kNone;
  std::printf("shown: dict, mutant %s; %.2f s; %s\n", name,
              static_cast<double>(monotonic_ns() - start_ns) / 1e9, wrong.substr(0, 150).c_str());
  EXPECT_NE(wrong, "") << name << " is not noticed";
}

#define CAUGHT(mutant, scenario, ...) \
  TEST(DictMutant, mutant) { expect_caught(DictMutant::k##mutant, #mutant, scenario, __VA_ARGS__); }

CAUGHT(AssignWithoutLook, "get that helps", kFrozen, {.before_history = 240})
CAUGHT(PreviousNotChecked, "update", kFrozen, {.stops = 12})
CAUGHT(HistoryNotReaped, "insert", kKilled, {.kills = 0})
CAUGHT(MagazineNotReaped, "insert, cold", kKilled, {.states = 8, .kills = 0})
CAUGHT(AccountsNotSettled, "insert", kKilled, {.kills = 0})
CAUGHT(ExtentsNotReturned, "insert of a large value", kKilled, {.states = 16, .kills = 0})
CAUGHT(ActBeforeDecision, "update", kReaperKilled, {.victims = 8, .victims_from = 30})
CAUGHT(StampBeforeJournal, "update", kKilled, {.kills = 0})
CAUGHT(NotMine, "update", kFrozen, {})
CAUGHT(SplitNotMarked, "insert into an unfinished split", kKilled, {.kills = 0})
CAUGHT(ReadWithoutSecondLook, "get", kFrozen, {.stops = 80})
CAUGHT(ReplaceWithoutHelp, "update over a pending one", kKilled, {.kills = 0})
CAUGHT(ListNotSettled, "a transaction leaves the history", kKilled, {.states = 4, .kills = 0})
CAUGHT(TransferNotSettled, "insert, cold", kKilled, {.kills = 0})
CAUGHT(PendingFreedFirst, "transaction", kKilled, {.states = 4, .kills = 0})
CAUGHT(OpenNotUndone, "transaction", kFrozen, {.stops = 40})

}  // namespace
}  // namespace heddle::shm
