// Running a model: for so many random schedules, or over all schedules with so many preemptions.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "tests/crash/model/model_atomic.h"
#include "tests/support/watchdog.h"

namespace heddle::model {

struct Run {
  bool passed;
  std::string report;  // how it failed, with the history of the failing schedule
};

inline bool long_run() { return std::getenv("HEDDLE_LONG") != nullptr; }

template <class Model>
Run run_model(rl::test_params params, Mutant which) {
  rl::ostringstream report, progress;  // these keep clear of the checker's own operator new
  mutant = which;
  const test::Watchdog watchdog("model", long_run() ? 1800 : 30);
  params.output_stream = &report;
  params.progress_stream = &progress;
  params.execution_depth_limit = 100'000;
  const bool passed = rl::simulate<Model>(params);
  mutant = Mutant::kNone;
  std::cout << "  " << (passed ? "passed " : "failed after ") << params.stop_iteration
            << " schedules\n";
  return {passed, report.str().c_str()};
}

template <class Model>
Run run_random(unsigned iterations, Mutant which = Mutant::kNone) {
  rl::test_params params;
  params.search_type = rl::random_scheduler_type;
  params.iteration_count = long_run() ? iterations * 50 : iterations;
  return run_model<Model>(params, which);
}

/// All schedules with at most `preemptions` preemptions.
template <class Model>
Run run_bounded(unsigned preemptions) {
  draws = false;
  rl::test_params params;
  params.search_type = rl::fair_context_bound_scheduler_type;
  params.context_bound = preemptions + (long_run() ? 1 : 0);
  Run run = run_model<Model>(params, Mutant::kNone);
  draws = true;
  return run;
}

/// Why it failed, and the last steps before that.
inline std::string summary_of(const Run& run) {
  constexpr size_t kStepsBytes = 12'000;
  const size_t end = run.report.find("\nthread 0:");
  const size_t from = end == std::string::npos || end < kStepsBytes ? 0 : end - kStepsBytes;
  return run.report.substr(0, 300) + "\n...\n" + run.report.substr(from, kStepsBytes);
}

}  // namespace heddle::model

/// The model holds over all schedules tried.
#define EXPECT_HOLDS(run_expression)                            \
  do {                                                          \
    const heddle::model::Run run_ = run_expression;             \
    EXPECT_TRUE(run_.passed) << heddle::model::summary_of(run_);   \
  } while (false)

/// The model notices the mutant.
#define EXPECT_CAUGHT(run_expression) EXPECT_FALSE((run_expression).passed)
