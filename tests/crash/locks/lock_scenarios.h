// What is done to locks in the step tests: an operation of a victim, the state before it, and those
// who sleep meanwhile.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/unit/shm/lock_fixture.h"

namespace heddle::shm {

inline constexpr uint16_t kVictim = 5, kOther = 6, kSecond = 7, kNewcomer = 20;

/// What a sleeper does: it must come back without any other wake than those that are owed.
using Sleeper = std::function<LockOutcome(Lock&, LockActor&)>;

struct LockScenario {
  std::string name;
  LockOptions options;
  uint64_t token_start = 0;
  /// The state before: made by the victim's and another's hands. Nobody blocks here.
  std::function<void(Lock&, LockActor& victim, LockActor& other)> prepare;
  /// In the victim's process.
  std::function<LockOutcome(Lock&, LockActor&)> operate;
  /// Run as owners 10, 11, ...; all asleep before the victim begins.
  std::vector<Sleeper> sleepers = {};
  /// After the victim's death: what `other` still holds is given back.
  std::function<void(Lock&, LockActor& other)> settle = {};
  /// How many sleepers must come back without that, seen at the victim's death. Empty: all.
  std::function<size_t(Lock&)> due = {};
  /// What the victim still holds when it was only stopped and has ended is given back.
  std::function<void(Lock&, LockActor& victim)> late_settle = {};
  /// The operation takes what it gives back, so that anybody can do it.
  bool enters = false;
  /// Nothing but its own steps decides its way, and it wakes before it is through: late sleepers
  /// come after each instruction from the first system call on.
  bool dense_after_wake = false;
};

std::vector<LockScenario> lock_scenarios();
/// The one of that name.
LockScenario lock_scenario(const std::string& name);
/// A name for a parameter of a test.
std::string scenario_name(const std::string& name);

/// Uses the lock in every way its kind allows; a complaint or nothing. *abandoned: how often an
/// exclusive grant told of a death.
std::string use_fully(Lock& lock, LockActor& a, LockActor& b, int* abandoned);

}  // namespace heddle::shm
