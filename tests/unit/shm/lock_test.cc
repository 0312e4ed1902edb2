#include "tests/unit/shm/lock_fixture.h"

#include <array>
#include <thread>
#include <vector>

#include "proto/shm/futex.h"

namespace heddle::shm {
namespace {

int64_t in_ms(int64_t ms) { return monotonic_ns() + ms * 1'000'000; }

TEST(LockWord, TokensCrossTheHalvesOfTheWord) {
  for (const uint64_t start : {uint64_t{0}, (uint64_t{1} << 31) - 2, (uint64_t{1} << 32) - 2,
                               (uint64_t{3} << 31) - 2, (uint64_t{1} << 40) - 2}) {
    LockWorld world;
    Lock lock = world.make(LockKind::kMutex, 0, start);
    LockActor a = world.actor(1);
    for (uint64_t i = 1; i <= 5; ++i) {
      Grant grant;
      ASSERT_EQ(lock.acquire(a, kLockTry, &grant), LockOutcome::kOk);
      EXPECT_EQ(grant.token, start + i);
      EXPECT_EQ(lock.token(), start + i);
      ASSERT_EQ(lock.release(a), LockOutcome::kOk);
    }
  }
}

TEST(Mutex, ExcludesAndIsReleasedByItsOwnerOnly) {
  LockWorld world;
  Lock lock = world.make(LockKind::kMutex);
  LockActor a = world.actor(1), b = world.actor(2);
  Grant grant;
  ASSERT_EQ(lock.acquire(a, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_EQ(lock.acquire(b, kLockTry, &grant), LockOutcome::kTimedOut);
  EXPECT_EQ(lock.acquire(a, kLockTry, &grant), LockOutcome::kTimedOut);  // not reentrant
  EXPECT_EQ(lock.acquire(b, in_ms(5), &grant), LockOutcome::kTimedOut);
  EXPECT_EQ(lock.release(b), LockOutcome::kNotHeld);
  EXPECT_EQ(lock.release(b, a.holder()), LockOutcome::kOk);  // for the one who holds it
  EXPECT_EQ(lock.release(a), LockOutcome::kNotHeld);
  EXPECT_EQ(lock.acquire(b, kLockTry, &grant), LockOutcome::kOk);
}

TEST(Rlock, IsEnteredAgainByItsThreadAlone) {
  LockWorld world;
  Lock lock = world.make(LockKind::kRlock);
  LockActor a = world.actor(1), other_thread = world.actor(1, 2);
  Grant first, again;
  ASSERT_EQ(lock.acquire(a, kLockTry, &first), LockOutcome::kOk);
  ASSERT_EQ(lock.acquire(a, kLockTry, &again), LockOutcome::kOk);
  EXPECT_EQ(first.token, again.token);
  EXPECT_EQ(lock.acquire(other_thread, kLockTry, &again), LockOutcome::kTimedOut);
  EXPECT_EQ(lock.release(other_thread), LockOutcome::kNotHeld);
  EXPECT_EQ(lock.release(a), LockOutcome::kOk);
  EXPECT_EQ(lock.acquire(other_thread, kLockTry, &again), LockOutcome::kTimedOut);
  EXPECT_EQ(lock.release(a), LockOutcome::kOk);
  EXPECT_EQ(lock.acquire(other_thread, kLockTry, &again), LockOutcome::kOk);
}

TEST(Mutex, ADeadOwnerIsToldOnce) {
  LockWorld world;
  Lock lock = world.make(LockKind::kMutex);
  LockActor a = world.actor(5, 7), b = world.actor(2);
  Grant grant;
  ASSERT_EQ(lock.acquire(a, kLockTry, &grant), LockOutcome::kOk);
  const uint64_t token = grant.token;
  world.reap(5);
  world.reap(5);
  ASSERT_EQ(lock.acquire(b, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_TRUE(grant.abandoned);
  EXPECT_EQ(grant.dead_holder, a.holder());
  EXPECT_GT(grant.token, token);
  ASSERT_EQ(lock.release(b), LockOutcome::kOk);
  ASSERT_EQ(lock.acquire(b, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_FALSE(grant.abandoned);
}

TEST(Mutex, DeathPolicies) {
  LockWorld world;
  LockActor a = world.actor(5), b = world.actor(2);
  Grant grant;
  Lock silent = world.make({.kind = LockKind::kMutex, .policy = DeathPolicy::kSilent});
  Lock poison = world.make({.kind = LockKind::kMutex, .policy = DeathPolicy::kPoison});
  ASSERT_EQ(silent.acquire(a, kLockTry, &grant), LockOutcome::kOk);
  ASSERT_EQ(poison.acquire(a, kLockTry, &grant), LockOutcome::kOk);
  world.reap(5);
  ASSERT_EQ(silent.acquire(b, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_FALSE(grant.abandoned);
  EXPECT_EQ(poison.acquire(b, kLockForever, &grant), LockOutcome::kPoisoned);
  EXPECT_TRUE(poison.repair());
  EXPECT_FALSE(poison.repair());
  ASSERT_EQ(poison.acquire(b, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_TRUE(grant.abandoned);
}

TEST(Mutex, ADeletedLockIsGoneAlsoForThoseWhoWait) {
  LockWorld world;
  Lock lock = world.make(LockKind::kMutex);
  LockActor a = world.actor(1);
  Grant grant;
  ASSERT_EQ(lock.acquire(a, kLockTry, &grant), LockOutcome::kOk);
  std::thread waiter([&] {
    LockActor b = world.actor(2);
    Grant never;
    EXPECT_EQ(lock.acquire(b, kLockForever, &never), LockOutcome::kGone);
  });
  while (!lock.has_sleepers()) std::this_thread::yield();
  const uint64_t last = world.segment().destroy(lock.index());
  waiter.join();
  EXPECT_EQ(lock.release(a), LockOutcome::kGone);
  Lock next = world.make(LockKind::kMutex, 0, last);
  EXPECT_EQ(next.index(), lock.index());
  EXPECT_EQ(lock.acquire(a, kLockTry, &grant), LockOutcome::kGone);
  ASSERT_EQ(next.acquire(a, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_GT(grant.token, last);
}

TEST(Rw, ReadersShareWritersDoNot) {
  LockWorld world;
  Lock lock = world.make(LockKind::kRw);
  LockActor a = world.actor(1), b = world.actor(2);
  Grant grant;
  ASSERT_EQ(lock.acquire_rw(a, LockMode::kShared, kLockTry, &grant), LockOutcome::kOk);
  ASSERT_EQ(lock.acquire_rw(b, LockMode::kShared, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_EQ(lock.acquire_rw(b, LockMode::kExclusive, kLockTry, &grant), LockOutcome::kTimedOut);
  ASSERT_EQ(lock.acquire_rw(b, LockMode::kShared, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_EQ(lock.release_rw(a, LockMode::kExclusive), LockOutcome::kNotHeld);
  EXPECT_EQ(lock.release_rw(a, LockMode::kShared), LockOutcome::kOk);
  EXPECT_EQ(lock.release_rw(a, LockMode::kShared), LockOutcome::kNotHeld);
  EXPECT_EQ(lock.release_rw(b, LockMode::kShared), LockOutcome::kOk);
  EXPECT_EQ(lock.release_rw(b, LockMode::kShared), LockOutcome::kOk);
  ASSERT_EQ(lock.acquire_rw(a, LockMode::kExclusive, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_EQ(lock.acquire_rw(b, LockMode::kShared, kLockTry, &grant), LockOutcome::kTimedOut);
  EXPECT_EQ(lock.release_rw(a, LockMode::kExclusive), LockOutcome::kOk);
}

TEST(Rw, MoreReadersThanTheFirstBlockHolds) {
  LockWorld world;
  Lock lock = world.make(LockKind::kRw);
  Grant grant;
  for (uint16_t i = 1; i <= 40; ++i) {
    LockActor a = world.actor(i);
    ASSERT_EQ(lock.acquire_rw(a, LockMode::kShared, kLockTry, &grant), LockOutcome::kOk) << i;
  }
  LockActor w = world.actor(50);
  EXPECT_EQ(lock.acquire_rw(w, LockMode::kExclusive, kLockTry, &grant), LockOutcome::kTimedOut);
  for (uint16_t i = 1; i <= 40; ++i) {
    LockActor a = world.actor(i);
    ASSERT_EQ(lock.release_rw(a, LockMode::kShared), LockOutcome::kOk) << i;
  }
  EXPECT_EQ(lock.acquire_rw(w, LockMode::kExclusive, kLockTry, &grant), LockOutcome::kOk);
  world.segment().destroy(lock.index());
  for (uint32_t i = 0; i < LockWorld::kBlocks; ++i) {
    EXPECT_EQ(world.segment().link(i).load(), 0u) << "a block is leaked";
  }
}

TEST(Rw, Conversions) {
  LockWorld world;
  Lock lock = world.make(LockKind::kRw);
  LockActor a = world.actor(1), b = world.actor(2);
  Grant grant;
  using enum LockMode;
  ASSERT_EQ(lock.acquire_rw(a, kUpdate, kLockTry, &grant), LockOutcome::kOk);
  const uint64_t token = grant.token;
  EXPECT_EQ(lock.acquire_rw(b, kUpdate, kLockTry, &grant), LockOutcome::kTimedOut);
  ASSERT_EQ(lock.acquire_rw(b, kShared, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_EQ(lock.convert(a, kUpdate, kExclusive, in_ms(3), &grant), LockOutcome::kTimedOut);
  EXPECT_EQ(lock.convert(b, kShared, kExclusive, kLockForever, &grant), LockOutcome::kTimedOut);
  ASSERT_EQ(lock.release_rw(b, kShared), LockOutcome::kOk);
  ASSERT_EQ(lock.convert(a, kUpdate, kExclusive, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_GT(grant.token, token);
  EXPECT_EQ(lock.acquire_rw(b, kShared, kLockTry, &grant), LockOutcome::kTimedOut);
  ASSERT_EQ(lock.convert(a, kExclusive, kUpdate, kLockTry, &grant), LockOutcome::kOk);
  ASSERT_EQ(lock.acquire_rw(b, kShared, kLockTry, &grant), LockOutcome::kOk);
  ASSERT_EQ(lock.release_rw(b, kShared), LockOutcome::kOk);
  ASSERT_EQ(lock.convert(a, kUpdate, kShared, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_EQ(lock.acquire_rw(b, kExclusive, kLockTry, &grant), LockOutcome::kTimedOut);
  ASSERT_EQ(lock.convert(a, kShared, kExclusive, kLockTry, &grant), LockOutcome::kOk);
  ASSERT_EQ(lock.convert(a, kExclusive, kShared, kLockTry, &grant), LockOutcome::kOk);
  ASSERT_EQ(lock.release_rw(a, kShared), LockOutcome::kOk);
  ASSERT_EQ(lock.acquire_rw(b, kExclusive, kLockTry, &grant), LockOutcome::kOk);
}

// Who holds it to update repairs nothing: the word of a death is still there for who may.
TEST(Rw, AnUpdateSwallowsNoDeath) {
  using enum LockMode;
  LockWorld world;
  Lock lock = world.make(LockKind::kRw);
  LockActor dead = world.actor(9), a = world.actor(1), b = world.actor(2);
  Grant grant;
  ASSERT_EQ(lock.acquire_rw(dead, kExclusive, kLockTry, &grant), LockOutcome::kOk);
  world.reap(9);
  ASSERT_EQ(lock.acquire_rw(a, kUpdate, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_TRUE(grant.abandoned);
  ASSERT_EQ(lock.release_rw(a, kUpdate), LockOutcome::kOk);
  ASSERT_EQ(lock.acquire_rw(dead, kUpdate, kLockTry, &grant), LockOutcome::kOk);
  world.reap(9);
  ASSERT_EQ(lock.acquire_rw(b, kUpdate, kLockTry, &grant), LockOutcome::kOk);
  ASSERT_EQ(lock.convert(b, kUpdate, kShared, kLockTry, &grant), LockOutcome::kOk);
  ASSERT_EQ(lock.release_rw(b, kShared), LockOutcome::kOk);
  ASSERT_EQ(lock.acquire_rw(b, kUpdate, kLockTry, &grant), LockOutcome::kOk);
  ASSERT_EQ(lock.convert(b, kUpdate, kExclusive, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_TRUE(grant.abandoned);
  ASSERT_EQ(lock.release_rw(b, kExclusive), LockOutcome::kOk);
  ASSERT_EQ(lock.acquire_rw(a, kExclusive, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_FALSE(grant.abandoned);
}

TEST(Semaphore, OwnedPermitsComeBackFromTheDead) {
  LockWorld world;
  Lock lock = world.make(LockKind::kSemaphore, 11);
  LockActor a = world.actor(5), b = world.actor(2);
  Grant grant;
  ASSERT_EQ(lock.acquire_permits(a, 9, kLockTry, &grant), LockOutcome::kOk);
  ASSERT_EQ(lock.acquire_permits(b, 2, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_EQ(lock.acquire_permits(b, 1, kLockTry, &grant), LockOutcome::kTimedOut);
  EXPECT_EQ(lock.acquire_permits(b, 12, kLockTry, &grant), LockOutcome::kOverRelease);
  EXPECT_EQ(lock.release_permits(b, 3), LockOutcome::kNotHeld);
  EXPECT_EQ(lock.permits_free(), 2u);
  world.reap(5);
  EXPECT_EQ(lock.permits_free(), 11u);
}

TEST(Semaphore, CountingMayBeRaisedByAnybodyUpToItsBound) {
  LockWorld world;
  Lock lock = world.make({.kind = LockKind::kCounting, .count = 1, .count_max = 2});
  LockActor a = world.actor(1), b = world.actor(2);
  Grant grant;
  ASSERT_EQ(lock.acquire_permits(a, 1, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_EQ(lock.acquire_permits(a, 1, kLockTry, &grant), LockOutcome::kTimedOut);
  EXPECT_EQ(lock.release_permits(b, 2), LockOutcome::kOk);
  EXPECT_EQ(lock.release_permits(b, 1), LockOutcome::kOverRelease);
  EXPECT_EQ(lock.permits_free(), 2u);
}

TEST(Condition, NotifyReachesTheOldestAndAllReachesAll) {
  LockWorld world;
  Lock condition = world.make(LockKind::kCondition);
  std::vector<std::thread> waiters;
  std::atomic<int> woken{0};
  for (uint16_t i = 1; i <= 12; ++i) {
    waiters.emplace_back([&, i] {
      LockActor a = world.actor(i);
      Grant grant;
      ASSERT_EQ(condition.acquire(a, kLockForever, &grant), LockOutcome::kOk);
      ASSERT_EQ(condition.acquire(a, kLockForever, &grant), LockOutcome::kOk);  // twice
      EXPECT_EQ(condition.wait(a, condition, kLockForever), LockOutcome::kOk);
      ++woken;
      EXPECT_EQ(condition.release(a), LockOutcome::kOk);
      EXPECT_EQ(condition.release(a), LockOutcome::kOk);
      EXPECT_EQ(condition.release(a), LockOutcome::kNotHeld);
    });
    std::array<LockStanding, 32> standing;
    size_t waiting = 0;
    while (waiting < i) {
      waiting = 0;
      const size_t n = condition.standing(standing.data(), standing.size());
      for (size_t j = 0; j < n && j < standing.size(); ++j) waiting += standing[j].waits;
    }
  }
  LockActor b = world.actor(30);
  EXPECT_EQ(condition.notify(b, 1), 1u);
  waiters[0].join();
  EXPECT_EQ(woken.load(), 1);
  EXPECT_EQ(condition.notify(b, 2), 2u);
  waiters[1].join();
  waiters[2].join();
  EXPECT_EQ(condition.notify_all(b), 9u);
  for (size_t i = 3; i < waiters.size(); ++i) waiters[i].join();
  EXPECT_EQ(condition.notify_all(b), 0u);
  Grant grant;
  ASSERT_EQ(condition.acquire(b, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_EQ(condition.wait(b, condition, in_ms(5)), LockOutcome::kTimedOut);
  EXPECT_EQ(condition.release(b), LockOutcome::kOk);
}

TEST(Event, SetAndClearedMeanwhileCountsAsSet) {
  LockWorld world;
  Lock event = world.make(LockKind::kEvent);
  LockActor a = world.actor(1), b = world.actor(2);
  EXPECT_EQ(event.wait_event(a, kLockTry), LockOutcome::kTimedOut);
  std::thread waiter([&] { EXPECT_EQ(event.wait_event(a, kLockForever), LockOutcome::kOk); });
  while (!event.has_sleepers()) std::this_thread::yield();
  event.set_event(b);
  event.clear_event();
  waiter.join();
  EXPECT_FALSE(event.is_set());
  event.set_event(b);
  EXPECT_EQ(event.wait_event(a, kLockTry), LockOutcome::kOk);
}

TEST(Barrier, GenerationsCompleteBreakAndReset) {
  LockWorld world;
  Lock barrier = world.make(LockKind::kBarrier, 3);
  const auto party = [&](uint16_t owner, bool action, LockOutcome* outcome, uint32_t* index) {
    return std::thread([&, owner, action, outcome, index] {
      LockActor a = world.actor(owner);
      *outcome = barrier.arrive(a, action, kLockForever, index);
      if (*outcome == LockOutcome::kLead) *outcome = barrier.finish_action(a);
    });
  };
  LockOutcome outcomes[3];
  uint32_t index[3];
  for (int round = 0; round < 40; ++round) {
    std::vector<std::thread> all;
    for (uint16_t i = 0; i < 3; ++i) {
      all.push_back(party(static_cast<uint16_t>(i + 1), round % 2 != 0, &outcomes[i], &index[i]));
    }
    for (auto& t : all) t.join();
    for (const LockOutcome outcome : outcomes) ASSERT_EQ(outcome, LockOutcome::kOk) << round;
    EXPECT_EQ(index[0] + index[1] + index[2], 3u);
    EXPECT_EQ(barrier.arrived(), 0u);
  }
  auto one = party(1, false, &outcomes[0], &index[0]);
  while (barrier.arrived() != 1) std::this_thread::yield();
  barrier.break_barrier(true);
  one.join();
  EXPECT_EQ(outcomes[0], LockOutcome::kBroken);
  LockActor b = world.actor(2);
  EXPECT_EQ(barrier.arrive(b, false, kLockForever, &index[0]), LockOutcome::kBroken);
  barrier.reset_barrier();
  EXPECT_FALSE(barrier.broken());
  EXPECT_EQ(barrier.arrive(b, false, in_ms(3), &index[0]), LockOutcome::kTimedOut);
  EXPECT_EQ(barrier.join(b), LockOutcome::kOk);
  auto other = party(1, false, &outcomes[0], &index[0]);
  while (barrier.arrived() != 1) std::this_thread::yield();
  world.reap(2);  // a member that never arrived
  other.join();
  EXPECT_EQ(outcomes[0], LockOutcome::kBroken);
}

// The numbers of ten waiters in the order in which they got it.
std::vector<int> order_of_ten(LockWorld& world, Lock lock) {
  LockActor first = world.actor(40);
  Grant grant;
  EXPECT_EQ(lock.acquire(first, kLockTry, &grant), LockOutcome::kOk);
  const uint32_t before = lock.line().ticket.load();
  std::vector<std::thread> waiters;
  std::vector<int> order;
  for (int i = 0; i < 10; ++i) {
    waiters.emplace_back([&, i] {
      LockActor a = world.actor(static_cast<uint16_t>(i + 1));
      Grant mine;
      ASSERT_EQ(lock.acquire(a, kLockForever, &mine), LockOutcome::kOk);
      order.push_back(i);
      ASSERT_EQ(lock.release(a), LockOutcome::kOk);
    });
    while (lock.line().ticket.load() - before != static_cast<uint32_t>(i + 1)) {
      std::this_thread::yield();
    }
  }
  EXPECT_EQ(lock.release(first), LockOutcome::kOk);
  for (auto& t : waiters) t.join();
  return order;
}

// Whoever is not run for 5 ms is passed by, and on a busy machine that happens to one or the other.
TEST(Strict, WaitersGetItInTheirOrder) {
  const std::vector<int> in_turn{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  LockWorld world;
  Lock lock = world.make({.kind = LockKind::kMutex, .fair = Fairness::kStrict});
  std::vector<int> order;
  for (int round = 0; round < 10 && order != in_turn; ++round) order = order_of_ten(world, lock);
  EXPECT_EQ(order, in_turn);
}

TEST(Force, TakesItFromALiveHolder) {
  LockWorld world;
  Lock lock = world.make(LockKind::kMutex);
  LockActor a = world.actor(1), b = world.actor(2);
  Grant grant;
  ASSERT_EQ(lock.acquire(a, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_EQ(lock.force_release(b.holder()), LockOutcome::kNotHeld);
  EXPECT_EQ(lock.force_release(0), LockOutcome::kOk);
  EXPECT_EQ(lock.release(a), LockOutcome::kNotHeld);
  ASSERT_EQ(lock.acquire(b, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_TRUE(grant.abandoned);
}

}  // namespace
}  // namespace heddle::shm
