// Forks and deaths: nothing is orphaned, and the next owner is told once.
#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <new>
#include <vector>

#include "tests/conformance/lock_suite.h"

namespace heddle::test {
namespace {

template <typename T>
class LockDeathTest : public LockSuite<T> {
 protected:
  // A child with a connection of its own that does `hold` and is then killed.
  template <typename Hold>
  void killed_after(Hold hold) {
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
      {
        Client client = this->connect();
        auto held = hold(client);
        if (write(ready[1], "", 1) == 1) pause();
      }
      _exit(1);
    }
    char byte;
    close(ready[1]);
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    kill(child, SIGKILL);
    EXPECT_TRUE(WIFSIGNALED(this->ended(child)));
  }
};
// The death of a process, which the kernel tells: a remote holder is lost with its session instead
// (tests/integration/grpc), and gRPC does not survive a fork.
TYPED_TEST_SUITE(LockDeathTest, testing::Types<ShmPlane>, PlaneNames);

TYPED_TEST(LockDeathTest, AChildOwnsNothingOfItsParents) {
  Lock lock = this->lock();
  LockGuard guard = lock.guard().value();
  EXPECT_EQ(this->in_child([&] {
    return lock.release().is(Reason::kLeaseLost) && guard.release().failed() &&
           lock.try_acquire().status().is(Reason::kEmpty);
  }),
            0);
  EXPECT_TRUE(lock.locked().value());
  EXPECT_TRUE(guard.release().ok());
  // The child's handle is as good as its parent's; what it holds when it ends comes back.
  EXPECT_EQ(this->in_child([&] { return lock.acquire_for(10s).ok(); }), 0);
  EXPECT_TRUE(lock.acquire_for(10s).value().abandoned);
}

TYPED_TEST(LockDeathTest, TheNextOwnerIsToldOnce) {
  Lock lock = this->lock();
  std::uint16_t session = 0;
  this->killed_after([&](Client& client) { return client.lock(this->name())->acquire(); });
  const Grant grant = lock.acquire_for(10s).value();
  EXPECT_TRUE(grant.abandoned);
  session = grant.previous_session;
  EXPECT_NE(session, 0);
  EXPECT_NE(session, this->client().describe().owner);
  EXPECT_TRUE(lock.release().ok());
  EXPECT_FALSE(lock.acquire().value().abandoned);
  EXPECT_TRUE(lock.release().ok());
}

TYPED_TEST(LockDeathTest, AWaiterGetsItFromTheDead) {
  Lock lock = this->lock();
  std::vector<std::thread> waiters;
  std::atomic<int> told{0};
  this->killed_after([&](Client& client) { return client.lock(this->name())->acquire(); });
  for (int i = 0; i < 3; ++i) {
    waiters.emplace_back([&] {
      auto grant = lock.acquire_for(10s);
      ASSERT_TRUE(grant.ok()) << grant.status().to_string();
      told += grant->abandoned;
      EXPECT_TRUE(lock.release().ok());
    });
  }
  for (std::thread& waiter : waiters) waiter.join();
  EXPECT_EQ(told.load(), 1);
}

TYPED_TEST(LockDeathTest, SilentAndPoison) {
  Lock silent =
      this->client().lock(this->name("/s"), {.on_owner_death = OwnerDeath::kSilent}).value();
  this->killed_after([&](Client& client) { return client.lock(this->name("/s"))->acquire(); });
  EXPECT_FALSE(silent.acquire_for(10s).value().abandoned);
  Lock poison =
      this->client().lock(this->name("/p"), {.on_owner_death = OwnerDeath::kPoison}).value();
  this->killed_after([&](Client& client) { return client.lock(this->name("/p"))->acquire(); });
  const Status refused = poison.acquire_for(10s).status();
  EXPECT_TRUE(refused.is(Reason::kPeerDied)) << refused.to_string();
  EXPECT_NE(refused.to_string().find("repair"), std::string::npos) << refused.to_string();
  EXPECT_TRUE(poison.repair().ok());
  EXPECT_TRUE(poison.acquire().value().abandoned);
}

TYPED_TEST(LockDeathTest, SharesAndPermitsComeBack) {
  Lock rw = this->client().lock(this->name(), {.kind = LockKind::kRw}).value();
  Semaphore sem = this->client().semaphore(this->name(), {.permits = 3}).value();
  this->killed_after([&](Client& client) {
    return std::pair(client.lock(this->name())->acquire(LockMode::kShared),
                     client.semaphore(this->name())->acquire(2));
  });
  EXPECT_TRUE(rw.acquire_for(10s).ok());
  EXPECT_TRUE(sem.acquire_for(10s, 3).ok());
}

TYPED_TEST(LockDeathTest, ADeadPartyBreaksTheBarrier) {
  Barrier barrier = this->client().barrier(this->name(), {.parties = 2}).value();
  Event joined = this->client().event(this->name()).value();
  const pid_t child = this->start([&] {
    Client client = this->connect();
    if (!client.barrier(this->name())->join().ok()) return false;
    if (!client.event(this->name())->set().ok()) return false;
    pause();
    return true;
  });
  ASSERT_TRUE(joined.wait(10s).ok());
  Result<std::uint32_t> got = Reason::kInternal;
  std::thread waiter([&] { got = barrier.arrive(10s); });
  EXPECT_TRUE(this->soon([&] { return barrier.waiting().value() == 1; }));
  kill(child, SIGKILL);
  EXPECT_TRUE(WIFSIGNALED(this->ended(child)));
  waiter.join();
  EXPECT_TRUE(got.status().is(Reason::kBrokenBarrier)) << got.status().to_string();
}

TYPED_TEST(LockDeathTest, KilledAtRandomNothingIsLost) {
  struct Shared {
    std::atomic<int> inside{0};
    std::atomic<int> bad{0};
    std::atomic<int> rounds{0};
  };
  void* memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto& shared = *new (memory) Shared;
  Lock lock = this->lock();
  for (int death = 0; death < 5; ++death) {
    std::vector<pid_t> children;
    for (int i = 0; i < 3; ++i) {
      children.push_back(this->start([&] {
        Client client = this->connect();
        Lock mine = client.lock(this->name()).value();
        for (;;) {
          const Grant grant = mine.acquire().value();
          // A dead owner left its mark behind.
          if (grant.abandoned) shared.inside = 0;
          if (shared.inside.exchange(1) != 0) ++shared.bad;
          ++shared.rounds;
          shared.inside = 0;
          (void)mine.release();
        }
        return true;
      }));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(60 + 7 * death));
    for (const pid_t child : children) kill(child, SIGKILL);
    for (const pid_t child : children) this->ended(child);
    ASSERT_TRUE(lock.acquire_for(10s).ok());
    shared.inside = 0;
    EXPECT_TRUE(lock.release().ok());
  }
  EXPECT_EQ(shared.bad.load(), 0);
  EXPECT_GT(shared.rounds.load(), 0);
  munmap(memory, sizeof(Shared));
}

class LockDaemonTest : public DaemonFixture {
 protected:
  Client connect() {
    return Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm, .timeout = 1s})
        .value();
  }
};

