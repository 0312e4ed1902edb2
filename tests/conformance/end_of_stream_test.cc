// How a stream ends: by shutdown, by its last producer, never by accident.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/conformance/planes.h"

namespace heddle::test {
namespace {

template <typename T>
class EndOfStreamTest : public ConformanceTest<T> {};
TYPED_TEST_SUITE(EndOfStreamTest, Planes, PlaneNames);

TYPED_TEST(EndOfStreamTest, ShutdownDrainsThenEndsForEverybody) {
  Queue queue = this->create();
  ASSERT_TRUE(queue.put("last").ok());
  ASSERT_TRUE(queue.shutdown().ok());
  EXPECT_TRUE(queue.shutdown().ok());
  EXPECT_TRUE(queue.counts()->closed);
  const Status closed = queue.put("late").status();
  EXPECT_TRUE(closed.is(Reason::kClosed)) << closed.to_string();
  EXPECT_TRUE(closed.outcome());
  EXPECT_EQ(queue.get()->text(), "last");
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(queue.get().status().is(Reason::kEndOfStream));
  EXPECT_TRUE(queue.try_get().status().is(Reason::kEndOfStream));
}

TYPED_TEST(EndOfStreamTest, ShutdownWakesBlockedConsumersAndProducers) {
  Queue queue = this->create({.max_len = 1});
  Queue other = this->client().create_queue(this->queue_name() + "2").value();
  ASSERT_TRUE(queue.put("fills it").ok());
  std::atomic<int> ended{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] { ended += other.get().status().is(Reason::kEndOfStream); });
    threads.emplace_back([&] { ended += queue.put("blocked").status().is(Reason::kClosed); });
  }
  std::this_thread::sleep_for(30ms);
  ASSERT_TRUE(other.shutdown().ok());
  ASSERT_TRUE(queue.shutdown().ok());
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ended, 4);
}

TYPED_TEST(EndOfStreamTest, ImmediateDiscards) {
  Queue queue = this->create();
  ASSERT_TRUE(queue.put("1").ok());
  ASSERT_TRUE(queue.shutdown(true).ok());
  EXPECT_TRUE(queue.get().status().is(Reason::kEndOfStream));
  EXPECT_EQ(queue.unfinished().value(), 0u);
}

TYPED_TEST(EndOfStreamTest, ReopenOpensAgain) {
  Queue queue = this->create();
  ASSERT_TRUE(queue.shutdown().ok());
  ASSERT_TRUE(queue.reopen().ok());
  EXPECT_TRUE(queue.reopen().ok());
  EXPECT_TRUE(queue.put("again").ok());
  EXPECT_EQ(queue.get()->text(), "again");
}

TYPED_TEST(EndOfStreamTest, LastProducerEnds) {
  Queue queue = this->create({.eos = Eos::kLastProducer});
  Producer first = queue.producer().value();
  {
    Producer second = queue.producer().value();
    EXPECT_EQ(queue.counts()->producers, 2u);
  }
  ASSERT_TRUE(queue.put("1").ok());
  EXPECT_EQ(queue.get()->text(), "1");
  EXPECT_TRUE(queue.try_get().status().is(Reason::kEmpty));
  EXPECT_TRUE(first.close().ok());
  EXPECT_TRUE(first.close().ok());
  EXPECT_TRUE(queue.get().status().is(Reason::kEndOfStream));
}

TYPED_TEST(EndOfStreamTest, ProducerThatFailsByExceptionDoesNotEndTheStream) {
  Queue queue = this->create({.eos = Eos::kLastProducer});
  try {
    Producer producer = queue.producer().value();
    throw std::runtime_error("the source broke");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(queue.counts()->producers, 1u);
  EXPECT_TRUE(queue.try_get().status().is(Reason::kEmpty));
}

template <typename T>
class ProducerDeathTest : public ConformanceTest<T> {
 protected:
  // A producer on this machine is dead at once, one over gRPC when its session's lease runs out.
  static void SetUpTestSuite() {
    ConformanceTest<T>::start_daemon({.config = R"({"session_lease_ms": 2000})", .args = {}});
  }

  // A process of its own registers, puts one message and is killed before the end.
  void die_as_producer(Queue& queue) {
    int input[2];
    ASSERT_EQ(pipe2(input, O_CLOEXEC), 0);
    const std::string program = built("bin/heddle"), runtime_dir = this->daemon().runtime_dir();
    const std::string name = this->queue_name(), plane = PlaneNames::GetName<T>(0);
    const char* const arguments[] = {
        "heddle",      "queue",      "put",           name.c_str(),        "-",
        "--lines",     "--producer", "--runtime-dir", runtime_dir.c_str(), "--plane",
        plane.c_str(), nullptr};
    const pid_t child = vfork();
    if (child == 0) {
      dup2(input[0], STDIN_FILENO);
      execv(program.c_str(), const_cast<char* const*>(arguments));
      _exit(127);
    }
    ASSERT_EQ(write(input[1], "half of it\n", 11), 11);
    while (waitpid(child, nullptr, WNOHANG) == 0 && queue.size().value() == 0) {
      std::this_thread::sleep_for(1ms);
    }
    EXPECT_EQ(queue.counts()->producers, 1u);
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    close(input[0]);
    close(input[1]);
  }
};
TYPED_TEST_SUITE(ProducerDeathTest, Planes, PlaneNames);

TYPED_TEST(ProducerDeathTest, ErrorTellsConsumersAfterTheDrain) {
  Queue queue = this->create({.eos = Eos::kLastProducer,
                              .on_producer_death = OnProducerDeath::kError});
  this->die_as_producer(queue);
  EXPECT_EQ(queue.get()->text(), "half of it");
  const Status status = queue.get().status();
  EXPECT_TRUE(status.is(Reason::kProducerDied)) << status.to_string();
  EXPECT_TRUE(queue.put("late").status().is(Reason::kClosed));
}

TYPED_TEST(ProducerDeathTest, CloseEndsTheStream) {
  Queue queue = this->create({.on_producer_death = OnProducerDeath::kClose});
  this->die_as_producer(queue);
  EXPECT_EQ(queue.get()->text(), "half of it");
  EXPECT_TRUE(queue.get().status().is(Reason::kEndOfStream));
}

TYPED_TEST(ProducerDeathTest, WaitGoesOn) {
  Queue queue = this->create({.eos = Eos::kLastProducer});
  this->die_as_producer(queue);
  EXPECT_EQ(queue.get()->text(), "half of it");
  while (queue.counts()->producers != 0) std::this_thread::sleep_for(1ms);
  EXPECT_TRUE(queue.get_for(100ms).status().is(Reason::kTimedOut));
  EXPECT_FALSE(queue.counts()->closed);
}

}  // namespace
}  // namespace heddle::test
