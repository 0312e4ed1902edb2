// The C++ library over gRPC: what its channel does beyond what the conformance suite asks of both
// planes (batches on streams, sessions, a broker that goes away).
#include <gtest/gtest.h>
#include <heddle/heddle.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/grpc/relay.h"
#include "tests/support/daemon_fixture.h"
#include "tests/support/temp_dir.h"
#include "tests/support/watchdog.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;

class GrpcChannelTest : public test::DaemonFixture {
 protected:
  // gRPC opens descriptors of its own once in a process; that is no leak of a test.
  static void SetUpTestSuite() {
    EXPECT_FALSE(Client::connect({.address = "unix:/nonexistent", .timeout = 10ms}).ok());
  }

  Client connect() {
    ConnectOptions options;
    options.runtime_dir = runtime_dir();
    options.plane = Plane::kGrpc;
    options.name = "grpc channel test";
    options.timeout = 10s;
    return Client::connect(options).value();
  }
};

TEST_F(GrpcChannelTest, PutsAndGets) {
  Client client = connect();
  EXPECT_EQ(client.describe().plane, Plane::kGrpc);
  Queue queue = client.create_queue("jobs", {.max_len = 2}).value();
  const std::uint64_t first = queue.put("hello").value();
  EXPECT_GT(queue.put(Body::json("{\"a\":1}")).value(), first);
  EXPECT_TRUE(queue.try_put("no room").status().is(Reason::kFull));
  EXPECT_TRUE(queue.put_for("no room", 20ms).status().is(Reason::kTimedOut));
  Message message = queue.get().value();
  EXPECT_EQ(message.text(), "hello");
  EXPECT_EQ(message.kind(), BodyKind::kText);
  EXPECT_EQ(message.id(), first);
  EXPECT_EQ(message.delivery_count(), 1u);
  EXPECT_EQ(queue.get().value().kind(), BodyKind::kJson);
  EXPECT_TRUE(queue.try_get().status().is(Reason::kEmpty));
  EXPECT_TRUE(queue.get_for(20ms).status().is(Reason::kTimedOut));
}

TEST_F(GrpcChannelTest, ErrorsKeepTheirParts) {
  Client client = connect();
  const Status missing = client.queue("nothing").status();
  EXPECT_TRUE(missing.is(Reason::kNotFound)) << missing.to_string();
  EXPECT_EQ(missing.object(), "queue nothing");
  Queue queue = client.create_queue("small", {.max_msg_bytes = 100}).value();
  const Status large = queue.put(std::string(101, 'x')).status();
  EXPECT_TRUE(large.is(Reason::kTooLarge)) << large.to_string();
  EXPECT_EQ(large.limit(), 100u);
  EXPECT_EQ(large.actual(), 101u);
  EXPECT_TRUE(client.create_queue("small", {.max_msg_bytes = 200, .open_existing = true})
                  .status()
                  .is(Reason::kExistsOtherOptions));
}

