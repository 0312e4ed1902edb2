// The byte budget of a daemon: two writers at full speed never have more real memory than it says,
// on either plane; what is refused says why; grants outlive the broker.
#include <gtest/gtest.h>
#include <heddle/heddle.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <string>
#include <thread>

#include "tests/support/daemon_fixture.h"
#include "tests/support/leak_check.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kBudget = 24 * kMiB;

class MemoryTest : public DaemonFixture, public ::testing::WithParamInterface<Plane> {
 protected:
  void SetUp() override {
    if (GetParam() == Plane::kGrpc) allow_leaks("gRPC keeps threads and descriptors");
    DaemonFixture::SetUp();
  }
  Daemon::Options options() override {
    return {.config = R"({"memory_max": )" + std::to_string(kBudget) + "}", .args = {}};
  }
  Client connect(std::chrono::milliseconds timeout = 10s) {
    auto client =
        Client::connect({.runtime_dir = runtime_dir(), .plane = GetParam(), .timeout = timeout});
    EXPECT_TRUE(client.ok()) << client.status().to_string();
    return std::move(*client);
  }
  // Real memory of all memfds of queues "m..." that the broker has open.
  std::uint64_t real_bytes() {
    std::uint64_t bytes = 0;
    const std::string fds = "/proc/" + std::to_string(daemon().broker_pid()) + "/fd";
    std::error_code gone;
    for (const auto& entry : std::filesystem::directory_iterator(fds, gone)) {
      const auto target = std::filesystem::read_symlink(entry.path(), gone);
      if (target.string().rfind("/memfd:heddle:m", 0) != 0) continue;
      struct stat info {};
      if (::stat(entry.path().c_str(), &info) == 0) {
        bytes += static_cast<std::uint64_t>(info.st_blocks) * 512;
      }
    }
    return bytes;
  }
  std::uint64_t granted_bytes() { return connect().status()->memory_bytes; }
  // Puts until something else than room is lacking; that.
  Status fill(Queue& queue, std::size_t bytes) {
    const std::string body(bytes, 'x');
    for (;;) {
      const auto id = queue.put_for(body, 10s);
      if (!id) return id.status();
    }
  }
};

