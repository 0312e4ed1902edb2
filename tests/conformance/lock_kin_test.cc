// Semaphores, conditions, events, barriers and elections.
#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <vector>

#include "tests/conformance/lock_suite.h"

namespace heddle::test {
namespace {

template <typename T>
class LockKinTest : public LockSuite<T> {};
TYPED_TEST_SUITE(LockKinTest, Planes, PlaneNames);

TYPED_TEST(LockKinTest, SemaphoresAreNotMadeWithoutACount) {
  const Status missing = this->client().semaphore(this->name()).status();
  EXPECT_TRUE(missing.is(Reason::kNotFound));
  EXPECT_NE(missing.to_string().find("heddle sem create"), std::string::npos)
      << missing.to_string();
  ASSERT_TRUE(this->client().semaphore(this->name(), {.permits = 3}).ok());
  EXPECT_EQ(this->client().semaphore(this->name())->value().value(), 3u);
  EXPECT_TRUE(this->client()
                  .semaphore(this->name(), {.permits = 4})
                  .status()
                  .is(Reason::kExistsOtherOptions));
}

TYPED_TEST(LockKinTest, OwnedPermits) {
  Semaphore sem = this->client().semaphore(this->name(), {.permits = 3}).value();
  ASSERT_TRUE(sem.acquire(2).ok());
  EXPECT_EQ(sem.value().value(), 1u);
  EXPECT_TRUE(sem.try_acquire(2).status().is(Reason::kEmpty));
  EXPECT_TRUE(sem.acquire_for(30ms, 2).status().is(Reason::kTimedOut));
  EXPECT_TRUE(sem.acquire(0).status().is(Reason::kInvalidArgument));
  EXPECT_TRUE(sem.acquire(4).status().is(Reason::kInvalidArgument));
  std::thread waiter([&] {
    EXPECT_TRUE(sem.acquire(3).ok());
    EXPECT_TRUE(sem.release(3).ok());
  });
  std::this_thread::sleep_for(20ms);
  EXPECT_TRUE(sem.release(2).ok());
  waiter.join();
  EXPECT_EQ(sem.value().value(), 3u);
  // Bounded by nature: what nobody has cannot come back.
  EXPECT_FALSE(sem.release().ok());
  EXPECT_EQ(sem.value().value(), 3u);
}

TYPED_TEST(LockKinTest, CountingPermitsBelongToNobody) {
  Semaphore sem = this->client()
                      .semaphore(this->name(), {.permits = 0, .counting = true, .permits_max = 2})
                      .value();
  EXPECT_TRUE(sem.try_acquire().status().is(Reason::kEmpty));
  std::thread waiter([&] { EXPECT_TRUE(sem.acquire().ok()); });
  EXPECT_TRUE(sem.release().ok());
  waiter.join();
  EXPECT_TRUE(sem.release(2).ok());
  EXPECT_TRUE(sem.release().is(Reason::kInvalidArgument));
  EXPECT_EQ(sem.value().value(), 2u);
}

TYPED_TEST(LockKinTest, AConditionWakesAsManyAsItNotifies) {
  Condition condition = this->client().condition(this->name()).value();
  EXPECT_TRUE(condition.wait(0ms).is(Reason::kLeaseLost));
  int waiting = 0, tickets = 0, served = 0;  // Guarded by the condition's lock.
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      std::lock_guard<Condition> guard(condition);
      ++waiting;
      EXPECT_TRUE(condition.wait([&] { return tickets > 0; }).ok());
      --tickets;
      ++served;
    });
  }
  const auto look = [&](int& value) {
    std::lock_guard<Condition> guard(condition);
    return value;
  };
  EXPECT_TRUE(this->soon([&] { return look(waiting) == 3; }));
  {
    std::lock_guard<Condition> guard(condition);
    tickets = 1;
    EXPECT_EQ(condition.notify().value(), 1u);
  }
  EXPECT_TRUE(this->soon([&] { return look(served) == 1; }));
  {
    std::lock_guard<Condition> guard(condition);
    tickets = 2;
    EXPECT_EQ(condition.notify_all().value(), 2u);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(condition.notify().value(), 0u);
}

