// Deliveries that must be settled.
#include <string>
#include <thread>
#include <utility>

#include "tests/conformance/planes.h"

namespace heddle::test {
namespace {

template <typename T>
class LeaseTest : public ConformanceTest<T> {};
TYPED_TEST_SUITE(LeaseTest, Planes, PlaneNames);

constexpr GetOptions kManual{.ack = Ack::kManual};

TYPED_TEST(LeaseTest, AckRemoves) {
  Queue queue = this->create();
  ASSERT_TRUE(queue.put("job").ok());
  Message message = queue.get(kManual).value();
  EXPECT_TRUE(message.leased());
  EXPECT_EQ(queue.counts()->leased, 1u);
  EXPECT_EQ(queue.unfinished().value(), 1u);
  EXPECT_TRUE(queue.try_get().status().is(Reason::kEmpty));
  EXPECT_TRUE(message.ack().ok());
  EXPECT_FALSE(message.leased());
  EXPECT_EQ(queue.unfinished().value(), 0u);
  EXPECT_TRUE(message.ack().is(Reason::kInvalidArgument));
}

TYPED_TEST(LeaseTest, NackReturnsToTheOriginalPlaceAndCounts) {
  Queue queue = this->create();
  for (const char* body : {"1", "2", "3"}) ASSERT_TRUE(queue.put(body).ok());
  Message first = queue.get(kManual).value();
  Message second = queue.get(kManual).value();
  EXPECT_TRUE(second.nack().ok());
  EXPECT_TRUE(first.nack(false).ok());
  Message again = queue.get(kManual).value();
  EXPECT_EQ(again.text(), "1");
  EXPECT_EQ(again.delivery_count(), 1u);
  EXPECT_TRUE(again.ack().ok());
  again = queue.get(kManual).value();
  EXPECT_EQ(again.text(), "2");
  EXPECT_EQ(again.delivery_count(), 2u);
  EXPECT_TRUE(again.ack().ok());
  EXPECT_EQ(queue.get()->text(), "3");
}

TYPED_TEST(LeaseTest, DroppedUnsettledGoesBackUncounted) {
  Queue queue = this->create({.max_deliveries = 1});
  ASSERT_TRUE(queue.put(std::string(1000, 'x')).ok());
  for (int i = 0; i < 3; ++i) {
    Message dropped = queue.get(kManual).value();
    EXPECT_EQ(dropped.delivery_count(), 1u);
  }
  EXPECT_EQ(queue.counts()->buried, 0u);
  EXPECT_EQ(queue.size().value(), 1u);
}

TYPED_TEST(LeaseTest, ExhaustedDeliveriesAreBuriedAndKicked) {
  Queue queue = this->create({.max_deliveries = 2});
  ASSERT_TRUE(queue.put("poison").ok());
  EXPECT_TRUE(queue.get(kManual)->nack().ok());
  EXPECT_TRUE(queue.get(kManual)->nack().ok());
  EXPECT_TRUE(queue.try_get().status().is(Reason::kEmpty));
  EXPECT_EQ(queue.counts()->buried, 1u);
  auto rows = queue.browse({.states = kBuried, .max_body = 100}).value();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].body, "poison");
  EXPECT_EQ(rows[0].delivery_count, 2u);
  EXPECT_EQ(queue.kick().value(), 1u);
  Message message = queue.get(kManual).value();
  EXPECT_EQ(message.text(), "poison");
  EXPECT_EQ(message.delivery_count(), 1u);
  EXPECT_TRUE(message.bury().ok());
  EXPECT_EQ(queue.counts()->buried, 1u);
  rows = queue.browse({.states = kBuried}).value();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].delivery_count, 1u) << "however it came to be buried, the delivery counts";
  EXPECT_EQ(queue.purge(kBuried).value(), 1u);
}

TYPED_TEST(LeaseTest, LateAckIsLeaseLost) {
  Queue queue = this->create();
  ASSERT_TRUE(queue.put("job").ok());
  Message message = queue.get(kManual).value();
  EXPECT_EQ(queue.purge(kLeased).value(), 1u);
  const Status late = message.ack();
  EXPECT_TRUE(late.is(Reason::kLeaseLost)) << late.to_string();
  EXPECT_TRUE(late.failed());
}

TYPED_TEST(LeaseTest, TooManyLeasesNamesTheLimit) {
  Queue queue = this->create({.max_leases = 1});
  ASSERT_TRUE(queue.put("1").ok());
  ASSERT_TRUE(queue.put("2").ok());
  Message held = queue.get(kManual).value();
  const Status status = queue.try_get(kManual).status();
  EXPECT_TRUE(status.is(Reason::kTooManyLeases)) << status.to_string();
  EXPECT_EQ(status.limit(), 1u);
  EXPECT_TRUE(held.ack().ok());
  EXPECT_TRUE(queue.try_get(kManual).ok());
}

