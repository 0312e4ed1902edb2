// Many clients at once, as threads over one mapping, so that ThreadSanitizer sees both sides of
// every word.
#include <array>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "tests/unit/shm/queue_fixture.h"

namespace heddle::shm {
namespace {

#if defined(__SANITIZE_THREAD__)
constexpr uint32_t kPerProducer = 1'500;
constexpr int kRounds = 15;
#else
constexpr uint32_t kPerProducer = 10'000;
constexpr int kRounds = 60;
#endif
constexpr uint32_t kProducers = 2;

/// A body tells who put it, the how many-th it is, and fills the rest with what follows from that.
std::vector<uint8_t> make_body(uint32_t producer, uint32_t n, size_t bytes) {
  std::vector<uint8_t> body(bytes, static_cast<uint8_t>(producer * 7 + n));
  std::memcpy(body.data(), &producer, 4);
  std::memcpy(body.data() + 4, &n, 4);
  return body;
}

/// What became of every message that was put.
class Ledger {
 public:
  /// Notes the end of one message; false if the body is damaged or the message had ended already.
  bool end(const Taken& t) {
    uint32_t producer, n;
    if (!read(t, &producer, &n)) return false;
    ended_.fetch_add(1);
    return seen_[producer * kPerProducer + n].exchange(1) == 0;
  }
  static bool read(const Taken& t, uint32_t* producer, uint32_t* n) {
    if (t.length < 8) return false;
    std::memcpy(producer, t.data, 4);
    std::memcpy(n, t.data + 4, 4);
    if (*producer >= kProducers || *n >= kPerProducer) return false;
    const auto* bytes = reinterpret_cast<const uint8_t*>(t.data);
    const uint8_t fill = static_cast<uint8_t>(*producer * 7 + *n);
    for (uint64_t i = 8; i < t.length; ++i)
      if (bytes[i] != fill) return false;
    return true;
  }
  uint64_t ended() const { return ended_.load(); }