TEST_F(GrpcChannelTest, AMessageAboveTheLimitOfGrpcNamesIt) {
  const test::Daemon daemon({.config = R"({"grpc_message_bytes_max": 65536})", .args = {}});
  Client client =
      Client::connect({.runtime_dir = daemon.runtime_dir(), .plane = Plane::kGrpc}).value();
  Queue queue = client.create_queue("narrow").value();
  const std::string body(100'000, 'x');
  const Status one = queue.put(body).status();
  const Status several = queue.put_many(std::vector<Body>(1, Body(body))).status;
  for (const Status& status : {one, several}) {
    EXPECT_TRUE(status.is(Reason::kTooLarge)) << status.to_string();
    EXPECT_EQ(status.object(), "queue narrow");
    EXPECT_EQ(status.limit(), 65'536u);
    EXPECT_GT(status.actual(), 100'000u);
  }
  EXPECT_TRUE(queue.put("small").ok());
}

// The largest that a queue takes, under --long: 1 GiB.
TEST_F(GrpcChannelTest, ALargeMessageGoesOverAndBack) {
  const bool whole = std::getenv("HEDDLE_LONG") != nullptr;
  const test::Watchdog watchdog("a large message", whole ? 600 : 30);
  const test::Daemon daemon({.config = R"({"grpc_message_bytes_max": 1200000000})", .args = {}});
  Client client =
      Client::connect({.runtime_dir = daemon.runtime_dir(), .plane = Plane::kGrpc}).value();
  const std::size_t bytes = whole ? std::size_t{1} << 30 : std::size_t{40} << 20;
  Queue queue = client.create_queue("wide", {.max_msg_bytes = bytes}).value();
  std::string body(bytes, 'x');
  body.front() = 'a';
  body.back() = 'z';
  const auto put = queue.put(body);
  ASSERT_TRUE(put.ok()) << put.status().to_string();
  const auto got = queue.get_for(0ns, {.ack = Ack::kManual});
  ASSERT_TRUE(got.ok()) << got.status().to_string();
  EXPECT_TRUE(got->text() == body);
}

TEST_F(GrpcChannelTest, BatchesKeepOrder) {
  Client client = connect();
  Queue queue = client.create_queue("batches").value();
  std::vector<std::string> texts;
  for (int i = 0; i < 3'000; ++i) texts.push_back(std::to_string(i));
  const std::vector<Body> bodies(texts.begin(), texts.end());
  std::vector<std::uint64_t> ids(bodies.size());
  const PutManyResult put = queue.put_many(bodies, kForever, ids);
  ASSERT_TRUE(put.status.ok()) << put.status.to_string();
  EXPECT_EQ(put.done, bodies.size());
  std::size_t next = 0;
  while (next < texts.size()) {
    const auto got = queue.get_many(1s, {.max = 500}).value();
    for (const Message& message : got) {
      ASSERT_EQ(message.text(), texts[next]);
      ASSERT_EQ(message.id(), ids[next]);
      ++next;
    }
  }
  EXPECT_TRUE(queue.get_many(0ns).status().is(Reason::kEmpty));
}

TEST_F(GrpcChannelTest, PutManyTellsHowFarItGot) {
  Client client = connect();
  Queue queue = client.create_queue("short", {.max_len = 3}).value();
  const std::vector<Body> bodies(5, Body("x"));
  const PutManyResult put = queue.put_many(bodies, 0ns);
  EXPECT_EQ(put.done, 3u);
  EXPECT_TRUE(put.status.is(Reason::kFull)) << put.status.to_string();
}

TEST_F(GrpcChannelTest, LeasesBelongToTheSession) {
  Queue other;
  {
    Client client = connect();
    Queue queue = client.create_queue("leases").value();
    (void)queue.put("a").value();
    (void)queue.put("b").value();
    Message a = queue.get({.ack = Ack::kManual}).value();
    EXPECT_TRUE(a.ack().ok());
    EXPECT_TRUE(a.ack().failed());
    (void)queue.get({.ack = Ack::kManual}).value().detach();
    EXPECT_EQ(queue.counts().value().leased, 1u);
    Client second = connect();
    other = second.queue("leases").value();
    EXPECT_TRUE(other.try_get().status().is(Reason::kEmpty));
  }  // the session ends cleanly: what it held goes back
  EXPECT_EQ(other.get_for(5s).value().text(), "b");
}

TEST_F(GrpcChannelTest, SeveralThreadsWaitAtOnce) {
  Client client = connect();
  Queue queue = client.create_queue("shared").value();
  std::vector<std::thread> threads;
  std::atomic<int> got{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] { got += static_cast<int>(queue.get_many(10s, {.max = 1})->size()); });
  }
  for (int i = 0; i < 4; ++i) (void)queue.put("x").value();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(got, 4);
}

TEST_F(GrpcChannelTest, AForkedChildIsToldToConnectAnew) {
  Client client = connect();
  Queue queue = client.create_queue("forked").value();
  const pid_t child = fork();
  if (child == 0) {
    const bool told = queue.put("x").status().is(Reason::kUnsupported) &&
                      client.ping().status().is(Reason::kUnsupported);
    _exit(told ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(queue.put("y").ok());
}

TEST_F(GrpcChannelTest, GoesOnWhenTheBrokerIsReplaced) {
  Client client = connect();
  Queue queue = client.create_queue("kept").value();
  (void)queue.put("a").value();
  (void)queue.put("b").value();
  Message held = queue.get({.ack = Ack::kManual}).value();
  daemon().kill_broker();
  EXPECT_EQ(queue.get_for(10s).value().text(), "b");
  const Status acked = held.ack();  // the session was resumed with its lease
  EXPECT_TRUE(acked.ok()) << acked.to_string();
  // The broker counts "b" until its reply is written, which this thread may outrun.
  while (queue.counts().value().unfinished != 0) std::this_thread::sleep_for(1ms);
}

TEST_F(GrpcChannelTest, ALostReplyIsNotALostLease) {
  const test::TempDir dir;
  test::Relay relay(dir.file("relay.sock"), runtime_dir() + "/grpc.sock");
  Client far = Client::connect({.address = "unix:" + dir.file("relay.sock"), .timeout = 10s})
                   .value();
  Queue mine = far.create_queue("settled").value();
  Queue near = connect().queue("settled").value();
  const auto with_lost_reply = [&](auto settle, auto carried_out) {
    (void)near.put("x").value();
    Message message = mine.get({.ack = Ack::kManual}).value();
    relay.deafen(true);
    Status status = Reason::kInternal;
    std::thread asks([&] { status = settle(message); });
    while (!carried_out(near.counts().value())) std::this_thread::sleep_for(1ms);
    relay.deafen(false);
    relay.cut();
    asks.join();
    EXPECT_TRUE(status.ok()) << status.to_string();
    EXPECT_TRUE(carried_out(near.counts().value()));
    EXPECT_TRUE(near.purge(kAllStates).ok());
  };
  with_lost_reply([](Message& message) { return message.ack(); },
                  [](const QueueCounts& counts) { return counts.unfinished == 0; });
  with_lost_reply([](Message& message) { return message.nack(); },
                  [](const QueueCounts& counts) { return counts.returned == 1; });
  with_lost_reply([](Message& message) { return message.bury(); },
                  [](const QueueCounts& counts) { return counts.buried == 1; });
}

}  // namespace
}  // namespace heddle
