// Fork, threads and an absent broker, as a program meets them.
#include <gtest/gtest.h>
#include <heddle/heddle.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/daemon_fixture.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

class ClientProcessTest : public DaemonFixture {
 protected:
  Client connect() {
    return Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm}).value();
  }

  // Runs `body` in a child, which ends as a program does: with its destructors.
  static int in_child(const std::function<bool()>& body) {
    const pid_t child = fork();
    if (child == 0) _exit(body() ? 0 : 1);
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return status;
  }
};

TEST_F(ClientProcessTest, ChildUsesTheHandlesWithASessionOfItsOwn) {
  Client client = connect();
  Queue queue = client.create_queue("jobs").value();
  ASSERT_TRUE(queue.put("from the parent").ok());
  const std::uint16_t parent = client.describe().owner;
  EXPECT_EQ(in_child([&] {
              if (queue.get().value().text() != "from the parent") return false;
              if (!queue.put("from the child").ok()) return false;
              return client.queue("jobs").ok() && client.describe().owner != parent;
            }),
            0);
  EXPECT_EQ(queue.get().value().text(), "from the child");
  EXPECT_EQ(client.describe().owner, parent);
}

TEST_F(ClientProcessTest, ParentsDeliveriesStayTheParents) {
  Client client = connect();
  Queue queue = client.create_queue("jobs").value();
  ASSERT_TRUE(queue.put("small").ok());
  ASSERT_TRUE(queue.put(std::string(5000, 'x')).ok());
  Message small = queue.get({.ack = Ack::kManual}).value();
  Message large = queue.get({.ack = Ack::kManual}).value();
  auto loan = queue.loan(5000).value();
  auto producer = queue.producer().value();
  EXPECT_EQ(in_child([&] {
              const bool refused = small.ack().is(Reason::kSessionLost) &&
                                   loan.commit(10).status().is(Reason::kSessionLost) &&
                                   producer.close().is(Reason::kSessionLost);
              { Message dropped = std::move(large); }
              return refused && queue.counts()->leased == 2;
            }),
            0);
  EXPECT_TRUE(small.ack().ok());
  EXPECT_TRUE(large.ack().ok());
  EXPECT_TRUE(loan.commit(10).ok());
  EXPECT_TRUE(producer.close().ok());
}

TEST_F(ClientProcessTest, DeathReturnsWhatTheDeadHeld) {
  Client client = connect();
  Queue queue = client.create_queue("jobs").value();
  ASSERT_TRUE(queue.put("job").ok());
  EXPECT_NE(in_child([&] {
              Message held = queue.get({.ack = Ack::kManual}).value();
              raise(SIGKILL);
              return held.leased();
            }),
            0);
  Message again = queue.get_for(20s, {.ack = Ack::kManual}).value();
  EXPECT_EQ(again.delivery_count(), 2u);
  EXPECT_TRUE(again.ack().ok());
}

TEST_F(ClientProcessTest, ManyThreadsComeAndGo) {
  Client client = connect();
  Queue queue = client.create_queue("jobs").value();
  std::atomic<int> got{0};
  // More threads than a session page has lines, if those of the ended were not given back.
  for (int round = 0; round < 150; ++round) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] { EXPECT_TRUE(queue.put("x").ok()); });
      threads.emplace_back([&] { got += queue.get_for(20s).ok(); });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(got, 600);
  EXPECT_EQ(queue.unfinished().value(), 0u);
}

TEST_F(ClientProcessTest, LocalOperationsGoOnWhileTheBrokerIsRestarted) {
  Client client = connect();
  Queue queue = client.create_queue("jobs").value();
  const std::uint32_t before = client.status()->incarnation;
  ASSERT_TRUE(queue.put("kept").ok());
  Message held = queue.get({.ack = Ack::kManual}).value();
  kill(daemon().broker_pid(), SIGKILL);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(queue.put("away").ok());
    ASSERT_TRUE(queue.get().ok());
  }
  EXPECT_TRUE(held.ack().ok());
  // What needs the broker waits for it, and the session is the same one.
  const std::uint16_t owner = client.describe().owner;
  EXPECT_GT(client.status()->incarnation, before);
  EXPECT_TRUE(client.create_queue("later").ok());
  EXPECT_EQ(client.describe().owner, owner);
  EXPECT_TRUE(queue.empty().value());
}

TEST_F(ClientProcessTest, OnlyDeathsAreLoggedAsDeaths) {
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(in_child([&] { return connect().create_queue("q" + std::to_string(i)).ok(); }), 0);
  }
  const pid_t killed = fork();
  if (killed == 0) {
    const Client client = connect();
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(killed, &status, 0), killed);
  const std::string death = "pid " + std::to_string(killed) + ", uid " +
                            std::to_string(getuid()) + ") died; repaired";
  while (daemon().log().find(death) == std::string::npos) std::this_thread::sleep_for(10ms);
  const std::string log = daemon().log();
  EXPECT_EQ(log.find("died; repaired"), log.rfind("died; repaired")) << log;
}

}  // namespace
}  // namespace heddle::test
