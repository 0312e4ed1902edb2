// Clients that cannot be served hear at once why, and what to do: the supervisor has died, a user
// has too many connections, the broker is out of descriptors.
#include <gtest/gtest.h>
#include <heddle/heddle.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/daemon_fixture.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

// Longer than the watchdog: whoever waits for it is noticed.
constexpr auto kTooLong = 300s;

// gRPC opens descriptors of its own once in a process; that is no leak of a test.
class TurnedAway : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    EXPECT_FALSE(Client::connect({.address = "unix:/nonexistent", .timeout = 10ms}).ok());
  }
};
class SupervisorDeath : public TurnedAway {};

Result<Client> try_to_connect(const Daemon& daemon, Plane plane) {
  return Client::connect(
      {.runtime_dir = daemon.runtime_dir(), .plane = plane, .timeout = kTooLong});
}

Client connect(const Daemon& daemon, Plane plane = Plane::kShm) {
  return try_to_connect(daemon, plane).value();
}

void expect_told(const Status& status, Reason reason, const std::vector<std::string>& words) {
  EXPECT_TRUE(status.is(reason)) << status.to_string();
  for (const std::string& word : words) {
    EXPECT_NE(status.to_string().find(word), std::string::npos) << status.to_string();
  }
}

int exit_status_of(pid_t child) {
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST_F(SupervisorDeath, AttachedClientsAreServedNewOnesToldAndTheBrokerEndsAfterTheLast) {
  Daemon daemon;
  pid_t broker = 0;
  {
    Client client = connect(daemon);
    Queue queue = client.create_queue("jobs").value();
    ASSERT_TRUE(queue.put("one").ok());
    broker = daemon.kill_supervisor();
    ASSERT_TRUE(queue.put("two").ok());
    EXPECT_EQ(client.queue("jobs").value().get()->text(), "one");
    expect_told(client.create_queue("more").status(), Reason::kDaemonUnreachable,
                {"the supervisor is gone", "restart the daemon"});
    for (const Plane plane : {Plane::kShm, Plane::kAuto}) {
      expect_told(try_to_connect(daemon, plane).status(), Reason::kBrokerAway,
                  {"the supervisor is gone", "restart the daemon", "--plane grpc"});
    }
  }
  // Nobody is attached, but something is left.
  std::this_thread::sleep_for(700ms);
  ASSERT_EQ(waitpid(broker, nullptr, WNOHANG), 0) << daemon.log();
  {
    Client rescuer = connect(daemon, Plane::kGrpc);
    EXPECT_EQ(rescuer.queue("jobs").value().get()->text(), "two");
  }
  EXPECT_EQ(exit_status_of(broker), 0) << daemon.log();
}

TEST_F(SupervisorDeath, AnotherDaemonTakesOverAndTheOldBrokerEnds) {
  Daemon daemon;
  Client client = connect(daemon);
  Queue queue = client.create_queue("jobs").value();
  ASSERT_TRUE(queue.put("one").ok());
  const pid_t broker = daemon.kill_supervisor();
  daemon.start_again();
  EXPECT_EQ(exit_status_of(broker), 0) << daemon.log();
  EXPECT_NE(daemon.log().find("another heddled serves here now"), std::string::npos);
  Client late = connect(daemon);
  EXPECT_TRUE(late.queue("jobs").status().is(Reason::kNotFound));
  EXPECT_EQ(queue.get()->text(), "one");  // what is mapped stays
}

TEST_F(TurnedAway, OneConnectionTooManyNamesTheLimit) {
  Daemon daemon({.config = R"({"connections_per_uid_max": 2})", .args = {}});
  {
    const Client one = connect(daemon), two = connect(daemon);
    expect_told(try_to_connect(daemon, Plane::kShm).status(), Reason::kQuota,
                {"as many connections as one user may", "limit 2"});
  }
  const Client one = connect(daemon, Plane::kGrpc), two = connect(daemon, Plane::kGrpc);
  expect_told(
      Client::connect({.runtime_dir = daemon.runtime_dir(), .plane = Plane::kGrpc, .timeout = 2s})
          .status(),
      Reason::kQuota, {"too many gRPC connections of this user", "limit 2"});
}

// Whatever it is that finds no descriptor.
TEST_F(TurnedAway, ABrokerWithoutDescriptorsSaysSo) {
  Daemon daemon;
  Client first = connect(daemon);
  const pid_t broker = daemon.broker_pid();
  rlimit before{};
  ASSERT_EQ(prlimit(broker, RLIMIT_NOFILE, nullptr, &before), 0);
  const std::filesystem::path fds = "/proc/" + std::to_string(broker) + "/fd";
  rlim_t limit = 0;
  for (int room = 0; room <= 2; ++limit) {
    if (std::filesystem::is_symlink(fds / std::to_string(limit))) continue;
    rlimit scarce = before;
    scarce.rlim_cur = limit;  // the first `room` free numbers are below it
    ASSERT_EQ(prlimit(broker, RLIMIT_NOFILE, &scarce, nullptr), 0);
    const Status status = try_to_connect(daemon, Plane::kShm).status();
    SCOPED_TRACE("room for " + std::to_string(room++));
    expect_told(status, Reason::kMemoryExhausted, {"file"});
  }
  ASSERT_EQ(prlimit(broker, RLIMIT_NOFILE, &before, nullptr), 0);
  EXPECT_TRUE(connect(daemon).ping().ok());
  EXPECT_TRUE(first.ping().ok());
  EXPECT_EQ(daemon.broker_pid(), broker);
}

}  // namespace
}  // namespace heddle::test
