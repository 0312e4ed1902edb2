// Brokers that die, or say nothing, while a client opens its session.
#include <gtest/gtest.h>
#include <heddle/heddle.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

#include "proto/local/fd.h"
#include "tests/support/daemon_fixture.h"
#include "tests/support/temp_dir.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

// Listens as a broker would. The first connections end before WELCOME, as those to a broker that
// is killed do; what then happens is the test's.
class DyingBroker {
 public:
  explicit DyingBroker(const std::string& path) {
    socket_.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(socket_.get(), 8), 0);
  }

  // Takes a connection, reads its HELLO, and dies of it.
  void die_in_hello() {
    local::Fd peer;
    while (!stop_ && !peer) {
      wait(socket_.get());
      peer.reset(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    }
    if (!peer) return;
    wait(peer.get());
    char hello[4096];
    EXPECT_GT(::recv(peer.get(), hello, sizeof hello, 0), 0);
    ++deaths_;
  }
  void die_for_ever() {
    while (!stop_) die_in_hello();
  }
  void stop() { stop_ = true; }
  int deaths() const { return deaths_; }

 private:
  static void wait(int fd) {
    pollfd poll{.fd = fd, .events = POLLIN, .revents = 0};
    ::poll(&poll, 1, 50);
  }

  local::Fd socket_;
  std::atomic<bool> stop_{false};
  std::atomic<int> deaths_{0};
};

Result<Client> connect(const std::string& dir, std::chrono::milliseconds timeout) {
  return Client::connect({.runtime_dir = dir, .plane = Plane::kShm, .timeout = timeout});
}

TEST(BrokerRestartTest, ASessionIsOpenedByTheSuccessorOfABrokerThatDiedBeforeWelcome) {
  Daemon daemon;
  const std::string socket = daemon.runtime_dir() + "/local.sock";
  const std::string aside = daemon.state_dir() + "-local.sock";
  ASSERT_EQ(std::rename(socket.c_str(), aside.c_str()), 0);
  DyingBroker dying(socket);
  std::thread thread([&] {
    for (int i = 0; i < 3; ++i) dying.die_in_hello();
    std::rename(aside.c_str(), socket.c_str());
  });
  auto client = connect(daemon.runtime_dir(), 20s);
  dying.stop();
  thread.join();
  ASSERT_TRUE(client.ok()) << client.status().to_string();
  EXPECT_GE(dying.deaths(), 3);
  EXPECT_TRUE(client->create_queue("jobs").ok());
}

TEST(BrokerRestartTest, HangingUpIsNotCalledSilence) {
  const TempDir dir;
  DyingBroker dying(dir.file("local.sock"));
  std::thread thread([&] { dying.die_for_ever(); });
  const Status status = connect(dir.path(), 300ms).status();
  dying.stop();
  thread.join();
  EXPECT_TRUE(status.is(Reason::kBrokerAway)) << status.to_string();
  EXPECT_NE(status.message().find("hung up"), std::string::npos) << status.to_string();
  EXPECT_GT(dying.deaths(), 1);
}

TEST(BrokerRestartTest, SilenceIsCalledSilenceAndSaysHowLong) {
  const TempDir dir;
  const DyingBroker never_accepts(dir.file("local.sock"));
  const Status status = connect(dir.path(), 150ms).status();
  EXPECT_TRUE(status.is(Reason::kBrokerAway)) << status.to_string();
  EXPECT_NE(status.message().find("did not answer within 150 ms"), std::string::npos)
      << status.to_string();
}

// Works on memory alone, so only its looks at the connection, every few thousand calls, can tell
// it.
TEST(BrokerRestartTest, WhoeverNeverWaitsLearnsThatTheDaemonIsGone) {
  Daemon daemon;
  ConnectOptions options;
  options.runtime_dir = daemon.runtime_dir();
  options.plane = Plane::kShm;
  options.timeout = 200ms;
  Client client = Client::connect(options).value();
  Queue queue = client.create_queue("busy").value();
  daemon.kill_all();
  Message message;
  Status status;
  const auto give_up = std::chrono::steady_clock::now() + 20s;
  while (status.ok() && std::chrono::steady_clock::now() < give_up) {
    for (int i = 0; i < 1000 && status.ok(); ++i) {
      status = queue.try_put(Body("x")).status();
      if (status.ok()) status = queue.get_into(message, 0s);
    }
  }
  EXPECT_TRUE(status.is(Reason::kDaemonUnreachable)) << status.to_string();
}

}  // namespace
}  // namespace heddle::test
