#include "tests/crash/locks/lock_runs.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "proto/shm/futex.h"
#include "tests/crash/locks/lock_stage.h"
#include "tests/support/states.h"

namespace heddle::shm {
namespace {

using test::states_of;
using test::SteppedChild;
using enum LockMode;

constexpr int64_t kMs = 1'000'000;
constexpr uint64_t kStepsMax = 20'000;

bool exclusive_kind(LockKind kind) {
  return kind == LockKind::kMutex || kind == LockKind::kRlock || kind == LockKind::kRw;
}

std::string complaint(const LockScenario& s, const char* where, uint64_t at, const std::string& w) {
  return s.name + ", " + where + " " + std::to_string(at) + ": " + w;
}

/// Whether a word grants something to `owner`: then the others have to wait.
bool holds(Lock& lock, uint16_t owner) {
  LockStanding standing[64];
  const size_t n = lock.standing(standing, 64);
  for (size_t i = 0; i < n && i < 64; ++i) {
    if (owner_in(standing[i].holder) == owner && !standing[i].waits) return true;
  }
  return false;
}

LockOutcome take(Lock& lock, LockActor& a, int64_t deadline_ns, Grant* grant) {
  return lock.kind() == LockKind::kRw ? lock.acquire_rw(a, kExclusive, deadline_ns, grant)
                                      : lock.acquire(a, deadline_ns, grant);
}
void give(Lock& lock, LockActor& a) {
  (void)(lock.kind() == LockKind::kRw ? lock.release_rw(a, kExclusive) : lock.release(a));
}

/// Two others, two laps each, while the victim is stopped.
std::string laps(Lock& lock, LockActor& a, LockActor& b) {
  if (!exclusive_kind(lock.kind())) return "";
  uint64_t last = 0;
  for (int i = 0; i < 4; ++i) {
    LockActor& me = i % 2 == 0 ? a : b;
    Grant grant;
    if (take(lock, me, monotonic_ns() + 2'000 * kMs, &grant) != LockOutcome::kOk) {
      return "lap " + std::to_string(i) + " is blocked by the stopped one";
    }
    if (grant.token <= last) return "a token does not rise";
    last = grant.token;
    give(lock, me);
    if (lock.kind() != LockKind::kRw) continue;
    if (lock.acquire_rw(me, kShared, monotonic_ns() + 2'000 * kMs, &grant) != LockOutcome::kOk) {
      return "a reader is blocked by the stopped one";
    }
    lock.release_rw(me, kShared);
  }
  return "";
}

/// The net runs every 50 ms, as in the broker.
bool sleepers_come_back(LockStage& stage, size_t due) {
  for (int scan = 0; scan < 20; ++scan) {
    if (stage.wait_for_sleepers(due, 50)) return true;
    stage.world().segment().rescan();
  }
  return false;
}

}  // namespace

bool long_run() { return std::getenv("HEDDLE_LONG") != nullptr; }
uint64_t stride() { return long_run() ? 1 : stride_wanted; }

bool can_run() {
  const char* why;
  if (test::can_step(&why)) return true;
  [&] {
    if (std::getenv("CI") != nullptr) FAIL() << why;
    GTEST_SKIP() << why;
  }();
  return false;
}

void report(const char* what, const std::string& name, const Figures& f, int64_t start_ns) {
  using Llu = unsigned long long;
  std::printf("shown: %s; %s; %llu points, %llu kills, %llu freezes, %llu states, %.2f s\n", what,
              name.c_str(), Llu{f.points}, Llu{f.kills}, Llu{f.freezes}, Llu{f.states},
              static_cast<double>(monotonic_ns() - start_ns) / 1e9);
}

std::string run_states(const LockScenario& scenario, Figures* f) {
  LockScenario alone = scenario;
  alone.sleepers.clear();
  LockStage stage(alone);
  const auto body = [&] { return static_cast<int>(alone.operate(stage.lock(), stage.victim())); };
  const std::vector<LockStage::Image> images = states_of(stage, body, &f->points, &f->states);
  for (size_t i = 0; i < images.size(); ++i) {
    stage.restore(images[i]);
    const bool owned = stage.victim_owns();
    stage.reap();
    const std::string wrong = stage.check(owned, false);
    if (!wrong.empty()) return complaint(scenario, "state", i, wrong);
  }
  const size_t most = long_run() ? images.size() : 6;
  const size_t every = images.size() > most ? images.size() / most : 1;
  for (size_t i = 0; i < images.size(); i += every) {
    stage.restore(images[i]);
    const bool owned = stage.victim_owns();
    const auto reap = [&] {
      stage.reap();
      return 0;
    };
    const std::vector<LockStage::Image> halves = states_of(stage, reap, &f->points, &f->states);
    for (size_t half = 0; half < halves.size(); ++half) {
      stage.restore(halves[half]);
      stage.reap();
      const std::string wrong = stage.check(owned, false);
      if (wrong.empty()) continue;
      return complaint(scenario, "victim state", i, "reaper state " + std::to_string(half) + wrong);
    }
  }
  return "";
}

std::string run_sleepers(const LockScenario& scenario, uint64_t first, Figures* f) {
  LockStage stage(scenario);
  const size_t n = scenario.sleepers.size();
  bool ended = false;
  for (uint64_t k = first % stride(); !ended; k += stride() * (1 + k / 100)) {
    if (k > kStepsMax) return complaint(scenario, "step", k, "the operation does not end");
    stage.restore();
    stage.start_sleepers();
    {
      SteppedChild victim(
          [&] { return static_cast<int>(scenario.operate(stage.lock(), stage.victim())); });
      for (uint64_t i = 0; i < k && !ended; ++i) ended = !victim.step();
      victim.kill();
    }
    ++f->kills;
    f->points += k;
    const size_t due = scenario.due ? scenario.due(stage.lock()) : n;
    const bool owned = stage.victim_owns();
    stage.reap();
    if (!stage.wait_for_sleepers(due, 2'000)) {
      return complaint(scenario, "killed after", k, "a sleeper that is owed a wake sleeps on");
    }
    if (scenario.settle) scenario.settle(stage.lock(), stage.other());
    // Condition waiters that were not notified are woken by the settling; so are all others.
    if (!stage.wait_for_sleepers(n, 2'000)) {
      return complaint(scenario, "killed after", k, "a sleeper sleeps on after the settling");
    }
    stage.stop_sleepers();
    const std::string wrong = stage.check(owned, true);
    if (!wrong.empty()) return complaint(scenario, "killed after", k, wrong);
  }
  return "";
}

std::string run_pair(const LockScenario& first, const LockScenario& second, Figures* f) {
  LockScenario alone = first;
  alone.sleepers.clear();
  LockStage stage(alone);
  LockActor& other_victim = stage.second_victim();
  const auto images = states_of(
      stage, [&] { return static_cast<int>(alone.operate(stage.lock(), stage.victim())); },
      &f->points, &f->states);
  const size_t most = long_run() ? images.size() : 4;
  const size_t every = images.size() > most ? images.size() / most : 1;
  for (size_t i = 0; i < images.size(); i += every) {
    stage.restore(images[i]);
    // The second one meets what the first one left; it must not wait long for one that is stopped.
    const auto both = states_of(
        stage, [&] { return static_cast<int>(second.operate(stage.lock(), other_victim)); },
        &f->points, &f->states);
    for (size_t j = 0; j < both.size(); ++j) {
      stage.restore(both[j]);
      const bool owned = stage.victim_owns();
      stage.reap_both();
      const std::string wrong = stage.check(owned, false);
      if (wrong.empty()) continue;
      return complaint(first, "state", i,
                       second.name + ", state " + std::to_string(j) + ": " + wrong);
    }
  }
  return "";
}

namespace {

/// Resumes a victim that was stopped while somebody else took the lock, an instruction at a time at
/// first: nothing may be granted to it meanwhile, not for a moment.
std::string resume_against(LockStage& stage, SteppedChild& victim, const Grant& kept) {
  for (int i = 0; i < 300 && victim.step(); ++i) {
    if (holds(stage.lock(), kVictim)) return "is granted what another one holds";
  }
  return stage.lock().token() == kept.token ? "" : "the token changed under its holder";
}

std::string freeze_once(LockStage& stage, const LockScenario& scenario, uint64_t k, bool* ended) {
  Lock& lock = stage.lock();
  LockActor a = stage.world().actor(kNewcomer), b = stage.world().actor(kNewcomer + 1);
  SteppedChild victim([&] { return static_cast<int>(scenario.operate(lock, stage.victim())); });
  for (uint64_t i = 0; i < k && !*ended; ++i) *ended = !victim.step();
  const bool victim_holds = holds(lock, kVictim), free = !victim_holds && !holds(lock, kOther);
  size_t due = victim_holds ? 0 : scenario.sleepers.size();
  if (scenario.due) due = scenario.due(lock);
  if (!sleepers_come_back(stage, due)) return "sleepers do not come back";
  Grant kept;
  if (free) {
    const std::string wrong = laps(lock, a, b);
    if (!wrong.empty()) return wrong;
  } else if (victim_holds && exclusive_kind(lock.kind()) &&
             take(lock, a, kLockTry, &kept) != LockOutcome::kTimedOut) {
    return "what the stopped one holds is granted again";
  }
  const bool keeps =
      free && exclusive_kind(lock.kind()) && take(lock, a, kLockTry, &kept) == LockOutcome::kOk;
  if (keeps && !*ended) {
    const std::string wrong = resume_against(stage, victim, kept);
    if (!wrong.empty()) return wrong;
  }
  if (!*ended && victim.finish(10'000) == -1 && scenario.options.kind != LockKind::kBarrier &&
      !keeps) {
    return "does not end when it resumes";
  }
  if (!keeps) return "";
  if (holds(lock, kVictim)) return "a stale CAS went through";
  if (lock.token() != kept.token) return "the token changed under its holder";
  give(lock, a);
  return "";
}

}  // namespace

std::string run_freeze(const LockScenario& scenario, uint64_t first, Figures* f) {
  LockStage stage(scenario);
  bool ended = false;
  for (uint64_t k = first % stride(); !ended; k += stride() * (1 + k / 100)) {
    if (k > kStepsMax) return complaint(scenario, "step", k, "the operation does not end");
    stage.restore();
    stage.start_sleepers();
    ++f->freezes;
    f->points += k;
    std::string wrong = freeze_once(stage, scenario, k, &ended);
    if (!wrong.empty()) return complaint(scenario, "stopped after", k, wrong);
    stage.reap();
    if (scenario.settle) scenario.settle(stage.lock(), stage.other());
    if (!sleepers_come_back(stage, scenario.sleepers.size())) {
      return complaint(scenario, "stopped after", k, "sleepers do not come back after all");
    }
    stage.stop_sleepers();
    // The victim may have ended with the lock in hand, or not: who is told is not counted here.
    LockActor c = stage.world().actor(kNewcomer + 2), d = stage.world().actor(kNewcomer + 3);
    int told = 0;
    wrong = use_fully(stage.lock(), c, d, &told);
    if (told > 1) wrong += "told of a death twice";
    if (!wrong.empty()) return complaint(scenario, "stopped after", k, wrong);
  }
  return "";
}

namespace {

/// The number of instructions after which the operation, alone, first enters the kernel.
uint64_t first_syscall(LockStage& stage, const LockScenario& scenario) {
  stage.restore();
  SteppedChild alone(
      [&] { return static_cast<int>(scenario.operate(stage.lock(), stage.victim())); });
  uint64_t steps = 0;
  while (alone.step()) {
    ++steps;
    if (alone.at_syscall()) return steps;
  }
  return steps;
}

}  // namespace

std::string run_late(const LockScenario& scenario, uint64_t first, Figures* f) {
  LockStage stage(scenario);
  const std::atomic<uint64_t>& waits = stage.world().journal(kVictim)->waiting_on;
  bool ended = false;
  const uint64_t dense_from =
      scenario.dense_after_wake ? first_syscall(stage, scenario) : kStepsMax;
  const auto after = [&](uint64_t k) {
    const uint64_t next = k + stride() * (1 + k / 100);
    return k < dense_from ? std::min(next, dense_from) : k + 1;
  };
  for (uint64_t k = first % stride(); !ended; k = after(k)) {
    if (k > kStepsMax) return complaint(scenario, "step", k, "the operation does not end");
    stage.restore();
    ++f->freezes;
    f->points += k;
    SteppedChild victim(
        [&] { return static_cast<int>(scenario.operate(stage.lock(), stage.victim())); });
    bool over = false;
    for (uint64_t i = 0; i < k && !ended && !over; ++i) {
      // A party sleeps until those come that are not there yet.
      over = scenario.options.kind == LockKind::kBarrier && waits.load() != 0;
      ended = !over && !victim.step();
    }
    stage.start_sleepers();
    if (!ended && victim.finish(5'000) == -1) {
      return complaint(scenario, "stopped after", k, "does not end when it resumes");
    }
    if (scenario.late_settle) scenario.late_settle(stage.lock(), stage.victim());
    if (scenario.settle) scenario.settle(stage.lock(), stage.other());
    if (!stage.wait_for_sleepers(scenario.sleepers.size(), 2'000)) {
      return complaint(scenario, "stopped after", k, "one that came meanwhile sleeps on");
    }
    stage.stop_sleepers();
    ended = ended || over;
  }
  return "";
}

std::string run_deleted(const LockScenario& scenario, uint64_t first, Figures* f) {
  LockScenario alone = scenario;
  alone.sleepers.clear();
  LockStage stage(alone);
  const std::atomic<uint64_t>& waits = stage.world().journal(kVictim)->waiting_on;
  const LockOptions next[] = {{.kind = LockKind::kSemaphore, .count = 3},
                              {.kind = LockKind::kRw},
                              {.kind = LockKind::kBarrier, .count = 3},
                              {.kind = LockKind::kEvent},
                              {.kind = LockKind::kCondition},
                              {.kind = LockKind::kCounting, .count = 2}};
  bool ended = false;
  uint64_t turn = first;
  for (uint64_t k = first % stride(); !ended; k += stride() * (2 + k / 50), ++turn) {
    if (k > kStepsMax) return complaint(alone, "step", k, "the operation does not end");
    stage.restore();
    ++f->freezes;
    f->points += k;
    SteppedChild victim(
        [&] { return static_cast<int>(alone.operate(stage.lock(), stage.victim())); });
    bool over = false;
    for (uint64_t i = 0; i < k && !ended && !over; ++i) {
      over = alone.options.kind == LockKind::kBarrier && waits.load() != 0;
      ended = !over && !victim.step();
    }
    const uint32_t index = stage.lock().index();
    stage.world().segment().destroy(index);
    Lock after = stage.world().make(next[turn % 6]);
    const std::string where = "deleted after";
    if (after.index() != index) return complaint(alone, where.c_str(), k, "another line is used");
    const uint64_t last = after.token();
    if (!ended && victim.finish(5'000) == -1) {
      return complaint(alone, where.c_str(), k, "does not end when its lock is deleted");
    }
    if (const char* found = stage.world().names(kVictim)) {
      return complaint(alone, where.c_str(), k, std::string("in the next lock, ") + found);
    }
    LockActor a = stage.world().actor(kNewcomer), b = stage.world().actor(kNewcomer + 1);
    int told = 0;
    std::string wrong;
    if (after.kind() == LockKind::kEvent && after.is_set()) wrong = "the next event is set";
    if (after.kind() == LockKind::kCounting && after.permits_free() != 2) wrong = "counts wrong";
    if (after.token() < last) wrong = "the token goes back";
    wrong += use_fully(after, a, b, &told);
    if (!wrong.empty()) return complaint(alone, where.c_str(), k, wrong);
    ended = ended || over;
  }
  return "";
}

}  // namespace heddle::shm
