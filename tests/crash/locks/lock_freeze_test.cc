// Stops a client at every instruction of every lock operation; others go on for two laps, the net
// of the broker included; one of them takes the lock and keeps it; then the stopped one resumes,
// and what it computed before must fail.
//
// A stopped one that holds the lock is waited for; one that is before its grant or after its
// release blocks nobody. Every instruction with HEDDLE_LONG, else every seventh; both less often in
// the long spins beyond the 200th.
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "proto/shm/futex.h"
#include "tests/crash/locks/lock_stage.h"
#include "tests/support/stepper.h"

namespace heddle::shm {
namespace {

using test::SteppedChild;
using enum LockMode;

constexpr int64_t kMs = 1'000'000;

/// Whether a word grants something to `owner`: then the others have to wait.
bool holds(Lock& lock, uint16_t owner) {
  LockStanding standing[64];
  const size_t n = lock.standing(standing, 64);
  for (size_t i = 0; i < n && i < 64; ++i) {
    if (owner_in(standing[i].holder) == owner && !standing[i].waits) return true;
  }
  return false;
}

bool exclusive_kind(LockKind kind) {
  return kind == LockKind::kMutex || kind == LockKind::kRlock || kind == LockKind::kRw;
}

LockOutcome take(Lock& lock, LockActor& a, int64_t deadline_ns, Grant* grant) {
  return lock.kind() == LockKind::kRw ? lock.acquire_rw(a, kExclusive, deadline_ns, grant)
                                      : lock.acquire(a, deadline_ns, grant);
}
void give(Lock& lock, LockActor& a) {
  if (lock.kind() == LockKind::kRw)
    lock.release_rw(a, kExclusive);
  else
    lock.release(a);
}

class LockFreeze : public ::testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    const char* why;
    if (!test::can_step(&why)) {
      if (std::getenv("CI") != nullptr) FAIL() << why;
      GTEST_SKIP() << why;
    }
  }

  /// Two others, two laps each, while the victim is stopped; a complaint or nothing.
  std::string laps(LockStage& stage, LockActor& a, LockActor& b) {
    Lock& lock = stage.lock();
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
      if (lock.kind() == LockKind::kRw) {
        if (lock.acquire_rw(me, kShared, monotonic_ns() + 2'000 * kMs, &grant) !=
            LockOutcome::kOk) {
          return "a reader is blocked by the stopped one";
        }
        lock.release_rw(me, kShared);
      }
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
};

TEST_P(LockFreeze, BlocksNobody) {
  const LockScenario scenario = lock_scenarios()[GetParam()];
  LockStage stage(scenario);
  Lock& lock = stage.lock();
  const size_t n = scenario.sleepers.size();
  const uint64_t every = std::getenv("HEDDLE_LONG") != nullptr ? 1 : 7;
  const auto start = std::chrono::steady_clock::now();
  uint64_t freezes = 0, waited_for = 0;
  bool ended = false;
  for (uint64_t k = (GetParam() * 3) % every; !ended; k += every * (1 + k / 200)) {
    ASSERT_LT(k, 20'000u) << "the operation does not end";
    const std::string where = scenario.name + ", stopped after " + std::to_string(k);
    stage.restore();
    stage.start_sleepers();
    LockActor a = stage.world().actor(kNewcomer), b = stage.world().actor(kNewcomer + 1);
    {
      SteppedChild victim([&] { return static_cast<int>(scenario.operate(lock, stage.victim())); });
      for (uint64_t i = 0; i < k && !ended; ++i) ended = !victim.step();
      ++freezes;
      const bool others_hold = holds(lock, kOther);
      const bool victim_holds = holds(lock, kVictim);
      waited_for += victim_holds;
      size_t due = victim_holds ? 0 : n;
      if (scenario.due) due = scenario.due(lock);
      ASSERT_TRUE(sleepers_come_back(stage, due))
          << where << ": " << stage.sleepers_back() << " of " << due << " sleepers are back";
      const bool free = !victim_holds && !others_hold;
      if (free) {
        ASSERT_EQ(laps(stage, a, b), "") << where;
      } else if (victim_holds && exclusive_kind(lock.kind())) {
        Grant grant;
        ASSERT_EQ(take(lock, a, kLockTry, &grant), LockOutcome::kTimedOut) << where;
      }
      Grant kept;
      const bool keeps =
          free && exclusive_kind(lock.kind()) && take(lock, a, kLockTry, &kept) == LockOutcome::kOk;
      if (!ended) {
        const int status = victim.finish(10'000);
        const bool waits_for_others = scenario.options.kind == LockKind::kBarrier;
        if (!waits_for_others) {
          ASSERT_NE(status, -1) << where << ": does not end when it resumes";
        }
      }
      if (keeps) {
        ASSERT_FALSE(holds(lock, kVictim)) << where << ": a stale CAS went through";
        ASSERT_EQ(lock.token(), kept.token) << where;
        give(lock, a);
      }
    }
    stage.reap();
    if (scenario.settle) scenario.settle(lock, stage.other());
    ASSERT_TRUE(sleepers_come_back(stage, n)) << where;
    stage.stop_sleepers();
    // The victim may have ended with the lock in hand, or not: who is told is not counted here.
    LockActor c = stage.world().actor(kNewcomer + 2), d = stage.world().actor(kNewcomer + 3);
    int told = 0;
    ASSERT_EQ(use_fully(lock, c, d, &told), "") << where;
    ASSERT_LE(told, 1) << where;
  }
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  std::printf("freeze %-40s %6llu freezes, %5llu while holding %6.2f s\n", scenario.name.c_str(),
              static_cast<unsigned long long>(freezes), static_cast<unsigned long long>(waited_for),
              time.count());
}

INSTANTIATE_TEST_SUITE_P(Locks, LockFreeze, ::testing::Range<size_t>(0, lock_scenarios().size()),
                         [](const auto& p) {
                           std::string name = lock_scenarios()[p.param].name;
                           for (char& c : name) {
                             if (!isalnum(static_cast<unsigned char>(c))) c = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace heddle::shm
