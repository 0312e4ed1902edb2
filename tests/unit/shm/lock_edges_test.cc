// The edges of the locks' rules, each put together by hand: words as a process that was killed or
// stopped left them, and memory that somebody scribbled on.
#include <array>
#include <thread>
#include <vector>

#include "proto/shm/futex.h"
#include "tests/unit/shm/lock_fixture.h"

namespace heddle::shm {
namespace {

using enum LockMode;

int64_t in_ms(int64_t ms) { return monotonic_ns() + ms * 1'000'000; }

void pause_ms(int64_t ms) {
  const int64_t end = in_ms(ms);
  while (monotonic_ns() < end) std::this_thread::yield();
}

TEST(LockEdges, AClaimThatIsForcedAwayKeepsTheWordOfADeath) {
  LockWorld world;
  Lock lock = world.make(LockKind::kRw);
  LockActor dead = world.actor(5), reader = world.actor(1), writer = world.actor(2);
  Grant grant;
  ASSERT_EQ(lock.acquire_rw(dead, kExclusive, kLockTry, &grant), LockOutcome::kOk);
  world.reap(5);
  ASSERT_EQ(lock.acquire_rw(reader, kShared, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_TRUE(grant.abandoned);
  ASSERT_EQ(lock.look_write(writer, &grant), LockOutcome::kTimedOut);  // the claim stands
  EXPECT_EQ(lock.force_release(writer.holder()), LockOutcome::kOk);
  ASSERT_EQ(lock.release_rw(reader, kShared), LockOutcome::kOk);
  ASSERT_EQ(lock.acquire_rw(writer, kExclusive, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_TRUE(grant.abandoned);
}

TEST(LockEdges, DepthBelongsToOneGrant) {
  LockWorld world;
  Lock lock = world.make(LockKind::kRlock);
  LockActor dead = world.actor(5), b = world.actor(2), c = world.actor(3);
  Grant grant;
  for (int i = 0; i < 3; ++i) ASSERT_EQ(lock.acquire(dead, kLockTry, &grant), LockOutcome::kOk);
  // As a reaper leaves it that is killed right after it freed the word.
  lock.line().word.fetch_and(~kLowMask);
  ASSERT_EQ(lock.acquire(b, kLockTry, &grant), LockOutcome::kOk);
  EXPECT_EQ(lock.release(c, b.holder()), LockOutcome::kNotHeld) << "only its owner leaves an rlock";
  ASSERT_EQ(lock.release(b), LockOutcome::kOk);
  EXPECT_EQ(lock.acquire(c, kLockTry, &grant), LockOutcome::kOk) << "the dead one's depth counts";
}

TEST(LockEdges, AStrictSemaphoreHasAllItsPermits) {
  LockWorld world;
  Lock lock = world.make({.kind = LockKind::kSemaphore, .fair = Fairness::kStrict, .count = 11});
  EXPECT_EQ(lock.permits_free(), 11u);
}

TEST(LockEdges, AStrictLineIsNotPassedAlthoughNobodyIsMarked) {
  LockWorld world;
  Lock lock = world.make({.kind = LockKind::kMutex, .fair = Fairness::kStrict});
  LockActor b = world.actor(2);
  Grant grant;
  // Somebody who just stood in line and has not marked the word yet.
  Cell& cell = world.segment().block(lock.line().blocks.load() - 1).cells[3];
  lock.line().ticket.store(1);
  cell.note.store((uint64_t{1} << 32) | 1);
  cell.word.store(cell_word(1, CellState::kWaiting, holder_of(9, 1)));
  EXPECT_EQ(lock.acquire(b, kLockTry, &grant), LockOutcome::kTimedOut);
  EXPECT_EQ(lock.acquire(b, in_ms(100), &grant), LockOutcome::kOk) << "the first one has stopped";
}

TEST(LockEdges, ConditionsWorkAlsoAfterMoreWaitsThanATicketCanTell) {
  LockWorld world;
  Lock condition = world.make(LockKind::kCondition);
  LockActor a = world.actor(1), b = world.actor(2);
  Grant grant;
  ASSERT_EQ(condition.acquire(a, kLockTry, &grant), LockOutcome::kOk);
  for (const uint32_t ticket : {(1u << 30) + 5, (1u << 31) - 1, (1u << 31) + 5, 0xfffffffeu, 2u}) {
    condition.line().ticket.store(ticket);
    EXPECT_EQ(condition.wait(a, condition, kLockTry), LockOutcome::kTimedOut) << ticket;
    EXPECT_EQ(condition.wait(a, condition, kLockTry), LockOutcome::kTimedOut) << ticket;
  }
  EXPECT_EQ(condition.notify_all(b), 0u);
}

TEST(LockEdges, TakingItBackAfterAWaitTellsOfADeath) {
  LockWorld world;
  Lock condition = world.make(LockKind::kCondition);
  LockActor b = world.actor(2), dead = world.actor(5);
  std::thread waiter([&] {
    LockActor a = world.actor(1);
    Grant grant;
    ASSERT_EQ(condition.acquire(a, kLockForever, &grant), LockOutcome::kOk);
    ASSERT_EQ(condition.wait(a, condition, kLockForever, &grant), LockOutcome::kOk);
    EXPECT_TRUE(grant.abandoned);
    EXPECT_EQ(condition.release(a), LockOutcome::kOk);
  });
  std::array<LockStanding, 4> standing;
  while (condition.standing(standing.data(), 4) != 1 || !standing[0].waits) {
    std::this_thread::yield();
  }
  Grant grant;
  while (condition.acquire(dead, kLockForever, &grant) != LockOutcome::kOk) {
  }
  EXPECT_EQ(condition.notify(b, 1), 1u);
  world.reap(5);
  waiter.join();
}

TEST(LockEdges, ANotificationIsPassedOnByWhoCannotTakeItsLockBack) {
  LockWorld world;
  Lock condition = world.make(LockKind::kCondition);
  Lock lock = world.make({.kind = LockKind::kMutex, .policy = DeathPolicy::kPoison});
  LockActor a = world.actor(1), b = world.actor(2), c = world.actor(3), dead = world.actor(5);
  Grant grant;
  Standing first, second;
  ASSERT_EQ(lock.acquire(a, kLockTry, &grant), LockOutcome::kOk);
  ASSERT_EQ(condition.begin_wait(a, lock, &first), LockOutcome::kOk);
  ASSERT_EQ(lock.acquire(b, kLockTry, &grant), LockOutcome::kOk);
  ASSERT_EQ(condition.begin_wait(b, lock, &second), LockOutcome::kOk);
  ASSERT_EQ(condition.notify(c, 1), 1u);
  ASSERT_EQ(condition.look_wait(first), LockOutcome::kOk);
  ASSERT_EQ(lock.acquire(dead, kLockTry, &grant), LockOutcome::kOk);
  world.reap(5);
  ASSERT_EQ(lock.acquire(a, kLockTry, &grant), LockOutcome::kPoisoned);
  condition.pass_wait(a, first);
  EXPECT_EQ(condition.look_wait(second), LockOutcome::kOk);
}

TEST(LockEdges, AnActionIsRunAlsoWhenTheLastToArriveBringsNone) {
  LockWorld world;
  Lock barrier = world.make(LockKind::kBarrier, 2);
  for (int round = 0; round < 50; ++round) {
    int led = 0;
    std::thread first([&] {
      LockActor a = world.actor(1);
      uint32_t index;
      LockOutcome outcome = barrier.arrive(a, true, in_ms(2'000), &index);
      led += outcome == LockOutcome::kLead;
      if (outcome == LockOutcome::kLead) outcome = barrier.finish_action(a);
      EXPECT_EQ(outcome, LockOutcome::kOk);
    });
    while (barrier.arrived() != 1) std::this_thread::yield();
    if (round % 2 == 0) pause_ms(1);  // asleep
    LockActor b = world.actor(2);
    uint32_t index;
    ASSERT_EQ(barrier.arrive(b, false, in_ms(2'000), &index), LockOutcome::kOk) << round;
    first.join();
    EXPECT_EQ(led, 1);
  }
}

TEST(LockEdges, ADeathBeforeTheActionBreaksAFullBarrier) {
  LockWorld world;
  Lock barrier = world.make(LockKind::kBarrier, 2);
  LockActor a = world.actor(1), dead = world.actor(5);
  Standing mine, theirs;
  ASSERT_EQ(barrier.begin_arrive(a, false, &mine), LockOutcome::kOk);
  ASSERT_EQ(barrier.begin_arrive(dead, true, &theirs), LockOutcome::kOk);
  world.reap(5);
  EXPECT_EQ(barrier.look_arrive(a, mine), LockOutcome::kBroken);
}

TEST(LockEdges, ALeaderThatWakesUpLateEndsNobodyElsesGeneration) {
  LockWorld world;
  Lock barrier = world.make(LockKind::kBarrier, 2);
  LockActor slow = world.actor(1), b = world.actor(2), c = world.actor(3);
  Standing s[4];
  ASSERT_EQ(barrier.join(slow), LockOutcome::kOk);
  ASSERT_EQ(barrier.begin_arrive(slow, true, &s[0]), LockOutcome::kOk);
  ASSERT_EQ(barrier.begin_arrive(b, false, &s[1]), LockOutcome::kOk);
  ASSERT_EQ(barrier.look_arrive(slow, s[0]), LockOutcome::kLead);
  barrier.break_barrier(false);
  ASSERT_EQ(barrier.look_arrive(b, s[1]), LockOutcome::kBroken);
  ASSERT_EQ(barrier.begin_arrive(b, true, &s[2]), LockOutcome::kOk);
  EXPECT_EQ(barrier.finish_action(slow), LockOutcome::kBroken);
  // The member's cell is its own again, or it could never come back.
  ASSERT_EQ(barrier.begin_arrive(slow, false, &s[3]), LockOutcome::kOk);
  ASSERT_EQ(barrier.look_arrive(b, s[2]), LockOutcome::kLead);
  EXPECT_EQ(barrier.look_arrive(slow, s[3]), LockOutcome::kTimedOut);
  EXPECT_EQ(barrier.finish_action(b), LockOutcome::kOk);
  EXPECT_EQ(barrier.look_arrive(slow, s[3]), LockOutcome::kOk);
  (void)c;
}

TEST(LockEdges, ManyDeathsBreakOneGeneration) {
  LockWorld world;
  Lock barrier = world.make(LockKind::kBarrier, 6);
  LockActor live = world.actor(1);
  for (uint16_t thread = 1; thread <= 4; ++thread) {
    LockActor dead = world.actor(5, thread);
    ASSERT_EQ(barrier.join(dead), LockOutcome::kOk);
  }
  const uint64_t before = barrier.line().head.load() & kLowMask;
  world.reap(5);
  EXPECT_EQ((barrier.line().head.load() & kLowMask) - before, 2u);
  (void)live;
}

TEST(LockEdges, WhatIsHandedOffToNobodyCanBeTriedAgain) {
  LockWorld world;
  Lock lock = world.make(LockKind::kMutex);
  LockActor a = world.actor(1), b = world.actor(2);
  Grant grant;
  ASSERT_EQ(lock.acquire(a, kLockTry, &grant), LockOutcome::kOk);
  lock.enlist(true);  // the broker waits for a remote caller, who goes away
  ASSERT_EQ(lock.release(a), LockOutcome::kOk);
  EXPECT_EQ(lock.acquire(b, kLockTry, &grant), LockOutcome::kTimedOut);
  world.segment().rescan();
  EXPECT_EQ(lock.acquire(b, kLockTry, &grant), LockOutcome::kOk);

  Lock permits = world.make(LockKind::kSemaphore, 1);
  ASSERT_EQ(permits.acquire_permits(a, 1, kLockTry, &grant), LockOutcome::kOk);
  permits.enlist(true);
  ASSERT_EQ(permits.release_permits(a, 1), LockOutcome::kOk);
  EXPECT_EQ(permits.acquire_permits(b, 1, kLockTry, &grant), LockOutcome::kTimedOut);
  world.segment().rescan();
  EXPECT_EQ(permits.acquire_permits(b, 1, kLockTry, &grant), LockOutcome::kOk);
}

TEST(LockEdges, AReaderThatLeavesTellsTheBroker) {
  LockWorld world;
  Lock lock = world.make(LockKind::kRw);
  LockActor reader = world.actor(1), remote = world.actor(2), other = world.actor(3);
  Grant grant;
  ASSERT_EQ(lock.acquire_rw(reader, kShared, kLockTry, &grant), LockOutcome::kOk);
  ASSERT_EQ(lock.look_write(remote, &grant), LockOutcome::kTimedOut);
  lock.enlist(false);
  // Somebody impatient took the claim away; then the only reader leaves.
  lock.give_up_write(other);
  uint64_t word = lock.line().word.load();
  ASSERT_TRUE(lock.line().word.compare_exchange_strong(word, word & (~kLowMask | kSleepers)));
  world.segment().header().dirty.store(0);
  ASSERT_EQ(lock.release_rw(reader, kShared), LockOutcome::kOk);
  EXPECT_EQ(world.segment().header().dirty.load(), 1u);
}

TEST(LockEdges, OneThatWantsTwoDoesNotSleepOnTheWakeOfOneThatWantsOne) {
  LockWorld world;
  Lock lock = world.make(LockKind::kSemaphore, 2);
  LockActor a = world.actor(1);
  Grant grant;
  ASSERT_EQ(lock.acquire_permits(a, 2, kLockTry, &grant), LockOutcome::kOk);
  std::atomic<int> got{0};
  std::vector<std::thread> waiters;
  for (uint16_t i = 0; i < 2; ++i) {
    waiters.emplace_back([&, i] {
      LockActor b = world.actor(static_cast<uint16_t>(10 + i));
      Grant mine;
      EXPECT_EQ(lock.acquire_permits(b, i == 0 ? 2 : 1, in_ms(5'000), &mine), LockOutcome::kOk);
      got.fetch_or(1 << i);
      EXPECT_EQ(lock.release_permits(b, i == 0 ? 2 : 1), LockOutcome::kOk);
    });
    pause_ms(20);  // the one that wants two sleeps first
  }
  ASSERT_EQ(lock.release_permits(a, 1), LockOutcome::kOk);
  const int64_t end = in_ms(1'000);
  while (got.load() != 2 && monotonic_ns() < end) std::this_thread::yield();
  EXPECT_EQ(got.load(), 2);
  ASSERT_EQ(lock.release_permits(a, 1), LockOutcome::kOk);
  for (auto& t : waiters) t.join();
}

TEST(LockEdges, AReaderThatStarvesSaysSo) {
  LockWorld world;
  Lock lock = world.make(LockKind::kRw);
  LockActor writer = world.actor(1);
  Grant grant;
  ASSERT_EQ(lock.acquire_rw(writer, kExclusive, kLockTry, &grant), LockOutcome::kOk);
  std::thread reader([&] {
    LockActor b = world.actor(2);
    b.sleep_ns_max = 2'000'000;
    Grant mine;
    EXPECT_EQ(lock.acquire_rw(b, kShared, kLockForever, &mine), LockOutcome::kOk);
    EXPECT_EQ(lock.release_rw(b, kShared), LockOutcome::kOk);
  });
  const int64_t end = in_ms(2'000);
  while ((lock.line().word.load() & kStarving) == 0 && monotonic_ns() < end) {
    std::this_thread::yield();
  }
  EXPECT_NE(lock.line().word.load() & kStarving, 0u);
  ASSERT_EQ(lock.release_rw(writer, kExclusive), LockOutcome::kOk);
  reader.join();
}

// --- the reaper and the net on memory that was scribbled on: they end, and touch nothing outside
// ---

TEST(LockEdges, ChainsThatBiteTheirTailsEnd) {
  constexpr uint32_t kLines = 512, kBlocks = 40'000;
  const uint64_t bytes = lock_segment_bytes(kLines, kBlocks);
  void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  LockSegment::format(base, kLines, kBlocks, 3);
  LockSegment segment;
  ASSERT_EQ(LockSegment::attach(base, bytes, -1, &segment), LockOutcome::kOk);
  for (uint32_t i = 0; i < kLines; ++i) {
    uint32_t index;
    ASSERT_EQ(segment.create({.kind = i % 2 == 0 ? LockKind::kRw : LockKind::kCondition}, i + 1, 0,
                             &index),
              LockOutcome::kOk);
    // Two blocks that follow each other for ever.
    const uint32_t first = segment.line(index).blocks.load();
    const uint32_t second = kBlocks - i;
    segment.link(first - 1).store(LinkWord{LinkState::kLinked, 0, index, second}.encode());
    segment.link(second - 1).store(LinkWord{LinkState::kLinked, 0, index, first}.encode());
    segment.line(index).word.fetch_or(kSleepers);
    for (Cell& cell : segment.block(second - 1).cells) {
      cell.word.store(cell_word(1, CellState::kNotified, holder_of(5, 1)));
    }
  }
  for (auto& bits : segment.header().sleepers) bits.store(UINT64_MAX);
  for (uint32_t block = 1'000; block < 30'000; ++block) {
    segment.link(block).store(LinkWord{LinkState::kClaimed, 5, block % kLines, block}.encode());
  }
  segment.header().lines_used.store(0);  // what is hidden from the reaper is reaped all the same
  const auto alive = [](void*, uint16_t owner) { return owner != 5; };
  const int64_t began = monotonic_ns();
  segment.reap(alive, nullptr);
  for (int i = 0; i < 20; ++i) segment.rescan();
  const int64_t took_ms = (monotonic_ns() - began) / 1'000'000;
  std::printf("a reap and 20 scans of a scribbled segment: %lld ms\n",
              static_cast<long long>(took_ms));
  EXPECT_EQ(holder_in(segment.block(kBlocks - 1).cells[0].word.load()), 0u);
  LockActor a;
  a.owner = 1;
  JournalLine line{};
  a.journal = &line;
  Lock lock(&segment, 0, segment.line(0).generation.load());
  Grant grant;
  for (int i = 0; i < 40; ++i) (void)lock.acquire_rw(a, kShared, kLockTry, &grant);
  munmap(base, bytes);
}

TEST(LockEdges, AnEndlessNumberOfPartiesIsNotCounted) {
  LockWorld world;
  Lock barrier = world.make(LockKind::kBarrier, 2);
  barrier.line().limit.store(UINT32_MAX);
  LockActor a = world.actor(1);
  for (uint16_t thread = 1; thread < 12; ++thread) {
    LockActor b = world.actor(2, thread);
    const LockOutcome outcome = barrier.join(b);
    EXPECT_TRUE(outcome == LockOutcome::kOk || outcome == LockOutcome::kTooMany);
  }
  Standing s;
  (void)barrier.begin_arrive(a, false, &s);
}

}  // namespace
}  // namespace heddle::shm
