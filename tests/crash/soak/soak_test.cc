// Kill soak: producers, consumers and the broker are killed at random while an oracle in memory
// shared by all of them keeps the books. Every message that a producer was told is in the queue
// must
// be delivered; one that comes a second time must say so by its delivery count; nothing may be left
// behind. 10 s by default; HEDDLE_LONG=1: 60 s and at least 2,000 kills.
#include <gtest/gtest.h>
#include <heddle/heddle.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <string>
#include <thread>

#include "tests/support/daemon_fixture.h"
#include "tests/support/watchdog.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMessagesMax = 64 << 20;
constexpr int kProducers = 2;
constexpr int kWorkers = 5;
constexpr char kQueue[] = "soak";

// Shared by all processes. A message is its number; each number is put at most once.
struct Oracle {
  std::atomic<std::uint64_t> next{1};
  std::atomic<std::uint64_t> redeliveries{0};
  std::atomic<std::uint64_t> doubled{0};    // came again as if for the first time
  std::atomic<std::uint64_t> after_ack{0};  // came again although it had been acked
  std::atomic<std::uint64_t> broken{0};     // a body that nobody put
  std::atomic<std::uint64_t> refused{0};    // an operation that failed
  std::array<char, 200> why{};
  std::array<std::atomic<std::uint8_t>, kMessagesMax> put;
  std::array<std::atomic<std::uint8_t>, kMessagesMax> seen;
  std::array<std::atomic<std::uint8_t>, kMessagesMax> acked;

  void refuse(const char* what, const Status& status) {
    if (refused++ == 0) {
      std::snprintf(why.data(), why.size(), "%s: %s", what, status.to_string().c_str());
    }
  }
};

