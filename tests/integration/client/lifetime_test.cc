// How long queues live: kept, attached, session; anonymous ones; names that are passed on. On both
// planes.
#include <gtest/gtest.h>
#include <heddle/heddle.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "tests/support/daemon_fixture.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

constexpr auto kHold = 700ms;

class LifetimeTest : public DaemonFixture, public testing::WithParamInterface<Plane> {
 protected:
  // gRPC opens descriptors of its own once in a process; that is no leak of a test.
  static void SetUpTestSuite() {
    EXPECT_FALSE(Client::connect({.address = "unix:/nonexistent", .timeout = 10ms}).ok());
  }
  Daemon::Options options() override {
    return {.config = R"({"handle_hold_ms": 700})", .args = {}};
  }

  Client connect(bool sessionless = false) {
    return Client::connect({.runtime_dir = runtime_dir(),
                            .plane = sessionless ? Plane::kGrpc : GetParam(),
                            .timeout = 20s,
                            .sessionless = sessionless})
        .value();
  }
  // Looks without opening: a session that opens it would keep it.
  bool exists(const std::string& name) {
    for (const QueueInfo& info : watcher().list().value()) {
      if (info.name == name) return true;
    }
    return false;
  }
  // The broker learns of an end a little later than the one who made it.
  void expect_gone(const std::string& name) {
    while (exists(name)) std::this_thread::sleep_for(10ms);
  }

 private:
  Client& watcher() {
    if (!watcher_) watcher_ = connect();
    return *watcher_;
  }
  std::optional<Client> watcher_;
};

TEST_P(LifetimeTest, KeptIsTheDefaultAndStays) {
  {
    Queue queue = connect().create_queue("jobs").value();
    EXPECT_EQ(queue.info()->options.lifetime, Lifetime::kKept);
  }
  std::this_thread::sleep_for(2 * kHold);
  EXPECT_TRUE(exists("jobs"));
}

TEST_P(LifetimeTest, AttachedGoesWithTheLastSessionThatHasItOpen) {
  std::optional<Queue> first =
      connect().create_queue("jobs", {.lifetime = Lifetime::kAttached}).value();
  EXPECT_EQ(first->info()->options.lifetime, Lifetime::kAttached);
  std::optional<Queue> second = connect().queue("jobs").value();
  ASSERT_TRUE(second->put("x").ok());
  first.reset();
  std::this_thread::sleep_for(2 * kHold);
  ASSERT_TRUE(exists("jobs"));
  EXPECT_EQ(second->get()->text(), "x");
  second.reset();
  expect_gone("jobs");
}

TEST_P(LifetimeTest, AnonymousQueuesAreAttachedAndHaveNamesOfTheirOwn) {
  Client client = connect();
  std::optional<Queue> one = client.create_anonymous_queue().value();
  std::optional<Queue> two = client.create_anonymous_queue({.lifetime = Lifetime::kKept}).value();
  EXPECT_TRUE(one->name().starts_with("anon/")) << one->name();
  EXPECT_NE(one->name(), two->name());
  EXPECT_EQ(one->info()->options.lifetime, Lifetime::kAttached);
  EXPECT_EQ(two->info()->options.lifetime, Lifetime::kKept);
  const std::string name = one->name(), kept = two->name();
  one.reset();
  two.reset();
  client = Client();
  expect_gone(name);
  EXPECT_TRUE(exists(kept));
}

TEST_P(LifetimeTest, ANamePassedOnIsHeldUntilSomebodyOpensIt) {
  std::string name;
  {
    Client client = connect();
    Queue queue = client.create_anonymous_queue().value();
    ASSERT_TRUE(queue.put("x").ok());
    name = client.share_queue(queue.name()).value();
    EXPECT_EQ(name, queue.name());
  }
  std::optional<Queue> heir = connect().queue(name).value();
  std::this_thread::sleep_for(2 * kHold);
  EXPECT_EQ(heir->try_get()->text(), "x");
  heir.reset();
  expect_gone(name);
  EXPECT_TRUE(connect().share_queue(name).status().is(Reason::kNotFound));
}

TEST_P(LifetimeTest, ANamePassedOnToNobodyIsHeldForItsTime) {
  const auto start = std::chrono::steady_clock::now();
  std::string name;
  {
    Client client = connect();
    Queue queue = client.create_anonymous_queue().value();
    name = client.share_queue(queue.name()).value();
  }
  expect_gone(name);
  EXPECT_GE(std::chrono::steady_clock::now() - start, kHold);
}

TEST_P(LifetimeTest, SessionGoesWithItsCreatorWhoeverElseHasIt) {
  std::optional<Queue> mine =
      connect().create_queue("jobs", {.lifetime = Lifetime::kSession}).value();
  Queue theirs = connect().queue("jobs").value();
  ASSERT_TRUE(theirs.put("x").ok());
  mine.reset();
  expect_gone("jobs");
  EXPECT_FALSE(theirs.put("x").ok());
}

TEST_P(LifetimeTest, AttachedQueuesOutliveTheBroker) {
  std::optional<Queue> queue =
      connect().create_queue("jobs", {.lifetime = Lifetime::kAttached}).value();
  ASSERT_TRUE(queue->put("x").ok());
  daemon().kill_broker();
  std::this_thread::sleep_for(2 * kHold);
  ASSERT_TRUE(exists("jobs"));
  EXPECT_EQ(queue->get()->text(), "x");
  queue.reset();
  expect_gone("jobs");
}

INSTANTIATE_TEST_SUITE_P(Planes, LifetimeTest, testing::Values(Plane::kShm, Plane::kGrpc),
                         [](const auto& p) { return p.param == Plane::kShm ? "shm" : "grpc"; });

class LifetimeOnceTest : public LifetimeTest {};

TEST_P(LifetimeOnceTest, TheCreatorsDeathIsFoundByTheNextBroker) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const Queue queue = connect().create_queue("jobs", {.lifetime = Lifetime::kSession}).value();
    (void)!write(ready[1], "x", 1);
    pause();
    _exit(0);
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  close(ready[1]);
  kill(daemon().broker_pid(), SIGSTOP);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  daemon().kill_broker();
  EXPECT_FALSE(exists("jobs"));
}

TEST_P(LifetimeOnceTest, WithoutASessionNothingGoesWithOneAndUseHolds) {
  Client client = connect(true);
  const Status refused = client.create_queue("jobs", {.lifetime = Lifetime::kSession}).status();
  EXPECT_TRUE(refused.is(Reason::kInvalidArgument)) << refused.to_string();
  Queue queue = client.create_queue("jobs", {.lifetime = Lifetime::kAttached}).value();
  for (int i = 0; i < 4; ++i) {
    std::this_thread::sleep_for(kHold / 2);
    ASSERT_TRUE(queue.put("x").ok());
  }
  expect_gone("jobs");
}

INSTANTIATE_TEST_SUITE_P(Planes, LifetimeOnceTest, testing::Values(Plane::kShm),
                         [](const auto&) { return "once"; });

}  // namespace
}  // namespace heddle::test
