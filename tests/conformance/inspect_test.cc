// Looking at queues and managing them: counts, browse, options, names.
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "tests/conformance/planes.h"

namespace heddle::test {
namespace {

template <typename T>
class InspectTest : public ConformanceTest<T> {};
TYPED_TEST_SUITE(InspectTest, Planes, PlaneNames);

TYPED_TEST(InspectTest, BrowseShowsStatesHoldersAndBodies) {
  Queue queue = this->create();
  for (const char* body : {"leased", "returned", "ready"}) ASSERT_TRUE(queue.put(body).ok());
  Message held = queue.get({.ack = Ack::kManual}).value();
  EXPECT_TRUE(queue.get({.ack = Ack::kManual})->nack().ok());
  const auto rows = queue.browse({.max_body = 4}).value();
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].state, kLeased);
  EXPECT_EQ(rows[0].pid, getpid());
  EXPECT_EQ(rows[0].uid, getuid());
  EXPECT_FALSE(rows[0].command.empty());
  EXPECT_EQ(rows[0].body, "leas");
  EXPECT_EQ(rows[0].length, 6u);
  EXPECT_EQ(rows[1].state, kReturned);
  EXPECT_EQ(rows[1].delivery_count, 1u);
  EXPECT_EQ(rows[2].state, kReady);
  EXPECT_EQ(rows[2].body, "read");
  const auto later = queue.browse({.after_id = rows[1].id}).value();
  ASSERT_EQ(later.size(), 1u);
  EXPECT_EQ(later[0].id, rows[2].id);
  EXPECT_EQ(queue.browse({.limit = 2})->size(), 2u);
  EXPECT_TRUE(held.ack().ok());
}

TYPED_TEST(InspectTest, PeekShowsTheNextAndTakesNothing) {
  Queue queue = this->create();
  EXPECT_TRUE(queue.peek().status().is(Reason::kEmpty));
  ASSERT_TRUE(queue.put("first").ok());
  ASSERT_TRUE(queue.put("second").ok());
  EXPECT_EQ(queue.peek()->body, "first");
  EXPECT_EQ(queue.peek()->body, "first");
  EXPECT_EQ(queue.get()->text(), "first");
}

TYPED_TEST(InspectTest, CountsAddUp) {
  Queue queue = this->create();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(queue.put("12345678").ok());
  Message held = queue.get({.ack = Ack::kManual}).value();
  ASSERT_TRUE(queue.get().ok());
  // Over gRPC a message is the taker's once its reply has been written, a moment after it came.
  while (queue.counts()->leased > 1) std::this_thread::yield();
  QueueCounts counts = queue.counts().value();
  EXPECT_EQ(counts.ready, 3u);
  EXPECT_EQ(counts.leased, 1u);
  EXPECT_EQ(counts.unfinished, 4u);
  EXPECT_EQ(counts.bytes, 32u);
  EXPECT_EQ(counts.puts, 5u);
  EXPECT_FALSE(counts.closed);
  EXPECT_TRUE(held.ack().ok());
  EXPECT_EQ(queue.purge().value(), 3u);
  counts = queue.counts().value();
  EXPECT_EQ(counts.unfinished, 0u);
  EXPECT_EQ(counts.bytes, 0u);
}

TYPED_TEST(InspectTest, InfoAndListTellTheOptions) {
  Queue queue = this->create({.max_len = 77,
                              .max_bytes = 1 << 20,
                              .max_msg_bytes = 1 << 16,
                              .max_leases = 9,
                              .max_deliveries = 3,
                              .overflow = Overflow::kReject,
                              .eos = Eos::kLastProducer,
                              .on_producer_death = OnProducerDeath::kError,
                              .mode = 0640});
  const QueueInfo info = queue.info().value();
  EXPECT_EQ(info.name, this->queue_name());
  EXPECT_EQ(info.options.max_len, 77u);
  EXPECT_EQ(info.options.max_bytes, 1u << 20);
  EXPECT_EQ(info.options.max_msg_bytes, 1u << 16);
  EXPECT_EQ(info.options.max_leases, 9u);
  EXPECT_EQ(info.options.max_deliveries, 3u);
  EXPECT_EQ(info.options.overflow, Overflow::kReject);
  EXPECT_EQ(info.options.eos, Eos::kLastProducer);
  EXPECT_EQ(info.options.on_producer_death, OnProducerDeath::kError);
  EXPECT_EQ(info.options.mode, 0640u);
  EXPECT_EQ(info.owner_uid, getuid());
  const auto listed = this->client().list("test/InfoAnd").value();
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(listed[0].name, info.name);
  EXPECT_TRUE(this->client().list("no/such/prefix")->empty());
}

