#include "tests/support/daemon_fixture.h"

#include <filesystem>

namespace heddle::test {
namespace {

class DaemonFixtureTest : public DaemonFixture {};

TEST_F(DaemonFixtureTest, StartsAndStopsWithoutLeftovers) {
  EXPECT_TRUE(std::filesystem::exists(runtime_dir() + "/local.sock"));
  EXPECT_NE(daemon().broker_pid(), 0) << daemon().log();
}

TEST_F(DaemonFixtureTest, KilledBrokerIsReplacedBeforeKillBrokerReturns) {
  const pid_t before = daemon().broker_pid();
  daemon().kill_broker();
  EXPECT_NE(daemon().broker_pid(), 0);
  EXPECT_NE(daemon().broker_pid(), before) << daemon().log();
}

TEST(DaemonTest, BadConfigurationThrowsWithTheLog) {
  try {
    Daemon daemon({.config = R"({"nonsense": 1})", .args = {}});
    FAIL() << "started";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("nonsense"), std::string::npos) << error.what();
  }
}

TEST(DaemonTest, KillAllLeavesNoProcess) {
  Daemon daemon;
  daemon.kill_all();
  EXPECT_EQ(daemon.pid(), 0);
}

}  // namespace
}  // namespace heddle::test
