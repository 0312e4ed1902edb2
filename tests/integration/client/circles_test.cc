// Circles of waits that are not made of locks alone: joins, conditions, barriers.
#include <gtest/gtest.h>
#include <heddle/heddle.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include "tests/support/daemon_fixture.h"
#include "tests/support/leak_check.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

class CirclesTest : public DaemonFixture {
 protected:
  Client connect() { return Client::connect({.runtime_dir = runtime_dir()}).value(); }
  // The last report names them all.
  void expect_reported(Client& client, const std::vector<std::string>& words) {
    const std::string report = client.lock_report(LockReport::kDeadlocks).value();
    for (const std::string& word : words) {
      EXPECT_NE(report.find(word), std::string::npos) << word << " in " << report;
    }
  }
};

class JoinTest : public CirclesTest, public testing::WithParamInterface<Plane> {};

// Who waits until the work is done holds what the worker needs for it.
TEST_P(JoinTest, AJoinAndTheLockThatTheWorkerNeeds) {
  allow_leaks("gRPC keeps threads and descriptors");
  {
    Client setup = connect();
    Queue work = setup.create_queue("work", {}).value();
    ASSERT_TRUE(work.put("one").ok());
  }
  const pid_t child = fork();
  if (child == 0) {
    Client client = connect();
    Queue work = client.queue("work").value();
    auto task = work.get({.ack = Ack::kTask});
    Lock ledger = client.lock("ledger").value();
    while (!ledger.locked().value()) std::this_thread::sleep_for(1ms);
    const auto grant = ledger.acquire_for(20s);
    if (!work.task_done().ok()) _exit(3);
    _exit(grant ? 0 : grant.status().is(Reason::kDeadlockDetected) ? 1 : 2);
  }
  Client client = Client::connect({.runtime_dir = runtime_dir(), .plane = GetParam()}).value();
  Queue work = client.queue("work").value();
  while (work.counts()->leased == 0) std::this_thread::sleep_for(1ms);
  Lock ledger = client.lock("ledger").value();
  ASSERT_TRUE(ledger.acquire().ok());
  std::thread([&] {  // another thread's join waits for nobody's locks
    EXPECT_TRUE(work.join_for(300ms).status.is(Reason::kTimedOut));
  })
      .join();
  const Status joined = work.join_for(20s).status;
  const bool broken_here = joined.is(Reason::kDeadlockDetected);
  EXPECT_TRUE(joined.ok() || broken_here) << joined.to_string();
  if (broken_here) {
    EXPECT_NE(joined.to_string().find("a circle of 2 waits"), std::string::npos);
  }
  EXPECT_TRUE(ledger.release().ok());
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), broken_here ? 0 : 1) << status;
  EXPECT_TRUE(work.join_for(20s).status.ok());
  const std::string plane = GetParam() == Plane::kGrpc ? "\"grpc\"" : "\"shm\"";
  expect_reported(client, {"\"queue\"", "\"work\"", "\"join\"", "\"ledger\"", plane});
}

INSTANTIATE_TEST_SUITE_P(Planes, JoinTest, testing::Values(Plane::kShm, Plane::kGrpc));

// A worker with a thread that can still settle what it took is not stuck.
TEST_F(CirclesTest, AnotherThreadOfTheWorkerIsEnough) {
  const pid_t child = fork();
  if (child == 0) {
    Client client = connect();
    Queue work = client.create_queue("work", {}).value();
    if (!work.put("one").ok()) _exit(3);
    auto task = work.get({.ack = Ack::kTask});
    Lock ledger = client.lock("ledger").value();
    while (!ledger.locked().value()) std::this_thread::sleep_for(1ms);
    std::thread waiter([&] { _exit(ledger.acquire_for(20s) ? 0 : 1); });
    std::this_thread::sleep_for(300ms);
    if (!work.task_done().ok()) _exit(2);
    waiter.join();
  }
  Client client = connect();
  Result<Queue> work = client.queue("work");
  while (!work) work = client.queue("work");
  while (work->counts()->leased == 0) std::this_thread::sleep_for(1ms);
  Lock ledger = client.lock("ledger").value();
  ASSERT_TRUE(ledger.acquire().ok());
  EXPECT_TRUE(work->join_for(20s).status.ok());
  EXPECT_TRUE(ledger.release().ok());
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(client.lock_report(LockReport::kDeadlocks).value().find("circle"), std::string::npos);
}

// Woken with its lock in somebody's hands who wants what the woken one holds.
TEST_F(CirclesTest, AConditionTakesItsLockAgain) {
  Client client = connect();
  Lock ledger = client.lock("ledger").value();
  Condition news = client.condition("news").value();
  std::atomic<bool> waiting{false};
  std::atomic<int> broken{0};
  std::thread reader([&] {
    ASSERT_TRUE(ledger.acquire().ok());
    ASSERT_TRUE(news.acquire().ok());
    waiting = true;
    const Status status = news.wait();
    broken += status.is(Reason::kDeadlockDetected);
    EXPECT_TRUE(status.ok() || status.is(Reason::kDeadlockDetected)) << status.to_string();
    EXPECT_EQ(news.release().ok(), status.ok());
    EXPECT_TRUE(ledger.release().ok());
  });
  while (!waiting) std::this_thread::sleep_for(1ms);
  ASSERT_TRUE(news.acquire().ok());
  EXPECT_EQ(news.notify().value(), 1u);
  const auto grant = ledger.acquire_for(20s);
  broken += grant.status().is(Reason::kDeadlockDetected);
  EXPECT_TRUE(grant || grant.status().is(Reason::kDeadlockDetected));
  EXPECT_TRUE(news.release().ok());
  reader.join();
  EXPECT_EQ(ledger.release().ok(), grant.ok());
  EXPECT_EQ(broken, 1);
  expect_reported(client, {"\"news\"", "\"ledger\""});
}

// The party that is missing needs a lock of one that waits for it.
TEST_F(CirclesTest, ABarrierWaitsForAMemberThatWaitsForALock) {
  Client client = connect();
  Lock ledger = client.lock("ledger").value();
  Barrier start = client.barrier("start", {.parties = 2}).value();
  ASSERT_TRUE(start.join().ok());
  ASSERT_TRUE(ledger.acquire().ok());
  std::atomic<bool> joined{false};
  std::atomic<int> broken{0};
  std::thread late([&] {
    ASSERT_TRUE(start.join().ok());
    joined = true;
    const auto grant = ledger.acquire_for(20s);
    broken += grant.status().is(Reason::kDeadlockDetected);
    EXPECT_EQ(ledger.release().ok(), grant.ok());
    (void)start.arrive(20s);
    EXPECT_TRUE(start.leave().ok());
  });
  while (!joined) std::this_thread::sleep_for(1ms);
  const auto place = start.arrive(20s);
  broken += place.status().is(Reason::kDeadlockDetected);
  EXPECT_TRUE(ledger.release().ok());
  if (!place) (void)start.arrive(20s);
  late.join();
  EXPECT_TRUE(start.leave().ok());
  EXPECT_EQ(broken, 1);
  expect_reported(client, {"\"start\"", "\"ledger\"", "\"barrier\""});
}

}  // namespace
}  // namespace heddle::test