TYPED_TEST(InspectTest, ListGoesThroughAllPages) {
  std::vector<std::string> names;
  for (int i = 0; i < 250; ++i) {
    names.push_back("pages/q" + std::to_string(1000 + i));
    ASSERT_TRUE(this->client().create_queue(names.back(), {.max_len = 10}).ok());
  }
  std::vector<std::string> listed;
  for (const QueueInfo& info : this->client().list("pages/").value()) listed.push_back(info.name);
  EXPECT_EQ(listed, names);
  for (const std::string& name : names) EXPECT_TRUE(this->client().delete_queue(name).ok());
}

TYPED_TEST(InspectTest, OpeningWithOtherOptionsNamesTheField) {
  Queue queue = this->create({.max_len = 10});
  const Status other = this->client().open_queue(this->queue_name(), {.max_len = 11}).status();
  EXPECT_TRUE(other.is(Reason::kExistsOtherOptions)) << other.to_string();
  EXPECT_NE(other.to_string().find("max_len"), std::string::npos) << other.to_string();
  EXPECT_NE(other.to_string().find("10"), std::string::npos) << other.to_string();
  EXPECT_NE(other.to_string().find("11"), std::string::npos) << other.to_string();
  EXPECT_TRUE(this->client().open_queue(this->queue_name(), {.max_len = 10}).ok());
  EXPECT_TRUE(this->client()
                  .create_queue(this->queue_name(), {.max_len = 10, .open_existing = true})
                  .ok());
  EXPECT_FALSE(this->client().create_queue(this->queue_name(), {.max_len = 10}).ok());
  EXPECT_TRUE(this->client()
                  .create_queue(this->queue_name(), {.max_len = 11, .open_existing = true})
                  .status()
                  .is(Reason::kExistsOtherOptions));
}

TYPED_TEST(InspectTest, NotFoundNamesTheCommand) {
  const Status missing = this->client().queue("no-such-queue").status();
  EXPECT_TRUE(missing.is(Reason::kNotFound)) << missing.to_string();
  EXPECT_NE(missing.to_string().find("queue create"), std::string::npos) << missing.to_string();
  EXPECT_TRUE(this->client().delete_queue("no-such-queue").is(Reason::kNotFound));
}

TYPED_TEST(InspectTest, NamesAreChecked) {
  for (const char* name : {"", "/x", ".x", "a b", "sys/x"}) {
    EXPECT_FALSE(this->client().create_queue(name).ok()) << name;
  }
  EXPECT_TRUE(this->client().create_queue("a b").status().is(Reason::kInvalidName));
  Queue mine = this->client().create_queue("~/mine").value();
  EXPECT_EQ(mine.info()->name, "uid-" + std::to_string(getuid()) + "/mine");
  EXPECT_TRUE(this->client().delete_queue("~/mine").ok());
}

TYPED_TEST(InspectTest, DeletedQueueIsNotFoundForThoseWhoHaveIt) {
  Queue queue = this->create();
  ASSERT_TRUE(queue.put("x").ok());
  ASSERT_TRUE(this->client().delete_queue(this->queue_name()).ok());
  const Status put = queue.put("y").status();
  EXPECT_TRUE(put.is(Reason::kNotFound)) << put.to_string();
  EXPECT_TRUE(this->client().queue(this->queue_name()).status().is(Reason::kNotFound));
  // The name is free again.
  EXPECT_TRUE(this->create().empty().value());
}

TYPED_TEST(InspectTest, ClientTellsPlaneSessionsAndStatus) {
  const ConnectionInfo connection = this->client().describe();
  EXPECT_EQ(connection.plane, TypeParam::kPlane);
  EXPECT_GT(this->client().ping()->count(), 0);
  const BrokerStatus status = this->client().status().value();
  EXPECT_EQ(status.pid, this->daemon().broker_pid());
  EXPECT_GE(status.incarnation, 1u);
  const auto sessions = this->client().sessions().value();
  const bool mine = std::any_of(sessions.begin(), sessions.end(), [&](const SessionInfo& session) {
    return session.pid == getpid() && session.plane == TypeParam::kPlane;
  });
  EXPECT_TRUE(mine);
}

TYPED_TEST(InspectTest, EmptyHandlesFailWithWords) {
  EXPECT_TRUE(Queue().put("x").status().is(Reason::kInvalidArgument));
  EXPECT_TRUE(Queue().get().status().is(Reason::kInvalidArgument));
  EXPECT_TRUE(Client().queue("x").status().is(Reason::kDaemonUnreachable));
  const Status nobody = Client::connect({.runtime_dir = "/nonexistent"}).status();
  EXPECT_TRUE(nobody.is(Reason::kDaemonUnreachable));
  EXPECT_NE(nobody.to_string().find("/nonexistent"), std::string::npos);
}

}  // namespace
}  // namespace heddle::test
