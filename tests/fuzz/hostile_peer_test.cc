// A client that writes random words all over a queue that it has open, or all over its own session
// page, while the real broker looks at that queue, puts into it, reaps the client and deletes it.
// The broker stays the same process, and another client's queue is exact to the last message. Under
// the sanitizers the broker is a sanitized one.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "tests/integration/attach_client.h"
#include "tests/support/daemon_fixture.h"

namespace heddle::test {
namespace {

using Clock = std::chrono::steady_clock;

// Words of the queue that are not bodies lie here, and the first bodies.
constexpr uint64_t kAttackedBytes = 256 * 1024;

// Mostly small changes of words in use: they get further than noise does.
void change_a_word(void* base, uint64_t bytes, std::mt19937_64& random) {
  const uint64_t reach = random() % 2 ? 8192 : kAttackedBytes;
  auto* words = static_cast<std::atomic<uint64_t>*>(base);
  auto& word = words[random() % (std::min(bytes, reach) / 8)];
  switch (random() % 4) {
    case 0:
      word.store(random());
      break;
    case 1:
      word.fetch_add(random() % 32);
      break;
    default:
      word.fetch_xor(uint64_t{1} << (random() % 64));
  }
}

class HostilePeer : public DaemonFixture {
 protected:
  // A process that opens `queue`, fills it a little, holds a lease, says so, and then only harms.
  pid_t start_peer(const std::string& queue, bool page, uint64_t seed) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    const pid_t peer = ::fork();
    if (peer == 0) {
      AttachClient mine(runtime_dir());
      if (!mine.hello() || !mine.open(queue, local::kOpenCreate, small_limits())) ::_exit(1);
      for (int i = 0; i < 20; ++i) (void)mine.put(std::string(i % 2 ? 5 : 300, 'x'));
      shm::Taken taken;
      for (int i = 0; i < 5; ++i) (void)mine.take(shm::TakeMode::kLease, &taken, 0);
      (void)!::write(ends[1], "x", 1);
      std::mt19937_64 random(seed);
      void* const base = page ? static_cast<void*>(mine.header) : mine.base();
      const uint64_t bytes = page ? mine.welcome.page_bytes : mine.opened.bytes;
      for (;;) change_a_word(base, bytes, random);
    }
    ::close(ends[1]);
    char byte;
    EXPECT_EQ(::read(ends[0], &byte, 1), 1) << "the peer did not get its queue";
    ::close(ends[0]);
    return peer;
  }
  static local::QueueOptionsWire small_limits() {
    local::QueueOptionsWire options{};
    options.given = local::kGivenMaxLen | local::kGivenMaxBytes | local::kGivenMaxMsgBytes;
    options.max_len = 300;
    options.max_bytes = 1 << 20;
    options.max_msg_bytes = 64 * 1024;
    return options;
  }
  // Everything that makes the broker touch a queue for a client.
  void let_the_broker_work_on(AttachClient& client, const std::string& queue, uint64_t object) {
    const std::string name = R"({"kind":"queue","name":")" + queue + "\"}";
    (void)client.call(local::CallMethod::kDescribe, name);
    (void)client.call(local::CallMethod::kWho, name);
    (void)client.call(local::CallMethod::kList, R"({"kind":"queue"})");
    (void)client.call(local::CallMethod::kSessions, "{}");
    (void)client.call(local::CallMethod::kStats, "{}");
    const std::string body(puts_ % 2 ? 5 : 300, 'y');
    local::PutFenced put{};
    put.object_id = object;
    put.number = ++puts_;
    put.token = 1;
    put.body_bytes = body.size();
    std::strncpy(put.name, queue.c_str(), sizeof put.name - 1);
    std::strncpy(put.lock, "nobody", sizeof put.lock - 1);
    ASSERT_TRUE(client.send(AttachType::kPutFenced, put, body));
    (void)client.receive(AttachType::kPutDone);
    ASSERT_FALSE(client.closed()) << daemon().log();
  }
  void erase(AttachClient& client, const std::string& queue) {
    local::Delete request{1, {}, {}};
    std::strncpy(request.name, queue.c_str(), sizeof request.name - 1);
    ASSERT_TRUE(client.send(AttachType::kDelete, request));
    EXPECT_TRUE(client.receive(AttachType::kDone)) << queue << ": " << client.failure();
  }
  uint64_t object_of(AttachClient& client, const std::string& queue) {
    const std::string text =
        client.call(local::CallMethod::kDescribe, R"({"kind":"queue","name":")" + queue + "\"}");
    const size_t at = text.find("\"id\":");
    return at == text.npos ? 0 : std::stoull(text.substr(at + 5));
  }
  uint64_t puts_ = 0;
};

TEST_F(HostilePeer, TheBrokerStaysAndAnothersQueueIsExact) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  const auto seconds = std::chrono::seconds(std::getenv("HEDDLE_LONG") ? 25 : 5);
  const pid_t broker = daemon().broker_pid();
  AttachClient good(runtime_dir()), looker(runtime_dir());
  ASSERT_TRUE(good.hello() && looker.hello());
  ASSERT_TRUE(good.open("good", local::kOpenCreate));
  uint64_t messages = 0, rounds = 0;
  for (const auto until = Clock::now() + seconds; Clock::now() < until; ++rounds) {
    const std::string evil = "evil" + std::to_string(rounds);
    const pid_t peer = start_peer(evil, rounds % 3 == 2, seed + rounds);
    const uint64_t object = object_of(looker, evil);
    for (const auto end = Clock::now() + std::chrono::milliseconds(200); Clock::now() < end;) {
      let_the_broker_work_on(looker, evil, object);
      for (int i = 0; i < 20; ++i) {
        const std::string body = std::to_string(++messages);
        ASSERT_EQ(good.put(body), shm::Outcome::kOk);
        shm::Taken taken;
        ASSERT_EQ(good.take(shm::TakeMode::kAuto, &taken, 5'000), shm::Outcome::kOk);
        ASSERT_EQ(std::string(reinterpret_cast<const char*>(taken.data), taken.length), body);
      }
    }
    ::kill(peer, SIGKILL);
    ::waitpid(peer, nullptr, 0);
    erase(looker, evil);  // while it is being reaped, or after
    ASSERT_EQ(daemon().broker_pid(), broker) << daemon().log();
  }
  EXPECT_EQ(good.queue.counts().unfinished(), 0u);
  EXPECT_STREQ(good.queue.audit(), nullptr);
  AttachClient late(runtime_dir());
  EXPECT_TRUE(late.hello() && late.open("good", 0));
  size_t damaged = 0;
  const std::string log = daemon().log();
  for (size_t at = 0; (at = log.find("out of service", at)) != log.npos; ++at) ++damaged;
  std::printf(
      "shown: hostile peer; %llu rounds, %zu queues found damaged, %llu messages of the other "
      "queue exact\n",
      static_cast<unsigned long long>(rounds), damaged, static_cast<unsigned long long>(messages));
}

}  // namespace
}  // namespace heddle::test
