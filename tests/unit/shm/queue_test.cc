#include <memory>
#include <random>
#include <vector>

#include "tests/unit/shm/queue_fixture.h"

namespace heddle::shm {
namespace {

constexpr char kEmptyText[] = "<1>";

class QueueTest : public ::testing::Test {
 protected:
  void use(const QueueLimits& limits) {
    segment_ = std::make_unique<QueueSegment>(limits);
    a_ = segment_->actor(1);
    b_ = segment_->actor(2);
  }
  void SetUp() override { use(small_limits()); }
  void TearDown() override { EXPECT_STREQ(q().audit(), nullptr); }
  Queue& q() { return segment_->queue(); }
  Taken lease(Actor& a) {
    Taken t{};
    EXPECT_EQ(q().take(a, TakeMode::kLease, &t, kTry), Outcome::kOk);
    return t;
  }

  std::unique_ptr<QueueSegment> segment_;
  Actor a_, b_;
};

TEST_F(QueueTest, KeepsOrderOverManyLapsAndSizes) {
  std::mt19937 random(1);
  std::deque<std::string> model;
  for (int i = 0; i < 20'000; ++i) {
    if (model.size() < 200 && random() % 2) {
      model.push_back(std::string(random() % 8 ? random() % 97 : random() % 5000, 'a' + i % 26));
      ASSERT_EQ(put(q(), a_, model.back()), Outcome::kOk);
    } else if (model.empty()) {
      ASSERT_EQ(get(q(), b_), kEmptyText);
    } else {
      ASSERT_EQ(get(q(), b_), model.front());
      model.pop_front();
    }
    if (i % 1000 == 0) {
      ASSERT_EQ(q().size(), model.size());
    }
  }
}

TEST_F(QueueTest, ALargeBodyIsCopiedIntoTheRoomThatFitsIt) {
  const std::string body(5000, 'L');
  std::vector<std::byte> room(5000);
  for (const size_t bytes : {room.size(), room.size() - 1}) {
    ASSERT_EQ(put(q(), a_, body), Outcome::kOk);
    Taken t;
    t.large_room = room.data();
    t.large_room_bytes = bytes;
    ASSERT_EQ(q().take(b_, TakeMode::kAuto, &t, kTry), Outcome::kOk);
    const bool fits = bytes == room.size();
    EXPECT_EQ(t.leased, !fits);
    EXPECT_EQ(t.data == room.data(), fits);
    EXPECT_EQ(body_of(t), body);
    EXPECT_EQ(q().counts().leased, fits ? 0u : 1u);
    if (t.leased) {
      EXPECT_EQ(q().ack(b_, t.ticket), Outcome::kOk);
    }
    EXPECT_EQ(q().counts().bytes, 0u);
  }
  q().trim(a_);
  EXPECT_EQ(q().usage().backed_bytes, 0u) << "the chunk was freed with the message";
}

TEST_F(QueueTest, IdsGrowAndStartAtOne) {
  uint64_t first = 0, second = 0;
  ASSERT_EQ(put(q(), a_, "x", &first), Outcome::kOk);
  ASSERT_EQ(put(q(), a_, "y", &second), Outcome::kOk);
  EXPECT_EQ(first, 1u);
  EXPECT_EQ(second, 2u);
}

TEST_F(QueueTest, FullAtExactlyMaxLenAlsoAcrossLaps) {
  for (int lap = 0; lap < 5; ++lap) {
    int n = 0;
    while (put(q(), a_, "m") == Outcome::kOk) ++n;
    EXPECT_EQ(n, 300);
    EXPECT_EQ(q().size(), 300u);
    for (int i = 0; i < 300; ++i) ASSERT_EQ(get(q(), b_), "m");
    for (int i = 0; i < 17; ++i) {  // shift against the segment borders
      ASSERT_EQ(put(q(), a_, "s"), Outcome::kOk);
      ASSERT_EQ(get(q(), b_), "s");
    }
  }
}

TEST_F(QueueTest, LeasesDoNotCountAgainstMaxLenButReturnsDo) {
  for (int i = 0; i < 300; ++i) ASSERT_EQ(put(q(), a_, std::to_string(i)), Outcome::kOk);
  Taken t = lease(b_);
  EXPECT_EQ(body_of(t), "0");
  EXPECT_EQ(put(q(), a_, "more"), Outcome::kOk);
  EXPECT_EQ(put(q(), a_, "too many"), Outcome::kFull);
  EXPECT_EQ(q().nack(b_, t.ticket, true), Outcome::kOk);
  EXPECT_EQ(q().size(), 301u);
  EXPECT_EQ(put(q(), a_, "too many"), Outcome::kFull);
  EXPECT_EQ(get(q(), b_), "0");
  EXPECT_EQ(get(q(), b_), "1");
  EXPECT_EQ(put(q(), a_, "fits"), Outcome::kOk);
}

TEST_F(QueueTest, MaxLenIsExactAroundPinnedSlots) {
  QueueLimits limits = small_limits();
  limits.max_len = 10;
  use(limits);
  ASSERT_EQ(put(q(), a_, "pinned"), Outcome::kOk);
  const Taken pinned = lease(b_);
  for (int lap = 0; lap < 600; ++lap) {
    for (int i = 0; i < 10; ++i) ASSERT_EQ(put(q(), a_, "x"), Outcome::kOk) << lap << " " << i;
    ASSERT_EQ(put(q(), a_, "x"), Outcome::kFull) << lap;
    ASSERT_EQ(q().size(), 10u);
    for (int i = 0; i < 10; ++i) ASSERT_EQ(get(q(), b_), "x");
  }
  EXPECT_EQ(q().ack(b_, pinned.ticket), Outcome::kOk);
}

TEST_F(QueueTest, MaxBytesIsExactForOneProducer) {
  QueueLimits limits = small_limits();
  limits.max_bytes = 1000;
  limits.max_msg_bytes = 500;
  use(limits);
  EXPECT_EQ(put(q(), a_, std::string(501, 'x')), Outcome::kTooLarge);
  for (int i = 0; i < 10; ++i) ASSERT_EQ(put(q(), a_, std::string(100, 'x')), Outcome::kOk);
  EXPECT_EQ(put(q(), a_, "x"), Outcome::kFull);
  EXPECT_EQ(get(q(), b_).size(), 100u);
  EXPECT_EQ(put(q(), b_, std::string(100, 'y')), Outcome::kOk);
  EXPECT_EQ(put(q(), a_, "x"), Outcome::kFull);
  EXPECT_EQ(put(q(), a_, ""), Outcome::kOk);
}

TEST_F(QueueTest, NackReturnsToTheOriginalPositionWithExactCounts) {
  for (int i = 0; i < 5; ++i) ASSERT_EQ(put(q(), a_, std::to_string(i)), Outcome::kOk);
  Taken t0 = lease(a_), t1 = lease(a_), t2 = lease(b_);
  EXPECT_EQ(q().nack(b_, t2.ticket, true), Outcome::kOk);
  EXPECT_EQ(q().nack(a_, t0.ticket, false), Outcome::kOk);
  Taken again = lease(b_);
  EXPECT_EQ(body_of(again), "0");
  EXPECT_EQ(again.count, 0);
  Taken second = lease(b_);
  EXPECT_EQ(body_of(second), "2");
  EXPECT_EQ(second.count, 1);
  EXPECT_EQ(q().ack(a_, t0.ticket), Outcome::kLeaseLost);
  for (const Taken& t : {t1}) EXPECT_EQ(q().ack(a_, t.ticket), Outcome::kOk);
  for (const Taken& t : {again, second}) EXPECT_EQ(q().ack(b_, t.ticket), Outcome::kOk);
  EXPECT_EQ(q().ack(b_, second.ticket), Outcome::kLeaseLost);
  EXPECT_EQ(get(q(), a_), "3");
}

TEST_F(QueueTest, ExhaustedMessagesAreBuriedAndKicked) {
  QueueLimits limits = small_limits();
  limits.max_deliveries = 2;
  use(limits);
  ASSERT_EQ(put(q(), a_, "poison"), Outcome::kOk);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(q().nack(b_, lease(b_).ticket, true), Outcome::kOk);
  EXPECT_EQ(get(q(), b_), kEmptyText);
  EXPECT_EQ(q().counts().buried, 1u);
  EXPECT_EQ(q().unfinished(), 0u);
  BrowseRow row;
  ASSERT_EQ(q().browse(&row, 1, 0, kBuriedMask), 1u);
  EXPECT_EQ(row.count, 2);
  uint32_t kicked = 0;
  EXPECT_EQ(q().kick(a_, 10, &kicked), Outcome::kOk);
  EXPECT_EQ(kicked, 1u);
  EXPECT_EQ(get(q(), b_), "poison");
}

TEST_F(QueueTest, DropOldestDropsOnlyReadyMessages) {
  QueueLimits limits = small_limits();
  limits.max_len = 3;
  limits.overflow = Overflow::kDropOldest;
  use(limits);
  for (int i = 0; i < 6; ++i) ASSERT_EQ(put(q(), a_, std::to_string(i)), Outcome::kOk);
  EXPECT_EQ(q().counts().drops, 3u);
  EXPECT_EQ(q().size(), 3u);
  EXPECT_EQ(get(q(), b_), "3");
  for (int i = 0; i < 2; ++i) q().nack(b_, lease(b_).ticket, false);
}

TEST_F(QueueTest, EndOfStreamAfterTheDrainForEverybody) {
  ASSERT_EQ(put(q(), a_, "last"), Outcome::kOk);
  EXPECT_EQ(q().shutdown(a_, false), Outcome::kOk);
  EXPECT_EQ(put(q(), a_, "late"), Outcome::kClosed);
  EXPECT_TRUE(q().closed());
  Taken t = lease(b_);
  EXPECT_EQ(get(q(), a_), kEmptyText) << "b may still give it back";
  EXPECT_EQ(get(q(), b_), "<5>") << "its own lease does not keep b waiting";
  EXPECT_EQ(q().nack(b_, t.ticket, true), Outcome::kOk);
  EXPECT_EQ(get(q(), a_), "last");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(get(q(), a_), "<5>");
  EXPECT_EQ(q().reopen(a_), Outcome::kOk);
  EXPECT_EQ(get(q(), a_), kEmptyText);
  EXPECT_EQ(put(q(), a_, "again"), Outcome::kOk);
  EXPECT_EQ(get(q(), a_), "again");
}

TEST_F(QueueTest, ShutdownAndReopenAtEverySlotOfASegment) {
  for (int i = 0; i < 300; ++i) {
    ASSERT_EQ(q().shutdown(a_, true), Outcome::kOk);
    ASSERT_EQ(get(q(), b_), "<5>");
    ASSERT_EQ(q().reopen(b_), Outcome::kOk);
    ASSERT_FALSE(q().closed());
    ASSERT_EQ(put(q(), a_, "x"), Outcome::kOk);
    ASSERT_EQ(q().size(), 1u);
    ASSERT_EQ(get(q(), b_), "x");
  }
}

TEST_F(QueueTest, LastProducerEndsTheStream) {
  QueueLimits limits = small_limits();
  limits.eos = Eos::kLastProducer;
  use(limits);
  uint32_t first, second;
  ASSERT_EQ(q().register_producer(a_, &first), Outcome::kOk);
  ASSERT_EQ(q().register_producer(b_, &second), Outcome::kOk);
  q().unregister_producer(a_, first);
  EXPECT_FALSE(q().closed());
  q().unregister_producer(a_, second);  // not its own
  EXPECT_FALSE(q().closed());
  q().unregister_producer(b_, second);
  EXPECT_TRUE(q().closed());
  EXPECT_EQ(get(q(), a_), "<5>");
}

TEST_F(QueueTest, DeadProducerIsNotACleanEnd) {
  QueueLimits limits = small_limits();
  limits.on_producer_death = OnProducerDeath::kError;
  use(limits);
  Actor dead = segment_->actor(5);
  uint32_t cell;
  ASSERT_EQ(q().register_producer(dead, &cell), Outcome::kOk);
  ASSERT_EQ(put(q(), dead, "partial"), Outcome::kOk);
  q().reap(a_, 5, segment_->line(5), 1, {1234, 9});
  EXPECT_EQ(get(q(), b_), "partial");
  EXPECT_EQ(get(q(), b_), "<6>");
}

TEST_F(QueueTest, ReapReturnsLeasesInOrderAndCountsThem) {
  for (int i = 0; i < 4; ++i) ASSERT_EQ(put(q(), a_, std::to_string(i)), Outcome::kOk);
  Actor dead = segment_->actor(5);
  lease(dead);
  lease(dead);
  Loan loan;
  ASSERT_EQ(q().loan(dead, 5000, &loan), Outcome::kOk);
  q().reap(a_, 5, segment_->line(5), 1, {});
  q().reap(a_, 5, segment_->line(5), 1, {});
  EXPECT_EQ(q().usage().owned_chunks, 0u);
  Taken t = lease(b_);
  EXPECT_EQ(body_of(t), "0");
  EXPECT_EQ(t.count, 1);
  EXPECT_EQ(q().ack(b_, t.ticket), Outcome::kOk);
  for (int i = 1; i < 4; ++i) EXPECT_EQ(get(q(), b_), std::to_string(i));
}

TEST_F(QueueTest, LoanIsPublishedWithoutCopy) {
  Loan loan;
  ASSERT_EQ(q().loan(a_, 200'000, &loan), Outcome::kOk);
  ASSERT_GE(loan.capacity, 200'000u);
  loan.data[199'999] = std::byte{42};
  const std::byte* where = loan.data;
  uint64_t id;
  ASSERT_EQ(q().commit(a_, loan, 200'000, 0, kTry, &id), Outcome::kOk);
  const Taken t = lease(b_);
  EXPECT_EQ(t.data, where);
  EXPECT_EQ(t.data[199'999], std::byte{42});
  EXPECT_EQ(q().ack(b_, t.ticket), Outcome::kOk);
  ASSERT_EQ(q().loan(a_, 10, &loan), Outcome::kOk);
  q().discard(a_, loan);
  EXPECT_GT(q().trim(a_), 200'000u);
  EXPECT_EQ(q().usage().backed_bytes, 0u);
}

TEST_F(QueueTest, ZeroBytesAndLargestMessage) {
  EXPECT_EQ(put(q(), a_, ""), Outcome::kOk);
  const std::string largest(256 * 1024, 'z');
  EXPECT_EQ(put(q(), a_, largest), Outcome::kOk);
  EXPECT_EQ(put(q(), a_, largest + "z"), Outcome::kTooLarge);
  EXPECT_EQ(get(q(), b_), "");
  EXPECT_EQ(get(q(), b_), largest);
}

TEST_F(QueueTest, PurgeRevokesHoldersButKeepsTheirBytes) {
  const std::string body(3000, 'p');
  for (int i = 0; i < 3; ++i) ASSERT_EQ(put(q(), a_, body), Outcome::kOk);
  const Taken held = lease(b_);
  uint64_t purged = 0;
  EXPECT_EQ(q().purge(a_, kAllMask, &purged), Outcome::kOk);
  EXPECT_EQ(purged, 3u);
  EXPECT_EQ(q().size(), 0u);
  EXPECT_EQ(body_of(held), body);
  EXPECT_EQ(q().ack(b_, held.ticket), Outcome::kLeaseLost);
  EXPECT_EQ(q().usage().queued_chunks, 0u);
}

TEST_F(QueueTest, TooManyLeasesNamesItself) {
  for (int i = 0; i < 65; ++i) ASSERT_EQ(put(q(), a_, "x"), Outcome::kOk);
  std::vector<Taken> held;
  for (int i = 0; i < 64; ++i) held.push_back(lease(b_));
  Taken t;
  EXPECT_EQ(q().take(b_, TakeMode::kLease, &t, kTry), Outcome::kTooManyLeases);
  EXPECT_EQ(get(q(), a_), "x");
  for (const Taken& h : held) EXPECT_EQ(q().ack(b_, h.ticket), Outcome::kOk);
}

TEST_F(QueueTest, BrowseShowsEverythingInOrderAndTouchesNothing) {
  for (int i = 0; i < 200; ++i) ASSERT_EQ(put(q(), a_, std::to_string(i)), Outcome::kOk);
  const Taken held = lease(b_);
  std::vector<BrowseRow> rows(50);
  uint64_t after = 0;
  int seen = 0;
  while (const size_t n = q().browse(rows.data(), rows.size(), after, kAllMask)) {
    for (size_t i = 0; i < n; ++i, ++seen) {
      char body[8] = {};
      ASSERT_TRUE(q().read_body(rows[i], body, sizeof body));
      EXPECT_EQ(body, std::to_string(seen));
      EXPECT_EQ(rows[i].owner, seen == 0 ? 2 : 0);
    }
    after = rows[n - 1].id;
  }
  EXPECT_EQ(seen, 200);
  EXPECT_EQ(q().ack(b_, held.ticket), Outcome::kOk);
}

TEST_F(QueueTest, MemoryGrantEndsInAnOutcome) {
  QueueLimits limits = small_limits();
  use(limits);
  reinterpret_cast<QueueHeader*>(segment_->base())->extents_granted = 2;
  int n = 0;
  Outcome outcome;
  while ((outcome = put(q(), a_, std::string(4000, 'x'))) == Outcome::kOk) ++n;
  EXPECT_EQ(outcome, Outcome::kMemoryExhausted);
  EXPECT_EQ(n, 30);
  for (int i = 0; i < n; ++i) EXPECT_EQ(get(q(), b_).size(), 4000u);
  EXPECT_EQ(put(q(), a_, std::string(120'000, 'y')), Outcome::kOk) << "other shapes are reclaimed";
}

TEST_F(QueueTest, AttachRefusesOtherVersionsAndSizes) {
  Queue other;
  EXPECT_EQ(Queue::attach(segment_->base(), segment_->bytes() - 4096, -1, &other),
            Outcome::kCorrupt);
  auto& header = *reinterpret_cast<QueueHeader*>(segment_->base());
  header.segment.version = 99;
  EXPECT_EQ(Queue::attach(segment_->base(), segment_->bytes(), -1, &other), Outcome::kCorrupt);
}

}  // namespace
}  // namespace heddle::shm