 private:
  std::vector<std::atomic<uint8_t>> seen_ =
      std::vector<std::atomic<uint8_t>>(kProducers * kPerProducer);
  std::atomic<uint64_t> ended_{0};
};

void put_all(QueueSegment& segment, uint16_t owner, uint32_t producer, int64_t deadline_ns) {
  Actor a = segment.actor(owner);
  std::mt19937 random(producer);
  for (uint32_t n = 0; n < kPerProducer; ++n) {
    const size_t bytes = random() % 4 == 0 ? 8 + random() % 3000 : 8 + random() % 80;
    const auto body = make_body(producer, n, bytes);
    uint64_t id;
    Outcome outcome;
    do {
      outcome = segment.queue().put(a, {body.data(), body.size(), 0}, deadline_ns, &id);
      if (outcome == Outcome::kFull) std::this_thread::yield();
    } while (outcome == Outcome::kFull);
    EXPECT_EQ(outcome, Outcome::kOk);
  }
  segment.queue().leave(a);
}

TEST(QueueThreads, BlockingPutsAndTakesInATinyQueueUntilTheEnd) {
  QueueLimits limits = small_limits();
  limits.max_len = 3;
  QueueSegment segment(limits);
  Queue& q = segment.queue();
  Ledger ledger;
  std::vector<std::thread> producers, consumers;
  for (uint16_t i = 0; i < kProducers; ++i)
    producers.emplace_back([&, i] { put_all(segment, 1 + i, i, kForever); });
  for (uint16_t i = 0; i < 2; ++i) {
    consumers.emplace_back([&, i] {
      Actor a = segment.actor(10 + i);
      std::array<int64_t, kProducers> last{-1, -1};
      Taken t;
      Outcome outcome;
      while ((outcome = q.take(a, TakeMode::kAuto, &t, kForever)) == Outcome::kOk) {
        uint32_t producer, n;
        ASSERT_TRUE(Ledger::read(t, &producer, &n));
        EXPECT_GT(static_cast<int64_t>(n), last[producer]);
        last[producer] = n;
        EXPECT_TRUE(ledger.end(t));
        if (t.leased) {
          EXPECT_EQ(q.ack(a, t.ticket), Outcome::kOk);
        }
      }
      EXPECT_EQ(outcome, Outcome::kEndOfStream);
      q.leave(a);
    });
  }
  for (auto& t : producers) t.join();
  Actor a = segment.actor(20);
  EXPECT_EQ(q.join(a, kForever), Outcome::kOk);
  EXPECT_EQ(q.shutdown(a, false), Outcome::kOk);
  for (auto& t : consumers) t.join();
  EXPECT_EQ(ledger.ended(), uint64_t{kProducers} * kPerProducer);
  EXPECT_STREQ(q.audit(), nullptr);
}

TEST(QueueThreads, NothingIsPutAfterTheEndAndNothingBeforeItIsLost) {
  for (int round = 0; round < kRounds; ++round) {
    QueueSegment segment(small_limits());
    Queue& q = segment.queue();
    std::atomic<uint64_t> puts{0}, takes{0};
    std::atomic<int> ready{0};
    std::vector<std::thread> threads;
    for (uint16_t i = 0; i < 2; ++i) {
      threads.emplace_back([&, i] {
        Actor a = segment.actor(1 + i);
        ++ready;
        Outcome outcome;
        while ((outcome = put(q, a, "body")) != Outcome::kClosed) {
          EXPECT_TRUE(outcome == Outcome::kOk || outcome == Outcome::kFull);
          puts += outcome == Outcome::kOk;
        }
      });
      threads.emplace_back([&, i] {
        Actor a = segment.actor(10 + i);
        Taken t;
        Outcome outcome;
        bool back = false;
        while ((outcome = q.take(a, back ? TakeMode::kAuto : TakeMode::kLease, &t, kForever)) ==
               Outcome::kOk) {
          back = t.leased && !back;
          if (back) {
            EXPECT_EQ(q.nack(a, t.ticket, true), Outcome::kOk);
          } else {
            if (t.leased) {
              EXPECT_EQ(q.ack(a, t.ticket), Outcome::kOk);
            }
            ++takes;
          }
        }
        EXPECT_EQ(outcome, Outcome::kEndOfStream);
      });
    }
    Actor a = segment.actor(20);
    while (ready < 2) std::this_thread::yield();
    for (int i = 0; i < round % 8; ++i) std::this_thread::yield();
    EXPECT_EQ(q.shutdown(a, false), Outcome::kOk);
    for (auto& t : threads) t.join();
    EXPECT_EQ(puts.load(), takes.load());
    EXPECT_STREQ(q.audit(), nullptr);
  }
}

/// Leases, and ends each lease in one of four ways.
void lease_some(QueueSegment& segment, Ledger& ledger, uint16_t owner,
                const std::atomic<bool>& stop) {
  Queue& q = segment.queue();
  Actor a = segment.actor(owner);
  std::mt19937 random(owner);
  Taken t;
  while (!stop) {
    const Outcome taken = q.take(a, TakeMode::kLease, &t, kTry);
    if (taken != Outcome::kOk) {
      EXPECT_TRUE(taken == Outcome::kEmpty || taken == Outcome::kTooManyLeases);
      std::this_thread::yield();
      continue;
    }
    uint32_t producer, n;
    EXPECT_TRUE(Ledger::read(t, &producer, &n));
    const unsigned way = random() % 8;
    Outcome outcome;
    if (way == 0) {
      outcome = q.bury(a, t.ticket);
    } else if (way < 4) {
      outcome = q.nack(a, t.ticket, way == 1);
    } else {
      // The body is read before the ack: afterwards the chunk may hold another one.
      std::vector<std::byte> copy(t.data, t.data + t.length);
      t.data = copy.data();
      outcome = q.ack(a, t.ticket);
      if (outcome == Outcome::kOk) {
        EXPECT_TRUE(ledger.end(t));
      }
    }
    EXPECT_TRUE(outcome == Outcome::kOk || outcome == Outcome::kLeaseLost);
  }
  q.leave(a);
}

void look_around(QueueSegment& segment, const std::atomic<bool>& stop) {
  Queue& q = segment.queue();
  std::vector<BrowseRow> rows(20);
  std::vector<uint8_t> body(kInlineBytes);
  while (!stop) {
    const size_t n = q.browse(rows.data(), rows.size(), 0, kAllMask);
    for (size_t i = 0; i < n; ++i) {
      if (i > 0) {
        EXPECT_LT(rows[i - 1].id, rows[i].id);
      }
      // Bodies in chunks are copied under the word's eye while they change: not for the sanitizer.
      if (rows[i].ticket.chunk == kChunkNone) q.read_body(rows[i], body.data(), body.size());
    }
    EXPECT_LE(q.size(), small_limits().max_len + small_limits().max_leases);
    (void)q.counts();
    std::this_thread::yield();
  }
}

TEST(QueueThreads, EverythingAtOnce) {
  QueueLimits limits = small_limits();
  limits.max_deliveries = 5;
  QueueSegment segment(limits);
  Queue& q = segment.queue();
  Ledger ledger;
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> purged{0};
  std::vector<std::thread> producers, others;
  for (uint16_t i = 0; i < kProducers; ++i)
    producers.emplace_back([&, i] { put_all(segment, 1 + i, i, i == 0 ? kForever : kTry); });
  for (uint16_t i = 0; i < 2; ++i)
    others.emplace_back([&, i] { lease_some(segment, ledger, 10 + i, stop); });
  others.emplace_back([&] {
    Actor a = segment.actor(12);
    std::vector<std::byte> room(512 * 1024);
    for (unsigned turn = 0; !stop; ++turn) {
      Taken t;
      t.large_room = room.data();
      t.large_room_bytes = turn % 2 == 0 ? room.size() : 0;
      if (q.take(a, TakeMode::kAuto, &t, kTry) != Outcome::kOk) continue;
      EXPECT_TRUE(!t.leased || (turn % 2 == 1 && t.length > kInlineBytes));
      std::vector<std::byte> copy(t.data, t.data + t.length);
      t.data = copy.data();
      if (!t.leased || q.ack(a, t.ticket) == Outcome::kOk) {
        EXPECT_TRUE(ledger.end(t));
      }
    }
    q.leave(a);
  });
  others.emplace_back([&] {
    Actor a = segment.actor(13);
    std::mt19937 random(13);
    for (unsigned turn = 0; !stop; ++turn) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      uint64_t n = 0;
      uint32_t kicked = 0;
      if (turn % 4 == 0) {
        EXPECT_EQ(q.kick(a, 5, &kicked), Outcome::kOk);
      }
      if (turn % 4 == 1) {
        EXPECT_EQ(q.purge(a, 1u << (random() % 4), &n), Outcome::kOk);
      }
      if (turn % 4 == 2) q.rescan(a);
      purged += n;
      BrowseRow row;
      if (turn % 4 == 3 && q.browse(&row, 1, random() % (2 * kPerProducer), kAllMask) == 1)
        purged += q.purge_one(a, row.id) == Outcome::kOk;
    }
    q.leave(a);
  });
  others.emplace_back([&] { look_around(segment, stop); });
  for (auto& t : producers) t.join();
  stop = true;
  for (auto& t : others) t.join();
  Actor a = segment.actor(20);
  uint64_t rest = 0;
  EXPECT_EQ(q.purge(a, kAllMask, &rest), Outcome::kOk);
  EXPECT_EQ(q.counts().revoked, 0u);
  EXPECT_EQ(ledger.ended() + purged + rest, uint64_t{kProducers} * kPerProducer);
  EXPECT_STREQ(q.audit(), nullptr);
}

}  // namespace
}  // namespace heddle::shm
