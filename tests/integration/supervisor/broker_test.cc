// Broker deaths, kept descriptors, drain, reload, orphans.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

#include "daemon/os/clock.h"
#include "daemon/os/files.h"
#include "tests/integration/supervisor/daemon.h"

namespace heddle::test {
namespace {

class Broker : public ::testing::Test {
 protected:
  void kill_broker() {
    const pid_t old = daemon_.broker_pid();
    ::kill(old, SIGKILL);
    ASSERT_TRUE(eventually([&] { return process_gone(old); }));
    ASSERT_NE(daemon_.broker_pid(), old);
  }
  Heddled daemon_;
};

TEST_F(Broker, KilledIsReplacedAndGetsEverythingBack) {
  daemon_.start();
  EXPECT_EQ(daemon_.tell("keep 5 five"), "ok");
  EXPECT_EQ(daemon_.tell("keep 6 six"), "ok");
  EXPECT_EQ(daemon_.tell("keep 9 catalog"), "ok");
  EXPECT_EQ(daemon_.tell("drop 6"), "ok 0");
  EXPECT_EQ(daemon_.tell("drop 6"), "refused by the peer 2");  // ENOENT
  kill_broker();
  EXPECT_EQ(daemon_.tell("count"), "2");
  EXPECT_EQ(daemon_.tell("read 5"), "five");
  EXPECT_EQ(daemon_.tell("labels"), "c catalog\nm five\n");
}

TEST_F(Broker, KeptTwiceIsReplaced) {
  daemon_.start();
  EXPECT_EQ(daemon_.tell("keep 5 old"), "ok");
  EXPECT_EQ(daemon_.tell("keep 5 new"), "ok");
  kill_broker();
  EXPECT_EQ(daemon_.tell("count"), "1");
  EXPECT_EQ(daemon_.tell("read 5"), "new");
}

TEST_F(Broker, MoreThanOneBatchComesBack) {
  daemon_.start();
  EXPECT_EQ(daemon_.tell("keep_many 600"), "ok");
  kill_broker();
  EXPECT_EQ(daemon_.tell("count"), "600");
  EXPECT_EQ(daemon_.tell("read 1599"), "many");
}

TEST_F(Broker, DyingAgainAndAgainWaitsLongerEachTime) {
  daemon_.flags = {"--broker-restart-ms-min=200"};
  daemon_.start();
  EXPECT_EQ(daemon_.tell("keep 5 five"), "ok");
  for (int i = 0; i < 3; ++i) kill_broker();
  EXPECT_EQ(daemon_.tell("read 5"), "five");
  EXPECT_TRUE(contains(daemon_.log(), "restarting in 0 ms")) << daemon_.log();
  EXPECT_TRUE(contains(daemon_.log(), "restarting in 200 ms"));
  EXPECT_TRUE(contains(daemon_.log(), "restarting in 400 ms"));
}

TEST_F(Broker, OrphansAreReaped) {
  daemon_.start();
  const pid_t orphan = std::stoi(daemon_.tell("orphan"));
  ASSERT_GT(orphan, 1);
  EXPECT_TRUE(eventually([&] { return process_gone(orphan); }));
}

TEST_F(Broker, AStubbornOneIsKilledAfterTheDrain) {
  daemon_.flags = {"--drain-ms=100"};
  daemon_.start();
  const pid_t broker = daemon_.broker_pid();
  EXPECT_EQ(daemon_.tell("stubborn"), "ok");
  const std::int64_t start = os::monotonic_ms();
  daemon_.signal(SIGTERM);
  EXPECT_EQ(daemon_.wait(), 0);
  EXPECT_GE(os::monotonic_ms() - start, 100);
  EXPECT_TRUE(process_gone(broker));
  EXPECT_TRUE(contains(daemon_.log(), "did not end within 100 ms")) << daemon_.log();
}

TEST_F(Broker, ASecondInterruptDoesNotWait) {
  daemon_.flags = {"--drain-ms=1h"};
  daemon_.start();
  EXPECT_EQ(daemon_.tell("stubborn"), "ok");
  daemon_.signal(SIGINT);
  ASSERT_TRUE(eventually([&] { return contains(daemon_.log(), "is draining"); }));
  daemon_.signal(SIGINT);
  EXPECT_EQ(daemon_.wait(), 0);
}

TEST_F(Broker, ReloadReachesTheBroker) {
  daemon_.start();
  EXPECT_TRUE(contains(daemon_.tell("config"), "\"drain_ms\": 2000"));
  daemon_.write_config("{\"drain_ms\": 1234, \"listen\": [\"127.0.0.1:0\"]}");
  daemon_.signal(SIGHUP);
  EXPECT_TRUE(eventually([&] { return contains(daemon_.tell("config"), "\"drain_ms\": 1234"); }));
  EXPECT_TRUE(contains(daemon_.log(), "\"listen\" was changed; that takes effect at the next"));
  kill_broker();  // the next one is given the new configuration as well
  EXPECT_TRUE(contains(daemon_.tell("config"), "\"drain_ms\": 1234"));
}

TEST_F(Broker, ABadReloadChangesNothingAndSaysWhy) {
  daemon_.start();
  const std::string before = daemon_.tell("config");
  daemon_.write_config("{\n\"drain_ms\": 1,\n\"no_such\": 2}");
  daemon_.signal(SIGHUP);
  EXPECT_TRUE(eventually([&] {
    return contains(daemon_.log(), "reload failed, the configuration stays as it was") &&
           contains(daemon_.log(), "heddled.json:3: unknown key \"no_such\"");
  })) << daemon_.log();
  EXPECT_EQ(daemon_.tell("config"), before);
}

TEST_F(Broker, TheSupervisorStaysSmall) {
  daemon_.start();
  EXPECT_EQ(daemon_.tell("keep_many 500"), "ok");
  std::string status;
  ASSERT_TRUE(
      os::read_file("/proc/" + std::to_string(daemon_.pid()) + "/status", 8192, &status));
  const std::size_t at = status.find("RssAnon:");
  ASSERT_NE(at, std::string::npos);
  const long rss_kib = std::atol(status.c_str() + at + 8);
  RecordProperty("rss_anon_kib", static_cast<int>(rss_kib));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(rss_kib, 4096);
#endif
}

}  // namespace
}  // namespace heddle::test