TEST_F(LockDaemonTest, ABrokerThatDiesTakesNoLockWithIt) {
  Client client = connect();
  Lock lock = client.lock("ledger").value();
  const Grant grant = lock.acquire().value();
  std::thread waiter([&] {
    const Grant next = lock.acquire_for(15s).value();
    EXPECT_EQ(next.token, grant.token + 1);
    EXPECT_FALSE(next.abandoned);
    EXPECT_TRUE(lock.release().ok());
  });
  daemon().kill_broker();
  EXPECT_TRUE(lock.locked().value());
  EXPECT_EQ(lock.info()->holders.size(), 1u);
  EXPECT_TRUE(lock.release().ok());
  waiter.join();
  EXPECT_EQ(client.lock("ledger")->token().value(), grant.token + 1);
}

TEST_F(LockDaemonTest, NobodyWaitsForADaemonThatIsGone) {
  Client client = connect();
  Lock lock = client.lock("ledger").value();
  Event event = client.event("go").value();
  Condition condition = client.condition("changed").value();
  ASSERT_TRUE(lock.acquire().ok());
  Status of_lock, of_event, of_condition;
  std::thread first([&] { of_lock = lock.acquire().status(); });
  std::thread second([&] { of_event = event.wait(); });
  std::thread third([&] {
    EXPECT_TRUE(condition.acquire().ok());
    of_condition = condition.wait();
  });
  std::this_thread::sleep_for(100ms);
  daemon().kill_all();
  first.join();
  second.join();
  third.join();
  EXPECT_TRUE(of_lock.is(Reason::kDaemonUnreachable)) << of_lock.to_string();
  EXPECT_TRUE(of_event.is(Reason::kDaemonUnreachable)) << of_event.to_string();
  EXPECT_TRUE(of_condition.is(Reason::kDaemonUnreachable)) << of_condition.to_string();
}

class TicketSellerTest : public DaemonFixture {
 protected:
  // The last line that the example prints.
  std::string sell(const std::string& how) {
    TempDir dir;
    const std::string command = "HEDDLE_PLANE=shm HEDDLE_RUNTIME_DIR=" + runtime_dir() + " " +
                                built("examples/example_ticket_seller") + " " + dir.file("record") +
                                " " + how;
    FILE* out = popen(command.c_str(), "r");
    std::string text, line;
    for (int c; (c = fgetc(out)) != EOF;) text.push_back(static_cast<char>(c));
    EXPECT_EQ(pclose(out), 0);
    return text;
  }
};

TEST_F(TicketSellerTest, WithTheLockExactlyOneSellsIt) {
  EXPECT_EQ(sell(""), "1 sold the last ticket, 0 killed, 0 left\n");
}

TEST_F(TicketSellerTest, WithoutItManyDo) {
  const std::string text = sell("unlocked");
  EXPECT_GT(std::stoi(text), 1) << text;
}

TEST_F(TicketSellerTest, AlsoWhenASellerIsKilledInTheOffice) {
  const std::string text = sell("killed");
  EXPECT_NE(text.find("1 sold the last ticket, 1 killed, 0 left\n"), std::string::npos) << text;
  const std::size_t told = text.find("died in the office");
  EXPECT_NE(told, std::string::npos) << text;
  EXPECT_EQ(text.find("died in the office", told + 1), std::string::npos) << text;
}

}  // namespace
}  // namespace heddle::test