TYPED_TEST(LockKinTest, AConditionGivesTheLockBackAfterATimeout) {
  Condition condition = this->client().condition(this->name()).value();
  // Reentrant: a wait lets go of both entries and takes both back.
  ASSERT_TRUE(condition.acquire().ok());
  ASSERT_TRUE(condition.acquire().ok());
  EXPECT_TRUE(condition.wait(30ms).is(Reason::kTimedOut));
  EXPECT_TRUE(condition.wait([] { return false; }, 30ms).is(Reason::kTimedOut));
  EXPECT_TRUE(condition.wait([] { return true; }, 0ms).ok());
  EXPECT_TRUE(condition.release().ok());
  EXPECT_TRUE(this->elsewhere([&] { return condition.try_acquire().status(); }).is(Reason::kEmpty));
  EXPECT_TRUE(condition.release().ok());
}

TYPED_TEST(LockKinTest, AConditionWithAnotherLock) {
  Condition condition = this->client().condition(this->name()).value();
  Lock lock = this->lock();
  EXPECT_TRUE(condition.wait_with(lock, 0ms).is(Reason::kLeaseLost));
  bool ready = false;
  std::thread other([&] {
    std::lock_guard<Lock> guard(lock);
    ready = true;
    EXPECT_TRUE(condition.notify_all().ok());
  });
  {
    std::lock_guard<Lock> guard(lock);
    EXPECT_TRUE(condition
                    .wait_with(
                        lock, [&] { return ready; }, 10s)
                    .ok());
    EXPECT_TRUE(lock.locked().value());
  }
  other.join();
  EXPECT_FALSE(lock.locked().value());
}

TYPED_TEST(LockKinTest, AnEvent) {
  Event event = this->client().event(this->name()).value();
  EXPECT_FALSE(event.is_set().value());
  EXPECT_TRUE(event.wait(0ms).is(Reason::kEmpty));
  EXPECT_TRUE(event.wait(30ms).is(Reason::kTimedOut));
  std::vector<std::thread> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.emplace_back([&] { EXPECT_TRUE(event.wait(10s).ok()); });
  }
  std::this_thread::sleep_for(30ms);
  EXPECT_TRUE(event.set().ok());
  for (std::thread& waiter : waiters) waiter.join();
  EXPECT_TRUE(event.is_set().value() && event.wait().ok());
  EXPECT_TRUE(event.clear().ok());
  EXPECT_FALSE(event.is_set().value());
}

// Three threads arrive; gives what each of them got.
template <typename Arrive>
std::vector<Result<std::uint32_t>> three(Arrive arrive) {
  std::vector<Result<std::uint32_t>> got(3, Reason::kInternal);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back([&, i] { got[i] = arrive(i); });
  for (std::thread& thread : threads) thread.join();
  return got;
}

TYPED_TEST(LockKinTest, ABarrierNumbersItsParties) {
  EXPECT_TRUE(this->client().barrier(this->name()).status().is(Reason::kNotFound));
  Barrier barrier = this->client().barrier(this->name(), {.parties = 3}).value();
  EXPECT_EQ(barrier.parties().value(), 3u);
  for (int round = 0; round < 20; ++round) {
    std::set<std::uint32_t> indexes;
    for (const auto& got : three([&](int) { return barrier.arrive(10s); })) {
      ASSERT_TRUE(got.ok()) << got.status().to_string();
      indexes.insert(*got);
    }
    EXPECT_EQ(indexes, (std::set<std::uint32_t>{0, 1, 2}));
  }
  EXPECT_EQ(barrier.waiting().value(), 0u);
}