TEST_P(MemoryTest, TwoWritersAtFullSpeedStayWithinIt) {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> puts{0}, refused{0}, wrong{0};
  const auto write = [&](const std::string& name, std::size_t bytes, bool drains) {
    Client client = connect();
    Queue queue = client.create_queue(name, {.max_bytes = 64 * kMiB}).value();
    while (!stop) {
      const auto id = queue.put_for(std::string(bytes, 'x'), 10s);
      puts += id.ok();
      if (id.ok()) continue;
      wrong += !id.status().is(Reason::kMemoryExhausted);
      ++refused;
      // One gives its memory away now and then, for the other to take.
      while (drains && queue.try_get().ok()) {
      }
      std::this_thread::sleep_for(drains ? 50ms : 1ms);
    }
  };
  std::thread first(write, "m/first", 30'000, false), second(write, "m/second", 300, true);
  std::uint64_t most = 0;
  for (int i = 0; i < 400; ++i) {
    most = std::max(most, real_bytes());
    ASSERT_LE(most, kBudget);
    std::this_thread::sleep_for(5ms);
  }
  stop = true;
  first.join();
  second.join();
  EXPECT_GT(puts, 100u);
  EXPECT_GT(refused, 1u);
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(most, kBudget / 2) << "the budget was never put to use";
  EXPECT_LE(granted_bytes(), kBudget);
}

TEST_P(MemoryTest, GrowsAsItIsNeededAndSaysWhenItMayNot) {
  Client client = connect();
  Queue queue = client.create_queue("m/q", {.max_bytes = 256 * kMiB}).value();
  EXPECT_LT(granted_bytes(), kMiB);
  ASSERT_TRUE(queue.put(std::string(5 * kMiB, 'r')).ok()) << "a run, all at once";
  EXPECT_GT(granted_bytes(), 5 * kMiB);
  const Status status = fill(queue, 100'000);
  EXPECT_TRUE(status.is(Reason::kMemoryExhausted)) << status.to_string();
  EXPECT_EQ(status.object(), "queue m/q");
  EXPECT_NE(status.message().find("memory_max is reached"), std::string::npos);
  EXPECT_NE(status.message().find("take messages out"), std::string::npos);
  EXPECT_EQ(status.limit(), kBudget);
  EXPECT_LE(status.actual(), kBudget);
  EXPECT_GT(status.actual(), kBudget - 300'000);
  EXPECT_TRUE(client.create_queue("m/other").status().is(Reason::kMemoryExhausted));
  ASSERT_TRUE(client.delete_queue("m/q").ok());
  EXPECT_EQ(granted_bytes(), 0u);
  Queue other = client.create_queue("m/other").value();
  EXPECT_TRUE(other.put(std::string(5 * kMiB, 'r')).ok());
}

TEST_P(MemoryTest, ALoanAndManySmallOnesAskAsWell) {
  Client client = connect();
  Queue queue = client.create_queue("m/q").value();
  Loan loan = queue.loan(3 * kMiB).value();
  ASSERT_TRUE(loan.commit(3 * kMiB).ok());
  const unsigned small = GetParam() == Plane::kShm ? 20'000 : 4'000;
  for (unsigned i = 0; i < small; ++i) ASSERT_TRUE(queue.put("small").ok());
  EXPECT_EQ(queue.size().value(), small + 1);
  EXPECT_GT(granted_bytes(), 3 * kMiB + small * 128u);
  EXPECT_TRUE(queue.shutdown().ok());
}

TEST_P(MemoryTest, GrantsOutliveTheBroker) {
  Client client = connect();
  Queue queue = client.create_queue("m/q").value();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(queue.put(std::string(60'000, 'x')).ok());
  const std::uint64_t before = granted_bytes();
  daemon().kill_broker();
  // What is not used may have been given back in between.
  EXPECT_GT(granted_bytes(), 100u * 65'536);
  EXPECT_LE(granted_bytes(), before);
  const Status status = fill(queue, 60'000);
  EXPECT_TRUE(status.is(Reason::kMemoryExhausted)) << status.to_string();
  EXPECT_EQ(status.limit(), kBudget);
  EXPECT_LE(real_bytes(), kBudget);
}

// Killed at any moment, while it grants or is asked to.
TEST_P(MemoryTest, ABrokerThatDiesWhileItGrantsLosesNothing) {
  Client client = connect(20s);
  Queue queue = client.create_queue("m/q").value();
  std::atomic<bool> stop{false};
  Status ended;
  std::uint64_t puts = 0, gets = 0;
  std::thread writer([&] {
    while (!stop && ended.ok()) {
      for (int i = 0; i < 150 && ended.ok(); ++i, ++puts) {
        ended = queue.put_for(std::string(60'000, 'x'), 20s).status();
      }
      while (ended.ok() && gets < puts) {
        ended = queue.get_for(20s).status();
        ++gets;
      }
    }
  });
  constexpr int kKills = 5;
  for (int i = 0; i < kKills; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100 + 37 * i));
    daemon().kill_broker();
    EXPECT_LE(real_bytes(), kBudget);
  }
  stop = true;
  writer.join();
  EXPECT_TRUE(ended.ok()) << ended.to_string();
  // Over gRPC a get that a broker died of may have been delivered, and come again.
  const std::uint64_t again = GetParam() == Plane::kGrpc ? kKills : 0;
  EXPECT_GE(queue.size().value(), puts - gets);
  EXPECT_LE(queue.size().value(), puts - gets + again);
  EXPECT_LE(granted_bytes(), kBudget);
}

std::string plane_of(const ::testing::TestParamInfo<Plane>& info) {
  return info.param == Plane::kShm ? "Shm" : "Grpc";
}

INSTANTIATE_TEST_SUITE_P(Planes, MemoryTest, ::testing::Values(Plane::kShm, Plane::kGrpc),
                         plane_of);

class LocalMemoryTest : public DaemonFixture {
 protected:
  Client connect() {
    return Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm, .timeout = 5s})
        .value();
  }
};

// Stopped, it answers nobody; the listener is there. The supervisor does not mind for a while.
TEST_F(LocalMemoryTest, WhileTheBrokerIsAwayThePutWaitsWithinItsTimeout) {
  Client client = connect();
  Queue queue = client.create_queue("q").value();
  const std::string body(60'000, 'x');
  const pid_t broker = daemon().broker_pid();
  ASSERT_EQ(::kill(broker, SIGSTOP), 0);
  // What is granted is enough for these.
  ASSERT_TRUE(queue.put_for(body, 1s).ok());
  ASSERT_TRUE(queue.put_for("small", 1s).ok());
  Status status;
  for (int i = 0; i < 10 && status.ok(); ++i) status = queue.try_put(body).status();
  EXPECT_TRUE(status.is(Reason::kBrokerAway)) << status.to_string();
  EXPECT_EQ(status.object(), "queue q");
  const auto began = std::chrono::steady_clock::now();
  status = queue.put_for(body, 700ms).status();
  EXPECT_TRUE(status.is(Reason::kBrokerAway)) << status.to_string();
  EXPECT_GE(std::chrono::steady_clock::now() - began, 700ms);
  // What needs no more goes on.
  EXPECT_TRUE(queue.put_for("small", 1s).ok());
  EXPECT_EQ(queue.get_for(1s)->size(), body.size());
  std::thread wakes([&] {
    std::this_thread::sleep_for(300ms);
    ::kill(broker, SIGCONT);
  });
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(queue.put_for(body, 20s).ok());
  wakes.join();
}

}  // namespace
}  // namespace heddle::test
