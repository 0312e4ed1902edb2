// Putting and taking: order, kinds, sizes, limits, timeouts.
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "tests/conformance/planes.h"

namespace heddle::test {
namespace {

template <typename T>
class PutGetTest : public ConformanceTest<T> {};
TYPED_TEST_SUITE(PutGetTest, Planes, PlaneNames);

TYPED_TEST(PutGetTest, KeepsOrderBodyKindAndRisingIds) {
  Queue queue = this->create();
  const std::byte bytes[] = {std::byte{0}, std::byte{255}};
  const std::uint64_t first = queue.put("text").value();
  const std::uint64_t second = queue.put(Body(std::span(bytes))).value();
  const std::uint64_t third = queue.put(Body::json(R"({"a":1})")).value();
  EXPECT_LT(first, second);
  EXPECT_LT(second, third);

  Message message = queue.get().value();
  EXPECT_EQ(message.text(), "text");
  EXPECT_EQ(message.kind(), BodyKind::kText);
  EXPECT_EQ(message.id(), first);
  EXPECT_EQ(message.delivery_count(), 1u);
  EXPECT_FALSE(message.leased());
  message = queue.get().value();
  EXPECT_EQ(message.kind(), BodyKind::kData);
  ASSERT_EQ(message.size(), 2u);
  EXPECT_EQ(message.data()[1], std::byte{255});
  message = queue.get().value();
  EXPECT_EQ(message.kind(), BodyKind::kJson);
  EXPECT_EQ(message.id(), third);
}

// Bodies on both sides of every boundary: empty, inline, chunk classes, runs.
TYPED_TEST(PutGetTest, CarriesEverySize) {
  Queue queue = this->create();
  for (std::size_t size : {0, 1, 95, 96, 97, 256, 257, 4096, 16384, 65536, 65537, 3'000'000}) {
    std::string body(size, '\0');
    for (std::size_t i = 0; i < size; ++i) body[i] = static_cast<char>('a' + i % 23);
    ASSERT_TRUE(queue.put(body).ok()) << size;
    auto message = queue.get();
    ASSERT_TRUE(message.ok()) << size << message.status().to_string();
    EXPECT_TRUE(message->text() == body) << size;
  }
  // Over gRPC the reader may be faster than the broker, which counts until the reply is written.
  while (queue.counts()->bytes != 0) std::this_thread::sleep_for(1ms);
}

TYPED_TEST(PutGetTest, EmptyAndTimedOutAreOutcomes) {
  Queue queue = this->create();
  auto nothing = queue.try_get();
  EXPECT_TRUE(nothing.status().is(Reason::kEmpty));
  EXPECT_TRUE(nothing.outcome());
  EXPECT_TRUE(queue.get_for(10ms).status().is(Reason::kTimedOut));
  EXPECT_TRUE(queue.get_for(0ms).status().is(Reason::kEmpty));
}

TYPED_TEST(PutGetTest, FullNamesTheLimit) {
  Queue queue = this->create({.max_len = 2});
  ASSERT_TRUE(queue.put("1").ok());
  EXPECT_FALSE(queue.full().value());
  ASSERT_TRUE(queue.put("2").ok());
  EXPECT_TRUE(queue.full().value());
  const Status full = queue.try_put("3").status();
  EXPECT_TRUE(full.is(Reason::kFull));
  EXPECT_TRUE(full.outcome());
  EXPECT_NE(std::string(full.object()).find(this->queue_name()), std::string::npos);
  EXPECT_EQ(full.limit(), 2u);
  EXPECT_TRUE(queue.put_for("3", 10ms).status().is(Reason::kTimedOut));
  EXPECT_EQ(queue.size().value(), 2u);
}

TYPED_TEST(PutGetTest, BlockedPutGoesOnWhenRoomAppears) {
  Queue queue = this->create({.max_len = 1});
  ASSERT_TRUE(queue.put("1").ok());
  std::thread consumer([&] {
    std::this_thread::sleep_for(20ms);
    EXPECT_EQ(queue.get().value().text(), "1");
  });
  EXPECT_TRUE(queue.put_for("2", 20s).ok());
  consumer.join();
  EXPECT_EQ(queue.get().value().text(), "2");
}

TYPED_TEST(PutGetTest, BlockedGetGoesOnWhenAMessageComes) {
  Queue queue = this->create();
  std::thread producer([&] {
    std::this_thread::sleep_for(20ms);
    EXPECT_TRUE(queue.put("late").ok());
  });
  EXPECT_EQ(queue.get_for(20s).value().text(), "late");
  producer.join();
}

TYPED_TEST(PutGetTest, RejectDoesNotWait) {
  Queue queue = this->create({.max_len = 1, .overflow = Overflow::kReject});
  ASSERT_TRUE(queue.put("1").ok());
  EXPECT_TRUE(queue.put("2").status().is(Reason::kFull));
}

TYPED_TEST(PutGetTest, DropOldestCountsWhatItDrops) {
  Queue queue = this->create({.max_len = 2, .overflow = Overflow::kDropOldest});
  for (const char* body : {"1", "2", "3"}) ASSERT_TRUE(queue.put(body).ok());
  EXPECT_EQ(queue.counts()->drops, 1u);
  EXPECT_EQ(queue.get()->text(), "2");
  EXPECT_EQ(queue.get()->text(), "3");
}

TYPED_TEST(PutGetTest, TooLargeNamesBothValues) {
  Queue queue = this->create({.max_msg_bytes = 1000});
  const Status status = queue.put(std::string(1001, 'x')).status();
  EXPECT_TRUE(status.is(Reason::kTooLarge));
  EXPECT_TRUE(status.failed());
  EXPECT_EQ(status.limit(), 1000u);
  EXPECT_EQ(status.actual(), 1001u);
  EXPECT_TRUE(queue.put(std::string(1000, 'x')).ok());
}

TYPED_TEST(PutGetTest, OneMessageMayFillTheQueueButNotMore) {
  const auto limits = [](Queue& queue) { return queue.info()->options; };
  Queue small = this->create({.max_bytes = 1000});
  EXPECT_EQ(limits(small).max_msg_bytes, 1000u);
  const Status status = small.put(std::string(1001, 'x')).status();
  EXPECT_TRUE(status.is(Reason::kTooLarge)) << status.to_string();
  EXPECT_EQ(status.limit(), 1000u);
  Client& client = this->client();
  Queue large =
      client.create_queue(this->queue_name() + "/large", {.max_msg_bytes = 1u << 30}).value();
  EXPECT_EQ(limits(large).max_bytes, 1u << 30);
  const Status both =
      client.create_queue(this->queue_name() + "/both", {.max_bytes = 1000, .max_msg_bytes = 1001})
          .status();
  EXPECT_TRUE(both.is(Reason::kInvalidArgument)) << both.to_string();
  EXPECT_NE(both.to_string().find("max_msg_bytes is 1001"), std::string::npos);
  EXPECT_NE(both.to_string().find("max_bytes, which is 1000"), std::string::npos);
}

TYPED_TEST(PutGetTest, MaxBytesBoundsTheSum) {
  Queue queue = this->create({.max_bytes = 100'000, .max_msg_bytes = 60'000});
  ASSERT_TRUE(queue.put(std::string(60'000, 'x')).ok());
  EXPECT_TRUE(queue.try_put(std::string(60'000, 'y')).status().is(Reason::kFull));
  ASSERT_TRUE(queue.get().ok());
  // Over gRPC its bytes are free once its reply has been written, a moment after it came.
  EXPECT_TRUE(queue.put_for(std::string(60'000, 'y'), 20s).ok());
}

TYPED_TEST(PutGetTest, ManyAtOnceKeepOrder) {
  Queue queue = this->create();
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) texts.push_back(std::to_string(i));
  const std::vector<Body> bodies(texts.begin(), texts.end());
  std::vector<std::uint64_t> ids(bodies.size());
  const PutManyResult put = queue.put_many(bodies, kForever, ids);
  ASSERT_TRUE(put.status.ok()) << put.status.to_string();
  EXPECT_EQ(put.done, 200u);
  std::size_t next = 0;
  while (next < texts.size()) {
    auto batch = queue.get_many(1s, {.max = 32});
    ASSERT_TRUE(batch.ok()) << batch.status().to_string();
    EXPECT_LE(batch->size(), 32u);
    for (const Message& message : *batch) {
      EXPECT_EQ(message.text(), texts[next]);
      EXPECT_EQ(message.id(), ids[next]);
      ++next;
    }
  }
  EXPECT_TRUE(queue.get_many(0s).status().is(Reason::kEmpty));
}

TYPED_TEST(PutGetTest, ManyStopsWhereItIsFullAndSaysSo) {
  Queue queue = this->create({.max_len = 3});
  const std::vector<Body> bodies(5, Body("x"));
  const PutManyResult put = queue.put_many(bodies, 0s);
  EXPECT_EQ(put.done, 3u);
  EXPECT_TRUE(put.status.is(Reason::kFull));
  EXPECT_EQ(queue.size().value(), 3u);
}

TYPED_TEST(PutGetTest, LoanIsFilledInPlace) {
  Queue queue = this->create();
  for (std::size_t size : {10, 100'000}) {
    Loan loan = queue.loan(size).value();
    ASSERT_GE(loan.bytes().size(), size);
    for (std::size_t i = 0; i < size; ++i) loan.bytes()[i] = std::byte(i % 251);
    ASSERT_TRUE(loan.commit(size).ok());
    EXPECT_TRUE(loan.commit(size).status().is(Reason::kInvalidArgument));
    Message message = queue.get({.ack = Ack::kManual}).value();
    ASSERT_EQ(message.size(), size);
    EXPECT_EQ(message.data()[size - 1], std::byte((size - 1) % 251));
    EXPECT_TRUE(message.ack().ok());
  }
  { auto dropped = queue.loan(50'000).value(); }
  EXPECT_TRUE(queue.empty().value());
  EXPECT_EQ(queue.counts()->bytes, 0u);
}

TYPED_TEST(PutGetTest, ALoanThatIsTooLargeNamesBothValues) {
  Queue queue = this->create({.max_msg_bytes = 1000});
  const Status status = queue.loan(1001).status();
  EXPECT_TRUE(status.is(Reason::kTooLarge)) << status.to_string();
  EXPECT_EQ(status.object(), "queue " + queue.name());
  EXPECT_NE(status.message().find("max_msg_bytes"), std::string::npos);
  EXPECT_EQ(status.limit(), 1000u);
  EXPECT_EQ(status.actual(), 1001u);
  Loan largest = queue.loan(1000).value();
  EXPECT_TRUE(largest.commit(1000).ok());
}

TYPED_TEST(PutGetTest, ABatchKeepsKindsAndBorders) {
  Queue queue = this->create();
  const std::string large(20'000, 'l');
  const std::vector<Body> bodies = {Body("text"), Body(""), Body::json("[1]"),
                                    Body("raw", 3, BodyKind::kData), Body(large)};
  for (const std::size_t from : {std::size_t{0}, std::size_t{3}}) {
    const auto some = std::span(bodies).subspan(from);
    ASSERT_EQ(queue.put_many(some).done, some.size());
    const auto got = queue.get_many(1s, {.ack = Ack::kManual}).value();
    ASSERT_EQ(got.size(), some.size());
    for (std::size_t i = 0; i < some.size(); ++i) {
      EXPECT_EQ(got[i].kind(), some[i].kind);
      ASSERT_EQ(got[i].size(), some[i].length);
      EXPECT_EQ(std::memcmp(got[i].data().data(), some[i].data, some[i].length), 0);
    }
    EXPECT_TRUE(queue.purge(kAllStates).ok());
  }
}

TYPED_TEST(PutGetTest, GetManyIntoReusesTheMessages) {
  Queue queue = this->create();
  std::vector<Message> batch;
  for (const std::size_t size : {std::size_t{5}, std::size_t{3'000}, std::size_t{2'000}}) {
    for (std::size_t i = 0; i < 3; ++i) ASSERT_TRUE(queue.put(std::string(size + i, 'm')).ok());
    for (const std::size_t count : {std::size_t{2}, std::size_t{1}}) {
      ASSERT_TRUE(queue.get_many_into(batch, 1s, {.max = 2}).ok());
      ASSERT_EQ(batch.size(), count);
      for (std::size_t i = 0; i < count; ++i) {
        EXPECT_EQ(batch[i].text(), std::string(size + 2 - 2 * (count - 1) + i, 'm'));
      }
    }
  }
  // What the messages still hold goes back first.
  ASSERT_TRUE(queue.put("held").ok());
  ASSERT_TRUE(queue.get_many_into(batch, 1s, {.ack = Ack::kManual}).ok());
  ASSERT_TRUE(queue.get_many_into(batch, 1s, {.ack = Ack::kManual}).ok());
  EXPECT_EQ(batch.at(0).text(), "held");
  EXPECT_TRUE(batch[0].ack().ok());
  EXPECT_TRUE(queue.get_many_into(batch, 0s).is(Reason::kEmpty));
  EXPECT_TRUE(batch.empty());
  EXPECT_TRUE(queue.get_many_into(batch, 0s, {.max = 0}).is(Reason::kInvalidArgument));
}

TYPED_TEST(PutGetTest, GetIntoReusesTheMessage) {
  Queue queue = this->create();
  Message message;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(queue.put(std::string(1000, static_cast<char>('a' + i))).ok());
    ASSERT_TRUE(queue.get_into(message).ok());
    EXPECT_EQ(message.text(), std::string(1000, static_cast<char>('a' + i)));
  }
  EXPECT_TRUE(queue.get_into(message, 0s).is(Reason::kEmpty));
  EXPECT_EQ(message.size(), 0u);
}

}  // namespace
}  // namespace heddle::test