Oracle* make_oracle() {
  void* memory = mmap(nullptr, sizeof(Oracle), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : new (memory) Oracle;
}

// Sizes on both sides of inline; the whole body follows from the number.
std::string body_of(std::uint64_t number) {
  std::string body(number % 16 == 0 ? 5000 : 16 + number % 48,
                   static_cast<char>('a' + number % 26));
  std::memcpy(body.data(), &number, sizeof number);
  return body;
}

Client connect(const std::string& dir) {
  return Client::connect({.runtime_dir = dir, .plane = Plane::kShm, .timeout = 25s}).value();
}

void produce(Oracle& oracle, Queue& queue) {
  for (;;) {
    const std::uint64_t number = oracle.next++;
    if (number >= kMessagesMax) return;
    const auto id = queue.put(body_of(number));
    if (id) {
      oracle.put[number] = 1;
    } else {
      oracle.refuse("put", id.status());
    }
  }
}

// One delivery, entered into the books around its settlement.
void account(Oracle& oracle, Message& message, std::mt19937& random) {
  std::uint64_t number = 0;
  if (message.size() >= sizeof number) std::memcpy(&number, message.data().data(), sizeof number);
  if (number == 0 || number >= oracle.next || message.text() != body_of(number)) {
    ++oracle.broken;
    return;
  }
  const bool again = oracle.seen[number].exchange(1) != 0;
  if (again && message.delivery_count() < 2) ++oracle.doubled;
  if (message.delivery_count() > 1) ++oracle.redeliveries;
  if (oracle.acked[number] != 0) ++oracle.after_ack;
  if (random() % 32 == 0) {
    if (Status status = message.nack(); !status.ok()) oracle.refuse("nack", status);
    return;
  }
  if (Status status = message.ack(); status.ok()) {
    oracle.acked[number] = 1;
  } else {
    oracle.refuse("ack", status);
  }
}

void consume(Oracle& oracle, Queue& queue, unsigned seed) {
  std::mt19937 random(seed);
  Message message;
  for (;;) {
    const Status status = queue.get_into(message, kForever, {.ack = Ack::kManual});
    if (status.ok()) {
      account(oracle, message, random);
    } else {
      oracle.refuse("get", status);
    }
  }
}

pid_t start_worker(Oracle& oracle, const std::string& dir, int worker, unsigned seed) {
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(0);
  auto client = Client::connect({.runtime_dir = dir, .plane = Plane::kShm, .timeout = 25s});
  if (!client) oracle.refuse("connect", client.status());
  if (!client) _exit(1);
  auto queue = client->queue(kQueue);
  if (!queue) oracle.refuse("open", queue.status());
  if (!queue) _exit(1);
  if (worker < kProducers) {
    produce(oracle, *queue);
  } else {
    consume(oracle, *queue, seed);
  }
  _exit(0);
}

struct Kills {
  std::uint64_t clients = 0;
  std::uint64_t brokers = 0;
};

void kill_and_reap(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
}

Kills kill_for(Oracle& oracle, const Daemon& daemon, std::chrono::seconds time) {
  std::mt19937 random(static_cast<unsigned>(getpid()));
  std::array<pid_t, kWorkers> workers;
  for (int i = 0; i < kWorkers; ++i) {
    workers[i] = start_worker(oracle, daemon.runtime_dir(), i, random());
  }
  Kills kills;
  const auto end = Clock::now() + time;
  auto next_broker = Clock::now() + 500ms;
  while (Clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
    const std::size_t victim = random() % kWorkers;
    kill_and_reap(workers[victim]);
    ++kills.clients;
    workers[victim] =
        start_worker(oracle, daemon.runtime_dir(), static_cast<int>(victim), random());
    if (Clock::now() < next_broker) continue;
    const pid_t broker = daemon.broker_pid();
    if (broker > 0 && kill(broker, SIGKILL) == 0) ++kills.brokers;
    next_broker = Clock::now() + std::chrono::milliseconds(500 + random() % 1000);
  }
  for (const pid_t worker : workers) kill_and_reap(worker);
  return kills;
}

// Takes what is left, until nobody holds anything: the dead are repaired meanwhile.
void drain(Oracle& oracle, Queue& queue) {
  std::mt19937 random(1);
  while (queue.unfinished().value() > 0) {
    auto message = queue.get_for(100ms, {.ack = Ack::kManual});
    if (message) account(oracle, *message, random);
  }
}

TEST(SoakTest, EveryMessageIsAccountedForWhileEverybodyIsKilled) {
  const bool long_run = std::getenv("HEDDLE_LONG") != nullptr;
  const auto time = long_run ? 60s : 10s;
  Watchdog watchdog("soak", static_cast<unsigned>(time.count()) + 60);
  Daemon daemon;
  Oracle* oracle = make_oracle();
  ASSERT_NE(oracle, nullptr);
  { Queue queue = connect(daemon.runtime_dir()).create_queue(kQueue, {.max_len = 500}).value(); }
  const Kills kills = kill_for(*oracle, daemon, time);
  Client client = connect(daemon.runtime_dir());
  Queue queue = client.queue(kQueue).value();
  drain(*oracle, queue);

  std::uint64_t put = 0, lost = 0, settled = 0;
  const std::uint64_t numbers = oracle->next;
  for (std::uint64_t number = 1; number < numbers; ++number) {
    put += oracle->put[number];
    settled += oracle->acked[number];
    lost += oracle->put[number] != 0 && oracle->seen[number] == 0;
  }
  std::printf(
      "shown: soak; %llu clients and %llu brokers killed, %llu messages put, %llu acked, "
      "%llu redelivered\n",
      static_cast<unsigned long long>(kills.clients),
      static_cast<unsigned long long>(kills.brokers), static_cast<unsigned long long>(put),
      static_cast<unsigned long long>(settled),
      static_cast<unsigned long long>(oracle->redeliveries.load()));
  EXPECT_EQ(lost, 0u);
  EXPECT_EQ(oracle->doubled, 0u);
  EXPECT_EQ(oracle->after_ack, 0u);
  EXPECT_EQ(oracle->broken, 0u);
  EXPECT_EQ(oracle->refused, 0u) << oracle->why.data();
  EXPECT_GT(put, 1000u);
  EXPECT_EQ(queue.counts()->bytes, 0u);
  EXPECT_EQ(queue.counts()->leased, 0u);
  if (long_run) {
    EXPECT_GE(kills.clients + kills.brokers, 2000u);
  }
  munmap(oracle, sizeof(Oracle));
}

}  // namespace
}  // namespace heddle::test