TYPED_TEST(LeaseTest, DetachedLeaseIsSettledByItsName) {
  Queue queue = this->create();
  for (std::size_t size : {4, 1000}) {
    ASSERT_TRUE(queue.put(std::string(size, 'd')).ok());
    Message message = queue.get(kManual).value();
    const Lease lease = Lease::parse(message.detach().to_string()).value();
    EXPECT_FALSE(message.leased());
    EXPECT_EQ(message.text(), std::string(size, 'd'));
    EXPECT_EQ(queue.counts()->leased, 1u);
    EXPECT_TRUE(queue.extend(lease, 10s).ok());
    EXPECT_TRUE(queue.ack(lease).ok());
    EXPECT_TRUE(queue.ack(lease).is(Reason::kLeaseLost));
    EXPECT_TRUE(queue.extend(lease, 10s).is(Reason::kLeaseLost));
    EXPECT_EQ(queue.unfinished().value(), 0u);
  }
  EXPECT_TRUE(Lease::parse("rubbish").status().is(Reason::kInvalidArgument));
}

TYPED_TEST(LeaseTest, ATimedLeaseEndsOrIsRefused) {
  Queue queue = this->create();
  ASSERT_TRUE(queue.put("job").ok());
  const GetOptions timed{.ack = Ack::kManual, .lease = 50ms};
  auto message = queue.try_get(timed);
  if (TypeParam::kPlane == Plane::kShm) {
    EXPECT_TRUE(message.status().is(Reason::kUnsupported)) << message.status().to_string();
    EXPECT_EQ(message.status().object(), "queue " + this->queue_name());
    EXPECT_TRUE(queue.get_many(0ns, {.ack = Ack::kManual, .lease = 50ms})
                    .status()
                    .is(Reason::kUnsupported));
    EXPECT_EQ(queue.counts()->ready, 1u);
    Message held = queue.get(kManual).value();
    EXPECT_TRUE(held.extend(10s).ok());  // without an end it stays without one
  } else {
    ASSERT_TRUE(message.ok()) << message.status().to_string();
    EXPECT_EQ(queue.get_for(20s, kManual)->delivery_count(), 2u);
    EXPECT_TRUE(message->extend(10s).is(Reason::kLeaseLost));
    EXPECT_TRUE(message->ack().is(Reason::kLeaseLost));
  }
  EXPECT_TRUE(queue.get({.ack = Ack::kAuto, .lease = 50ms}).ok());
}

TYPED_TEST(LeaseTest, OnNextAcksThePrevious) {
  Queue queue = this->create();
  ASSERT_TRUE(queue.put("1").ok());
  ASSERT_TRUE(queue.put("2").ok());
  {
    Queue handle = this->client().queue(this->queue_name()).value();
    EXPECT_EQ(handle.get({.ack = Ack::kOnNext})->text(), "1");
    EXPECT_EQ(queue.unfinished().value(), 2u);
    EXPECT_EQ(handle.get({.ack = Ack::kOnNext})->text(), "2");
    EXPECT_EQ(queue.unfinished().value(), 1u);
  }
  // Closing the handle without another get gives the last one back.
  Message again = queue.get(kManual).value();
  EXPECT_EQ(again.text(), "2");
  EXPECT_TRUE(again.ack().ok());
}

TYPED_TEST(LeaseTest, TaskDoneAcksTheOldestAndJoinWaits) {
  Queue queue = this->create();
  ASSERT_TRUE(queue.put("1").ok());
  ASSERT_TRUE(queue.put("2").ok());
  EXPECT_EQ(queue.get({.ack = Ack::kTask})->text(), "1");
  EXPECT_EQ(queue.get({.ack = Ack::kTask})->text(), "2");
  EXPECT_TRUE(queue.task_done().ok());
  const JoinReport report = queue.join_for(10ms);
  EXPECT_TRUE(report.status.is(Reason::kTimedOut)) << report.status.to_string();
  ASSERT_EQ(report.holders.size(), 1u);
  EXPECT_EQ(report.holders[0].pid, getpid());
  std::thread worker([&] {
    std::this_thread::sleep_for(20ms);
    EXPECT_TRUE(queue.task_done().ok());
  });
  EXPECT_TRUE(queue.join().ok());
  worker.join();
  EXPECT_TRUE(queue.task_done().is(Reason::kInvalidArgument));
}

TYPED_TEST(LeaseTest, SettledByAnotherThread) {
  Queue queue = this->create();
  ASSERT_TRUE(queue.put(std::string(5000, 'x')).ok());
  Message message = queue.get(kManual).value();
  std::thread([moved = std::move(message)]() mutable {
    EXPECT_EQ(moved.size(), 5000u);
    EXPECT_TRUE(moved.ack().ok());
  }).join();
  EXPECT_EQ(queue.unfinished().value(), 0u);
}

}  // namespace
}  // namespace heddle::test
