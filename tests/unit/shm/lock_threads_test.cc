// Six threads over locks of every kind at once, each lock guarding plain data of its own: whoever
// is let in beside somebody else shows in the sums, and to the thread sanitizer.
#include <array>
#include <cstdlib>
#include <thread>
#include <vector>

#include "proto/shm/futex.h"
#include "tests/unit/shm/lock_fixture.h"

namespace heddle::shm {
namespace {

using enum LockMode;

constexpr uint16_t kThreads = 6;

struct Guarded {
  uint64_t entries = 0;
  uint64_t last_token = 0;

  void enter(const Grant& grant) {
    EXPECT_GT(grant.token, last_token);
    last_token = grant.token;
    ++entries;
  }
};

class LockThreads : public ::testing::Test {
 protected:
  /// body(actor, round) by every thread, until its time is over.
  template <class Body>
  uint64_t run(Body body) {
    const char* longer = std::getenv("HEDDLE_LONG");
    const int64_t end = monotonic_ns() + (longer != nullptr ? 5'000'000'000 : 400'000'000);
    std::vector<std::thread> threads;
    std::atomic<uint64_t> rounds{0};
    for (uint16_t i = 1; i <= kThreads; ++i) {
      threads.emplace_back([&, i] {
        LockActor a = world_.actor(i);
        uint64_t round = 0;
        for (; monotonic_ns() < end; ++round) body(a, round);
        rounds += round;
      });
    }
    for (std::thread& t : threads) t.join();
    return rounds.load();
  }

  LockWorld world_;
};

TEST_F(LockThreads, ExclusiveOnes) {
  Lock locks[] = {world_.make(LockKind::kMutex, 0, (uint64_t{1} << 32) - 500),
                  world_.make(LockKind::kRlock, 0, (uint64_t{1} << 31) - 500),
                  world_.make({.kind = LockKind::kMutex, .fair = Fairness::kStrict}),
                  world_.make(LockKind::kCondition)};
  Guarded guarded[4];
  uint64_t counts[kThreads + 1][4] = {};
  run([&](LockActor& a, uint64_t round) {
    const size_t i = (round + a.owner) % 4;
    Grant grant, again;
    ASSERT_EQ(locks[i].acquire(a, kLockForever, &grant), LockOutcome::kOk);
    guarded[i].enter(grant);
    const bool twice = i % 2 == 1 && round % 3 == 0;
    if (twice) {
      ASSERT_EQ(locks[i].acquire(a, kLockTry, &again), LockOutcome::kOk);
    }
    if (twice) {
      ASSERT_EQ(locks[i].release(a), LockOutcome::kOk);
    }
    ++counts[a.owner][i];
    ASSERT_EQ(locks[i].release(a), LockOutcome::kOk);
  });
  for (size_t i = 0; i < 4; ++i) {
    uint64_t sum = 0;
    for (const auto& of_thread : counts) sum += of_thread[i];
    EXPECT_EQ(guarded[i].entries, sum);
    EXPECT_EQ(locks[i].token(), guarded[i].last_token);
  }
}

TEST_F(LockThreads, ReadersAndWriters) {
  Lock lock = world_.make(LockKind::kRw, 0, (uint64_t{1} << 32) - 500);
  Guarded guarded;
  std::array<uint64_t, 2> twin = {};
  run([&](LockActor& a, uint64_t round) {
    Grant grant;
    if ((round + a.owner) % 4 != 0) {
      ASSERT_EQ(lock.acquire_rw(a, kShared, kLockForever, &grant), LockOutcome::kOk);
      EXPECT_EQ(twin[0], twin[1]);
      ASSERT_EQ(lock.release_rw(a, kShared), LockOutcome::kOk);
      return;
    }
    const bool upgrades = round % 3 == 0;
    ASSERT_EQ(lock.acquire_rw(a, upgrades ? LockMode::kUpdate : kExclusive, kLockForever, &grant),
              LockOutcome::kOk);
    if (upgrades) {
      EXPECT_EQ(twin[0], twin[1]);
      ASSERT_EQ(lock.convert(a, LockMode::kUpdate, kExclusive, kLockForever, &grant),
                LockOutcome::kOk);
    }
    guarded.enter(grant);
    ++twin[0];
    ++twin[1];
    if (round % 5 != 0) {
      ASSERT_EQ(lock.release_rw(a, kExclusive), LockOutcome::kOk);
      return;
    }
    ASSERT_EQ(lock.convert(a, kExclusive, kShared, kLockTry, &grant), LockOutcome::kOk);
    EXPECT_EQ(twin[0], twin[1]);
    ASSERT_EQ(lock.release_rw(a, kShared), LockOutcome::kOk);
  });
  EXPECT_EQ(twin[0], guarded.entries);
}

TEST_F(LockThreads, Permits) {
  Lock owned = world_.make(LockKind::kSemaphore, 3);
  Lock counted = world_.make({.kind = LockKind::kCounting, .count = 3, .count_max = 3});
  std::atomic<int> inside[2] = {};
  run([&](LockActor& a, uint64_t round) {
    const size_t i = round % 2;
    Lock& lock = i == 0 ? owned : counted;
    const uint32_t n = round % 5 == 0 ? 2 : 1;
    Grant grant;
    ASSERT_EQ(lock.acquire_permits(a, n, kLockForever, &grant), LockOutcome::kOk);
    ASSERT_LE(inside[i].fetch_add(static_cast<int>(n)) + static_cast<int>(n), 3);
    inside[i].fetch_sub(static_cast<int>(n));
    ASSERT_EQ(lock.release_permits(a, n), LockOutcome::kOk);
  });
  EXPECT_EQ(owned.permits_free(), 3u);
  EXPECT_EQ(counted.permits_free(), 3u);
}

/// A channel of one place: nothing is lost, nobody sleeps on.
TEST_F(LockThreads, ConditionsHandOver) {
  Lock condition = world_.make(LockKind::kCondition);
  bool full = false;
  uint64_t put = 0, got = 0;
  run([&](LockActor& a, uint64_t) {
    const bool produces = a.owner % 2 == 0;
    Grant grant;
    ASSERT_EQ(condition.acquire(a, kLockForever, &grant), LockOutcome::kOk);
    const int64_t until = monotonic_ns() + 2'000'000;
    while (full == produces && monotonic_ns() < until) {
      const LockOutcome outcome = condition.wait(a, condition, until);
      ASSERT_TRUE(outcome == LockOutcome::kOk || outcome == LockOutcome::kTimedOut);
    }
    if (full != produces) {
      full = produces;
      ++(produces ? put : got);
    }
    condition.notify_all(a);
    ASSERT_EQ(condition.release(a), LockOutcome::kOk);
  });
  EXPECT_EQ(put, got + full);
}

TEST_F(LockThreads, EventsAndBarriers) {
  Lock barrier = world_.make(LockKind::kBarrier, kThreads);
  Lock event = world_.make(LockKind::kEvent);
  uint64_t phase = 0, actions = 0;
  std::vector<std::thread> threads;
  for (uint16_t i = 1; i <= kThreads; ++i) {
    threads.emplace_back([&, i] {
      LockActor a = world_.actor(i);
      for (uint64_t round = 1; round <= 300; ++round) {
        uint32_t index;
        const bool brings = (i + round) % 3 == 0;
        LockOutcome outcome = barrier.arrive(a, brings, kLockForever, &index);
        if (outcome == LockOutcome::kLead) {
          ++phase;
          ++actions;
          outcome = barrier.finish_action(a);
        }
        ASSERT_EQ(outcome, LockOutcome::kOk);
        EXPECT_EQ(phase, round);
        // Nobody writes the phase again before everybody has read it.
        ASSERT_EQ(barrier.arrive(a, false, kLockForever, &index), LockOutcome::kOk);
        if (i == 1) event.set_event(a);
        ASSERT_EQ(event.wait_event(a, kLockForever), LockOutcome::kOk);
        ASSERT_EQ(barrier.arrive(a, false, kLockForever, &index), LockOutcome::kOk);
        if (i == 1) event.clear_event();
        ASSERT_EQ(barrier.arrive(a, false, kLockForever, &index), LockOutcome::kOk);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(actions, 300u);
  EXPECT_EQ(barrier.arrived(), 0u);
}

}  // namespace
}  // namespace heddle::shm
