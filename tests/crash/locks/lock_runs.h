// The step tests of the locks as functions: each returns a complaint or nothing, so that the test
// of the tests can ask whether a defect is noticed.
#pragma once

#include <string>

#include "tests/crash/locks/lock_scenarios.h"

namespace heddle::shm {

struct Figures {
  uint64_t points = 0;  // instructions after which something was done
  uint64_t kills = 0;
  uint64_t freezes = 0;
  uint64_t states = 0;  // distinct states of the shared memory
};

/// Every how many instructions: 1 with HEDDLE_LONG, else what the test says, or 7.
uint64_t stride();
inline uint64_t stride_wanted = 7;
bool long_run();
/// False, and the running test is skipped (or failed under CI), where ptrace is refused.
bool can_run();
/// One line about a run that took since `start_ns`.
void report(const char* what, const std::string& name, const Figures& f, int64_t start_ns);

// --- kills ---
/// Each distinct state of the victim's operation is reaped and checked; and the reaper is killed in
/// each of its states, and a second one finishes.
std::string run_states(const LockScenario& scenario, Figures* f);
/// A real SIGKILL after an instruction, with sleepers: whoever is owed a wake comes back by one
/// reap.
std::string run_sleepers(const LockScenario& scenario, uint64_t first, Figures* f);
/// Two victims that both stopped at some state, one reap.
std::string run_pair(const LockScenario& first, const LockScenario& second, Figures* f);

// --- freezes ---
/// Others go on for two laps while the victim is stopped, the net included; one of them takes the
/// lock and keeps it; then the victim resumes, and what it computed before must fail.
std::string run_freeze(const LockScenario& scenario, uint64_t first, Figures* f);
/// The sleepers come while the victim is stopped, and no net runs: its own wakes must do.
std::string run_late(const LockScenario& scenario, uint64_t first, Figures* f);
/// The lock is deleted and another made in its line while the victim is stopped.
std::string run_deleted(const LockScenario& scenario, uint64_t first, Figures* f);

// --- single stories (lock_stories.cc) ---
std::string story_withdrawn_claim(Figures* f);
std::string story_notified_waiter(Figures* f);
std::string story_half_wraps(Figures* f);
std::string story_hand_off(Figures* f);
std::string story_frozen_sleeper(Figures* f);
std::string story_event_pair(Figures* f);
std::string story_reissued_number(Figures* f);
std::string story_token_after_delete(Figures* f);
std::string story_member_dies(Figures* f);
std::string story_broker_dies(Figures* f);
std::string story_woken_then_stopped(Figures* f);

}  // namespace heddle::shm
