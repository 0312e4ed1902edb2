// A peer writes random words all over a queue's segment while the broker's calls run on it. Nothing
// may crash, run out of the mapping or hang; a queue in another segment is not disturbed. Bites
// under the sanitizers, where a read outside the mapping or a wild shift ends the test.
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <vector>

#include "tests/unit/shm/queue_fixture.h"

namespace heddle::shm {
namespace {

/// Everything before the bodies: header, rows, segment, extent and chunk words, some slots.
uint64_t attacked_bytes(const QueueLimits& limits) {
  return QueueGeometry::of(limits).slots_at + 4 * kSlotsPerSegment * sizeof(Slot);
}

/// Never returns. Mostly small changes of words in use: they get further than noise does.
[[noreturn]] void attack(void* base, uint64_t bytes, unsigned seed) {
  auto* words = static_cast<std::atomic<uint64_t>*>(base);
  std::mt19937_64 random(seed);
  for (;;) {
    auto& word = words[random() % (bytes / 8)];
    switch (random() % 4) {
      case 0: word.store(random()); break;
      case 1: word.fetch_xor(uint64_t{1} << (random() % 64)); break;
      case 2: word.fetch_add(random() % 32); break;
      default: if (word.load() != 0) word.fetch_xor(uint64_t{1} << (random() % 64));
    }
  }
}

class Broker {
 public:
  Broker(QueueSegment& segment, unsigned seed) : segment_(segment), random_(seed), body_(300'000) {
    actor_ = segment.actor(1);
  }

  void one_call() {
    Queue& q = segment_.queue();
    uint64_t n64 = 0;
    uint32_t n32 = 0;
    Taken t;
    BrowseRow rows[8];
    switch (random_() % 16) {
      case 0: case 1: case 2: {
        const uint64_t length = random_() % 3 ? random_() % 97 : random_() % 200'000;
        q.put(actor_, {body_.data(), length, 0}, kTry, &n64);
        break;
      }
      case 3: case 4: case 5: {
        const TakeMode mode = random_() % 2 ? TakeMode::kAuto : TakeMode::kLease;
        if (q.take(actor_, mode, &t, kTry) != Outcome::kOk) break;
        for (uint64_t i = 0; i < t.length; i += 64) sum_ += static_cast<unsigned>(t.data[i]);
        if (t.leased) random_() % 2 ? q.ack(actor_, t.ticket) : q.nack(actor_, t.ticket, true);
        break;
      }
      case 6: q.rescan(actor_); break;
      case 7: q.settle(actor_); break;
      case 8: {
        const size_t n = q.browse(rows, 8, random_() % 100, kAllMask);
        for (size_t i = 0; i < n; ++i) q.read_body(rows[i], body_.data(), body_.size());
        break;
      }
      case 9: n64 = q.size() + q.unfinished() + q.counts().size(); break;
      case 10: q.kick(actor_, 3, &n32); break;
      case 11: q.purge(actor_, kAllMask, &n64); break;
      case 12: random_() % 2 ? q.shutdown(actor_, random_() % 2) : q.reopen(actor_); break;
      case 13: q.trim(actor_); break;
      case 14: {
        JournalLine* line = segment_.line(5);
        line->op = static_cast<uint32_t>(random_() % 8);
        line->object = 7;
        line->place = random_();
        line->chunk = static_cast<uint32_t>(random_());
        line->row = static_cast<uint32_t>(random_() % 2000);
        q.reap(actor_, 5, line, 1, {});
        break;
      }
      default: {
        Loan loan;
        if (q.loan(actor_, random_() % 200'000, &loan) != Outcome::kOk) break;
        if (random_() % 2) q.commit(actor_, loan, loan.capacity / 2, 0, kTry, &n64);
        q.discard(actor_, loan);
      }
    }
  }

 private:
  QueueSegment& segment_;
  Actor actor_;
  std::mt19937_64 random_;
  std::vector<std::byte> body_;
  unsigned sum_ = 0;
};

TEST(HostileSegment, BrokerStaysUpAndOtherQueuesAreServed) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  const auto seconds = std::chrono::seconds(std::getenv("HEDDLE_LONG") ? 25 : 5);
  const QueueLimits limits = small_limits();
  QueueSegment healthy(limits, 8);
  Actor user = healthy.actor(3);
  uint64_t calls = 0;
  const auto until = std::chrono::steady_clock::now() + seconds;
  for (unsigned round = 0; std::chrono::steady_clock::now() < until; ++round) {
    QueueSegment target(limits);
    Broker broker(target, seed + round);
    for (int i = 0; i < 200; ++i) broker.one_call();
    const pid_t peer = fork();
    if (peer == 0) attack(target.base(), attacked_bytes(limits), seed + round);
    const auto round_end = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
    while (std::chrono::steady_clock::now() < round_end) {
      broker.one_call();
      ++calls;
      const std::string body = std::to_string(calls);
      ASSERT_EQ(put(healthy.queue(), user, body), Outcome::kOk);
      ASSERT_EQ(get(healthy.queue(), user), body);
    }
    kill(peer, SIGKILL);
    waitpid(peer, nullptr, 0);
  }
  std::printf("shown: hostile peer; %llu calls survived\n", static_cast<unsigned long long>(calls));
  EXPECT_GT(calls, 0u);
  EXPECT_STREQ(healthy.queue().audit(), nullptr);
}

}  // namespace
}  // namespace heddle::shm
