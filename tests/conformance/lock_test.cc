// Mutexes, rlocks and rw locks: who may have them, and what everybody else is told.
#include <atomic>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "tests/conformance/lock_suite.h"

namespace heddle::test {
namespace {

template <typename T>
class LockTest : public LockSuite<T> {};
TYPED_TEST_SUITE(LockTest, Planes, PlaneNames);

TYPED_TEST(LockTest, CreatedByUseAndItsTokensGrow) {
  Lock lock = this->lock();
  EXPECT_EQ(lock.name(), this->name());
  EXPECT_FALSE(lock.locked().value());
  const Grant first = lock.acquire().value();
  EXPECT_TRUE(lock.locked().value());
  EXPECT_FALSE(first.abandoned);
  EXPECT_TRUE(lock.release().ok());
  const Grant second = lock.try_acquire().value();
  EXPECT_GT(second.token, first.token);
  EXPECT_EQ(lock.token().value(), second.token);
  EXPECT_TRUE(lock.release().ok());
  EXPECT_TRUE(lock.release().is(Reason::kLeaseLost));
}

TYPED_TEST(LockTest, TokensSurviveDeleteAndRecreate) {
  const std::uint64_t before = this->lock().acquire().value().token;
  ASSERT_TRUE(this->client().delete_lock(SyncKind::kLock, this->name()).ok());
  EXPECT_GT(this->lock().acquire().value().token, before);
}

TYPED_TEST(LockTest, OptionsMustAgree) {
  Client& client = this->client();
  EXPECT_TRUE(
      client.lock(this->name(), {.presence = Presence::kMust}).status().is(Reason::kNotFound));
  this->lock({.kind = LockKind::kRlock, .fair = Fairness::kStrict});
  EXPECT_TRUE(client.lock(this->name()).ok());
  EXPECT_TRUE(client.lock(this->name(), {.kind = LockKind::kRlock}).ok());
  const Status other = client.lock(this->name(), {.kind = LockKind::kRw}).status();
  EXPECT_TRUE(other.is(Reason::kExistsOtherOptions)) << other.to_string();
  EXPECT_NE(other.to_string().find("rlock"), std::string::npos) << other.to_string();
  EXPECT_TRUE(client.lock(this->name(), {.presence = Presence::kMustNot})
                  .status()
                  .is(Reason::kExistsOtherOptions));
  EXPECT_TRUE(client.lock("no good name!").status().is(Reason::kInvalidName));
}

TYPED_TEST(LockTest, WhoDoesNotGetItIsToldHow) {
  Lock lock = this->lock();
  ASSERT_TRUE(lock.acquire().ok());
  EXPECT_TRUE(this->elsewhere([&] { return lock.try_acquire().status(); }).is(Reason::kEmpty));
  EXPECT_TRUE(
      this->elsewhere([&] { return lock.acquire_for(30ms).status(); }).is(Reason::kTimedOut));
  EXPECT_TRUE(this->elsewhere([&] { return lock.release(); }).is(Reason::kLeaseLost));
  EXPECT_TRUE(lock.acquire(LockMode::kShared).status().is(Reason::kInvalidArgument));
  EXPECT_TRUE(lock.release().ok());
  EXPECT_TRUE(Lock().acquire().status().is(Reason::kInvalidArgument));
}

TYPED_TEST(LockTest, AWaiterGetsItFromTheRelease) {
  Lock lock = this->lock();
  ASSERT_TRUE(lock.acquire().ok());
  std::thread waiter([&] {
    EXPECT_TRUE(lock.acquire().ok());
    EXPECT_TRUE(lock.release().ok());
  });
  std::this_thread::sleep_for(30ms);
  EXPECT_TRUE(lock.release().ok());
  waiter.join();
}

TYPED_TEST(LockTest, AMutexMayBeReleasedForSomebodyElse) {
  Lock lock = this->lock();
  ASSERT_TRUE(lock.acquire().ok());
  EXPECT_TRUE(this->elsewhere([&] { return lock.release_any(); }).ok());
  EXPECT_TRUE(lock.release().is(Reason::kLeaseLost));
  EXPECT_TRUE(lock.release_any().is(Reason::kLeaseLost));
  Lock rlock = this->client().lock(this->name("/r"), {.kind = LockKind::kRlock}).value();
  ASSERT_TRUE(rlock.acquire().ok());
  EXPECT_TRUE(rlock.release_any().is(Reason::kInvalidArgument));
}

TYPED_TEST(LockTest, AnRlockCountsItsEntries) {
  Lock lock = this->lock({.kind = LockKind::kRlock});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(lock.acquire().ok());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(this->elsewhere([&] { return lock.try_acquire().status(); }).is(Reason::kEmpty));
    EXPECT_TRUE(lock.release().ok());
  }
  EXPECT_TRUE(lock.release().is(Reason::kLeaseLost));
}

TYPED_TEST(LockTest, ReadersShareAndWritersDoNot) {
  Lock lock = this->lock({.kind = LockKind::kRw});
  ASSERT_TRUE(lock.acquire(LockMode::kShared).ok());
  this->elsewhere([&] {
    EXPECT_TRUE(lock.try_acquire(LockMode::kShared).ok());
    EXPECT_TRUE(lock.try_acquire().status().is(Reason::kEmpty));
    EXPECT_TRUE(lock.release(LockMode::kShared).ok());
    return true;
  });
  EXPECT_TRUE(lock.release().is(Reason::kLeaseLost));
  EXPECT_TRUE(lock.release(LockMode::kShared).ok());
  ASSERT_TRUE(lock.acquire().ok());
  this->elsewhere([&] {
    EXPECT_TRUE(lock.try_acquire(LockMode::kShared).status().is(Reason::kEmpty));
    EXPECT_TRUE(lock.acquire_for(30ms, LockMode::kShared).status().is(Reason::kTimedOut));
    return true;
  });
  EXPECT_TRUE(lock.release().ok());
}

TYPED_TEST(LockTest, UpdateBecomesExclusiveOnceTheReadersAreGone) {
  Lock lock = this->lock({.kind = LockKind::kRw});
  ASSERT_TRUE(lock.acquire(LockMode::kUpdate).ok());
  std::atomic<bool> read{false}, leave{false};
  std::thread reader([&] {
    EXPECT_TRUE(lock.acquire(LockMode::kShared).ok());
    EXPECT_TRUE(lock.try_acquire(LockMode::kUpdate).status().is(Reason::kEmpty));
    read = true;
    while (!leave) std::this_thread::sleep_for(1ms);
    EXPECT_TRUE(lock.release(LockMode::kShared).ok());
  });
  EXPECT_TRUE(this->soon([&] { return read.load(); }));
  EXPECT_TRUE(
      lock.convert(LockMode::kUpdate, LockMode::kExclusive, 30ms).status().is(Reason::kTimedOut));
  leave = true;
  EXPECT_TRUE(lock.convert(LockMode::kUpdate, LockMode::kExclusive).ok());
  reader.join();
  EXPECT_TRUE(lock.convert(LockMode::kExclusive, LockMode::kShared).ok());
  EXPECT_TRUE(this->elsewhere([&] { return lock.try_acquire(LockMode::kShared).ok(); }));
  // The other reader stands in the way, and waiting for each other is refused.
  EXPECT_TRUE(lock.convert(LockMode::kShared, LockMode::kExclusive).status().is(Reason::kEmpty));
  EXPECT_TRUE(lock.release(LockMode::kShared).ok());
}

TYPED_TEST(LockTest, WorksWithTheStandardLibrary) {
  Lock lock = this->lock();
  Lock rw = this->client().lock(this->name("/rw"), {.kind = LockKind::kRw}).value();
  {
    std::lock_guard<Lock> guard(lock);
    EXPECT_FALSE(this->elsewhere([&] { return lock.try_lock(); }));
    EXPECT_FALSE(this->elsewhere([&] { return lock.try_lock_for(10ms); }));
  }
  {
    std::unique_lock<Lock> guard(lock, 1s);
    EXPECT_TRUE(guard.owns_lock());
  }
  {
    std::scoped_lock both(lock, rw);
    EXPECT_TRUE(lock.locked().value() && rw.locked().value());
  }
  {
    std::shared_lock<Lock> reading(rw);
    EXPECT_TRUE(this->elsewhere([&] {
      std::shared_lock<Lock> too(rw, std::try_to_lock);
      return too.owns_lock();
    }));
  }
  EXPECT_FALSE(lock.locked().value() || rw.locked().value());
  EXPECT_THROW(Lock().lock(), Error);
}

TYPED_TEST(LockTest, AGuardReleasesAndMoves) {
  Lock lock = this->lock();
  {
    LockGuard guard = lock.guard().value();
    EXPECT_EQ(guard.grant().token, lock.token().value());
    LockGuard moved = std::move(guard);
    EXPECT_TRUE(lock.locked().value());
    EXPECT_TRUE(guard.release().ok());
    EXPECT_TRUE(lock.locked().value());
    EXPECT_TRUE(lock.guard({.timeout = 0ms}).status().is(Reason::kEmpty));
    EXPECT_TRUE(moved.release().ok());
    EXPECT_FALSE(lock.locked().value());
  }
  EXPECT_TRUE(lock.guard().ok());
  EXPECT_FALSE(lock.locked().value());
}

TYPED_TEST(LockTest, DeletingItIsToldToEverybody) {
  Lock lock = this->lock();
  ASSERT_TRUE(lock.acquire().ok());
  Status waited;
  std::thread waiter([&] { waited = lock.acquire().status(); });
  std::this_thread::sleep_for(30ms);
  ASSERT_TRUE(this->client().delete_lock(SyncKind::kLock, this->name()).ok());
  waiter.join();
  EXPECT_TRUE(waited.is(Reason::kNotFound)) << waited.to_string();
  EXPECT_TRUE(lock.release().is(Reason::kNotFound));
  EXPECT_TRUE(this->client().delete_lock(SyncKind::kLock, this->name()).is(Reason::kNotFound));
}

TYPED_TEST(LockTest, InfoNamesHoldersAndWaiters) {
  Lock lock = this->lock({.on_owner_death = OwnerDeath::kPoison});
  const Grant grant = lock.acquire().value();
  std::thread waiter([&] {
    EXPECT_TRUE(lock.acquire_for(10s).ok());
    EXPECT_TRUE(lock.release().ok());
  });
  LockInfo info;
  EXPECT_TRUE(this->soon([&] {
    info = lock.info().value();
    return info.waiters.size() == 1;
  }));
  EXPECT_EQ(info.name, this->name());
  EXPECT_EQ(info.lock_kind, LockKind::kMutex);
  EXPECT_EQ(info.on_owner_death, OwnerDeath::kPoison);
  EXPECT_EQ(info.token, grant.token);
  ASSERT_EQ(info.holders.size(), 1u);
  EXPECT_EQ(info.holders[0].pid, getpid());
  EXPECT_EQ(info.holders[0].uid, getuid());
  EXPECT_EQ(info.holders[0].session, this->client().describe().owner);
  EXPECT_FALSE(info.holders[0].waits);
  EXPECT_TRUE(info.waiters.at(0).waits);
  EXPECT_EQ(info.waiters.at(0).pid, getpid());
  EXPECT_TRUE(lock.release().ok());
  waiter.join();
}

TYPED_TEST(LockTest, ListsByKindAndPrefix) {
  for (const char* suffix : {"/a", "/b"}) {
    ASSERT_TRUE(this->client().lock(this->name(suffix)).ok());
  }
  ASSERT_TRUE(this->client().event(this->name("/e")).ok());
  const auto locks = this->client().locks(SyncKind::kLock, this->name("/")).value();
  ASSERT_EQ(locks.size(), 2u);
  EXPECT_EQ(locks[1].name, this->name("/b"));
  EXPECT_EQ(this->client().locks(SyncKind::kEvent, this->name("/")).value().size(), 1u);
  EXPECT_TRUE(
      this->client().lock_info(SyncKind::kLock, this->name("/c")).status().is(Reason::kNotFound));
}

TYPED_TEST(LockTest, TakenByForceTheLoserIsToldAndSoIsTheNext) {
  Lock lock = this->lock();
  const Grant grant = lock.acquire().value();
  ASSERT_TRUE(lock.force_release().ok());
  EXPECT_TRUE(lock.release().is(Reason::kLeaseLost));
  const Grant next = lock.acquire().value();
  EXPECT_TRUE(next.abandoned);
  EXPECT_GT(next.token, grant.token);
  EXPECT_TRUE(lock.release().ok());
  EXPECT_FALSE(lock.acquire().value().abandoned);
  EXPECT_TRUE(lock.release().ok());
}

TYPED_TEST(LockTest, AThreadThatEndsKeepsItLocked) {
  Lock lock = this->lock({.kind = LockKind::kRlock});
  ASSERT_TRUE(this->elsewhere([&] { return lock.acquire().ok(); }));
  // Another thread is not the owner, even if it begins after the owner's end.
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(this->elsewhere([&] { return lock.try_acquire().status(); }).is(Reason::kEmpty));
  }
  EXPECT_TRUE(lock.force_release().ok());
  EXPECT_TRUE(lock.try_acquire().value().abandoned);
  EXPECT_TRUE(lock.release().ok());
}

TYPED_TEST(LockTest, NothingIsLostBetweenThreads) {
  for (const Fairness fair : {Fairness::kBarging, Fairness::kStrict}) {
    Lock lock = this->client()
                    .lock(this->name(fair == Fairness::kStrict ? "/strict" : ""), {.fair = fair})
                    .value();
    constexpr int kThreads = 4;
    const int fast = TypeParam::kPlane == Plane::kShm ? 2000 : 300;
    const int rounds = fair == Fairness::kStrict ? 200 : fast;
    int count = 0;  // Plain: the lock is all that protects it.
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, lock]() mutable {
        for (int round = 0; round < rounds; ++round) {
          std::lock_guard<Lock> guard(lock);
          ++count;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(count, kThreads * rounds);
  }
}

}  // namespace
}  // namespace heddle::test
