// What happens to a daemon, or around it, as its clients meet it: a client that becomes another
// program, a new configuration, TCP, the end.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <heddle/heddle.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <string>
#include <thread>

#include "proto/local/fd.h"
#include "tests/support/daemon_fixture.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

// gRPC opens descriptors of its own once in a process; that is no leak of a test.
class ByGrpc : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    EXPECT_FALSE(Client::connect({.address = "unix:/nonexistent", .timeout = 10ms}).ok());
  }
};
class Tcp : public ByGrpc {};
class Drain : public ByGrpc {};

Client connect(const Daemon& daemon, Plane plane = Plane::kShm) {
  return Client::connect({.runtime_dir = daemon.runtime_dir(), .plane = plane, .timeout = 20s})
      .value();
}

void await_log(const Daemon& daemon, const std::string& text) {
  while (daemon.log().find(text) == std::string::npos) std::this_thread::sleep_for(5ms);
}

void configure(const Daemon& daemon, const std::string& text) {
  std::ofstream(daemon.config_file()) << text;
  daemon.signal(SIGHUP);
}

// The pidfd of such a process stays silent: its bells and its closed connection tell.
TEST(DeathByExec, WhatTheClientHeldComesBackAlthoughTheProcessLives) {
  Daemon daemon;
  Client client = connect(daemon);
  Queue queue = client
                    .create_queue("jobs", {.eos = Eos::kLastProducer,
                                           .on_producer_death = OnProducerDeath::kError})
                    .value();
  ASSERT_TRUE(queue.put("small").ok());
  ASSERT_TRUE(queue.put(std::string(5000, 'x')).ok());
  const pid_t child = fork();
  if (child == 0) {
    Queue mine = connect(daemon).queue("jobs").value();
    const Producer producer = mine.producer().value();
    const Message small = mine.get({.ack = Ack::kManual}).value();
    const Message large = mine.get({.ack = Ack::kManual}).value();
    execl("/bin/sleep", "sleep", "1000", nullptr);
    _exit(1);
  }
  while (queue.counts()->leased + queue.counts()->returned < 2) std::this_thread::sleep_for(1ms);
  for (const std::size_t size : {std::size_t{5}, std::size_t{5000}}) {
    Message again = queue.get({.ack = Ack::kManual}).value();
    EXPECT_EQ(again.size(), size);
    EXPECT_EQ(again.delivery_count(), 2u);
    EXPECT_TRUE(again.ack().ok());
  }
  EXPECT_TRUE(queue.get().status().is(Reason::kProducerDied));
  EXPECT_EQ(waitpid(child, nullptr, WNOHANG), 0);  // it lives
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

TEST(Reload, ANewConfigurationIsInForceAndABrokenOneChangesNothing) {
  Daemon daemon({.config = R"({"queue_max_len": 11})", .args = {}});
  Client client = connect(daemon);
  const auto max_len_of = [&](const std::string& name) {
    return client.create_queue(name).value().info()->options.max_len.value();
  };
  EXPECT_EQ(max_len_of("before"), 11u);
  configure(daemon, R"({"queue_max_len": 12, "objects_per_uid_max": 50})");
  await_log(daemon, "configuration reloaded");
  EXPECT_EQ(max_len_of("after"), 12u);
  EXPECT_EQ(client.queue("before")->info()->options.max_len, 11u);
  configure(daemon, R"({"queue_max_len": 13, "queue_max_lenn": 1})");
  await_log(daemon, "queue_max_lenn");
  EXPECT_EQ(max_len_of("unknown-key"), 12u);
  configure(daemon, R"({"queue_max_len": )");
  await_log(daemon, "unexpected end of input");
  EXPECT_EQ(max_len_of("no-json"), 12u);
  // And a good one again.
  configure(daemon, R"({"queue_max_len": 14})");
  while (max_len_of("good-" + std::to_string(rand())) != 14) std::this_thread::sleep_for(5ms);
  // The next broker starts with what holds now.
  daemon.kill_broker();
  EXPECT_EQ(max_len_of("next-broker"), 14u);
}

std::uint16_t free_port() {
  const local::Fd probe(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  EXPECT_EQ(bind(probe.get(), reinterpret_cast<sockaddr*>(&address), bytes), 0);
  EXPECT_EQ(getsockname(probe.get(), reinterpret_cast<sockaddr*>(&address), &bytes), 0);
  return ntohs(address.sin_port);
}

TEST_F(Tcp, LoopbackServesPlaintextToNobody) {
  const std::string address = "127.0.0.1:" + std::to_string(free_port());
  Daemon daemon({.config = R"({"listen": [")" + address + R"("]})", .args = {}});
  Client remote = Client::connect({.address = address, .timeout = 20s}).value();
  EXPECT_EQ(remote.describe().plane, Plane::kGrpc);
  EXPECT_TRUE(remote.ping().ok());
  Queue queue = remote.create_queue("jobs", {.max_len = 3}).value();
  EXPECT_EQ(queue.info()->owner_uid, 65534u);
  const std::string large(100'000, 'x');
  ASSERT_TRUE(queue.put("one").ok());
  ASSERT_TRUE(queue.put(large).ok());
  Message held = queue.get({.ack = Ack::kManual}).value();
  EXPECT_EQ(held.text(), "one");
  EXPECT_TRUE(held.nack().ok());
  EXPECT_EQ(queue.get()->text(), "one");
  EXPECT_EQ(queue.get()->text(), large);
  EXPECT_TRUE(queue.try_get().status().is(Reason::kEmpty));
  EXPECT_TRUE(queue.get_for(10ms).status().is(Reason::kTimedOut));
  ASSERT_TRUE(queue.put("last").ok());
  ASSERT_TRUE(queue.shutdown().ok());
  EXPECT_TRUE(queue.put("late").status().is(Reason::kClosed));
  EXPECT_EQ(queue.get()->text(), "last");
  EXPECT_TRUE(queue.get().status().is(Reason::kEndOfStream));
  // What belongs to a user of this machine does not exist for one from the network.
  Client local = connect(daemon);
  ASSERT_TRUE(local.create_queue("private").ok());
  if (geteuid() != 65534) {
    EXPECT_TRUE(remote.queue("private").status().is(Reason::kNotFound));
  }
  // The port outlives the broker.
  daemon.kill_broker();
  EXPECT_TRUE(queue.reopen().ok());
  EXPECT_TRUE(queue.put("again").ok());
}

TEST_F(Tcp, AnyOtherAddressIsRefusedUntilThereIsTls) {
  for (const std::string address : {"0.0.0.0:7420", "192.0.2.1:7420", "[::]:7420"}) {
    std::string log;
    try {
      const Daemon daemon({.config = R"({"listen": [")" + address + R"("]})", .args = {}});
      ADD_FAILURE() << "served on " << address;
    } catch (const std::runtime_error& error) {
      log = error.what();
    }
    EXPECT_NE(log.find(address), log.npos) << log;
    EXPECT_NE(log.find("mutual TLS"), log.npos) << log;
    EXPECT_NE(log.find("wait status 512"), log.npos) << log;  // exit status 2
  }
}

TEST_F(Drain, WaitingRemoteCallersAreToldAndNothingIsLost) {
  Daemon daemon({.config = R"({"drain_ms": 20000})", .args = {}});
  // Its timeout is how long it then looks for a daemon that may come back.
  Client client = Client::connect({.runtime_dir = daemon.runtime_dir(),
                                   .plane = Plane::kGrpc,
                                   .timeout = 2s})
                      .value();
  Queue queue = client.create_queue("jobs").value();
  Queue waiting = client.create_queue("empty").value();
  ASSERT_TRUE(queue.put("x").ok());
  const Message held = queue.get({.ack = Ack::kManual}).value();
  Status told;
  std::thread waiter([&] { told = waiting.get_for(300s).status(); });
  while (client.queue("empty").ok() && waiting.info()->attached == 0) {
    std::this_thread::sleep_for(5ms);
  }
  // Not the deadline ends the wait: stop() would find a killed broker, and the log would say so.
  EXPECT_EQ(daemon.stop(), 0);
  waiter.join();
  EXPECT_FALSE(told.ok());
  EXPECT_TRUE(told.is(Reason::kBrokerAway) || told.is(Reason::kDaemonUnreachable) ||
              told.is(Reason::kSessionLost))
      << told.to_string();
  EXPECT_EQ(daemon.log().find("killed"), std::string::npos) << daemon.log();
}

TEST_F(Drain, LocalClientsGoOnUntilTheEndAndNewOnesAreRefused) {
  Daemon daemon;
  Client client = connect(daemon);
  Queue queue = client.create_queue("jobs").value();
  ASSERT_TRUE(queue.put("x").ok());
  EXPECT_EQ(daemon.stop(), 0);
  EXPECT_EQ(queue.get()->text(), "x");  // what is mapped stays
  const Status late =
      Client::connect({.runtime_dir = daemon.runtime_dir(), .timeout = 200ms}).status();
  EXPECT_TRUE(late.is(Reason::kDaemonUnreachable)) << late.to_string();
}

}  // namespace
}  // namespace heddle::test