TYPED_TEST(LockKinTest, OneOfThemRunsTheAction) {
  Barrier barrier = this->client().barrier(this->name(), {.parties = 3}).value();
  std::atomic<int> ran{0};
  for (int round = 1; round <= 10; ++round) {
    const auto action = [&]() -> Status {
      ++ran;
      return {};
    };
    const auto got = three([&](int) {
      auto index = barrier.arrive(action, 10s);
      EXPECT_EQ(ran.load(), round);  // Before anybody leaves.
      return index;
    });
    for (const auto& one : got) EXPECT_TRUE(one.ok()) << one.status().to_string();
  }
}

TYPED_TEST(LockKinTest, AnActionThatFailsBreaksTheBarrier) {
  Barrier barrier = this->client().barrier(this->name(), {.parties = 3}).value();
  const auto fail = [] { return Status(Reason::kInternal, "no"); };
  int own = 0, broken = 0;
  for (const auto& got : three([&](int) { return barrier.arrive(fail, 10s); })) {
    own += got.status().is(Reason::kInternal);
    broken += got.status().is(Reason::kBrokenBarrier);
  }
  EXPECT_EQ(own, 1);
  EXPECT_EQ(broken, 2);
  EXPECT_TRUE(barrier.broken().value());
  EXPECT_TRUE(barrier.arrive(1s).status().is(Reason::kBrokenBarrier));
  EXPECT_TRUE(barrier.reset().ok());
  EXPECT_FALSE(barrier.broken().value());
  std::atomic<int> threw{0};
  three([&](int) -> Result<std::uint32_t> {
    try {
      return barrier.arrive([]() -> Status { throw std::runtime_error("no"); }, 10s);
    } catch (const std::runtime_error&) {
      ++threw;
      return Reason::kOk;
    }
  });
  EXPECT_EQ(threw.load(), 1);
  EXPECT_TRUE(barrier.broken().value());
}

TYPED_TEST(LockKinTest, ATimeoutBreaksItsGenerationOnly) {
  Barrier barrier = this->client().barrier(this->name(), {.parties = 3}).value();
  Result<std::uint32_t> other = Reason::kInternal;
  std::thread waiter([&] { other = barrier.arrive(10s); });
  EXPECT_TRUE(this->soon([&] { return barrier.waiting().value() == 1; }));
  EXPECT_TRUE(barrier.arrive(30ms).status().is(Reason::kTimedOut));
  waiter.join();
  EXPECT_TRUE(other.status().is(Reason::kBrokenBarrier)) << other.status().to_string();
  EXPECT_FALSE(barrier.broken().value());
  for (const auto& got : three([&](int) { return barrier.arrive(10s); })) EXPECT_TRUE(got.ok());
  std::thread late([&] { other = barrier.arrive(10s); });
  EXPECT_TRUE(this->soon([&] { return barrier.waiting().value() == 1; }));
  EXPECT_TRUE(barrier.abort().ok());
  late.join();
  EXPECT_TRUE(other.status().is(Reason::kBrokenBarrier));
  EXPECT_TRUE(barrier.broken().value());
}

TYPED_TEST(LockKinTest, AnElectionHasOneLeader) {
  Election election = this->client().election(this->name()).value();
  EXPECT_TRUE(election.leader().status().is(Reason::kEmpty));
  EXPECT_TRUE(election.resign().is(Reason::kLeaseLost));
  const Grant term = election.campaign().value();
  EXPECT_EQ(election.leader()->pid, getpid());
  EXPECT_TRUE(
      this->elsewhere([&] { return election.campaign(20ms).status(); }).is(Reason::kTimedOut));
  EXPECT_TRUE(this->elsewhere([&] { return election.resign(); }).ok());
  EXPECT_GT(election.campaign(0ms)->token, term.token);
  EXPECT_TRUE(election.resign().ok());
}

}  // namespace
}  // namespace heddle::test
