// Fenced puts: refused once somebody else has been granted the lock, on every plane.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/conformance/lock_suite.h"

namespace heddle::test {
namespace {

template <typename T>
class FenceTest : public LockSuite<T> {
 protected:
  void SetUp() override {
    LockSuite<T>::SetUp();
    near_ = Client::connect({.runtime_dir = this->daemon().runtime_dir(), .plane = Plane::kShm})
                .value();
  }
  void TearDown() override {
    near_ = Client();
    LockSuite<T>::TearDown();
  }
  Lock office() { return near_.lock(this->name("/office")).value(); }
  static std::uint64_t grant(Lock& lock) {
    const std::uint64_t token = lock.acquire().value().token;
    EXPECT_TRUE(lock.release().ok());
    return token;
  }
  Client near_;
};
TYPED_TEST_SUITE(FenceTest, Planes, PlaneNames);

TYPED_TEST(FenceTest, TheHolderWritesAndTheLateOneDoesNot) {
  Queue queue = this->create();
  Lock office = this->office();
  auto first = office.guard().value();
  const Fence old = first.fence();
  EXPECT_EQ(old.lock, office.name());
  const std::uint64_t id = queue.put("one", old).value();
  EXPECT_TRUE(first.release().ok());
  EXPECT_GT(queue.put("nobody has it since", old).value(), id);
  const Fence now = office.guard().value().fence();
  const Status stale = queue.put("late", old).status();
  EXPECT_TRUE(stale.is(Reason::kStaleFence)) << stale.to_string();
  EXPECT_EQ(stale.code(), Code::kFailedPrecondition);
  EXPECT_FALSE(stale.outcome());
  const std::string words = stale.to_string();
  EXPECT_NE(words.find(office.name()), std::string::npos) << words;
  EXPECT_NE(words.find(std::to_string(old.token)), std::string::npos) << words;
  EXPECT_NE(words.find(std::to_string(now.token)), std::string::npos) << words;
  EXPECT_TRUE(queue.put("two", now).ok());
  EXPECT_TRUE(queue.put("not fenced").ok());
  std::vector<std::string> texts;
  while (auto message = queue.try_get()) texts.push_back(std::string(message->text()));
  EXPECT_EQ(texts, (std::vector<std::string>{"one", "nobody has it since", "two", "not fenced"}));
}

TYPED_TEST(FenceTest, TheQueueRemembersWhatItWasShown) {
  Queue queue = this->create();
  Queue other = this->client().create_queue(this->queue_name() + "/other", {}).value();
  const std::string far = this->name("/of-another-daemon");
  EXPECT_TRUE(queue.put("a", {far, 10}).ok());
  EXPECT_TRUE(queue.put("b", {far, 12}).ok());
  EXPECT_TRUE(queue.put("c", {far, 11}).status().is(Reason::kStaleFence));
  EXPECT_TRUE(other.put("each for itself", {far, 11}).ok());
  this->daemon().kill_broker();
  EXPECT_TRUE(queue.put("d", {far, 11}).status().is(Reason::kStaleFence));
  EXPECT_TRUE(queue.put("e", {far, 12}).ok());
  EXPECT_EQ(queue.size().value(), 3u);
}

TYPED_TEST(FenceTest, TheLockMayBeDeletedAndMadeAnew) {
  Queue queue = this->create();
  Lock office = this->office();
  const Fence first{office.name(), this->grant(office)};
  const Fence second{office.name(), this->grant(office)};
  EXPECT_TRUE(queue.put("a", second).ok());
  ASSERT_TRUE(this->near_.delete_lock(SyncKind::kLock, office.name()).ok());
  EXPECT_TRUE(queue.put("b", first).status().is(Reason::kStaleFence));
  EXPECT_TRUE(queue.put("c", second).ok());
  Lock anew = this->office();
  const Fence third{anew.name(), this->grant(anew)};
  EXPECT_TRUE(queue.put("d", second).status().is(Reason::kStaleFence));
  EXPECT_TRUE(queue.put("e", third).ok());
}

TYPED_TEST(FenceTest, WhatCannotBeAFenceIsSaid) {
  Queue queue = this->create();
  Lock office = this->office();
  const std::uint64_t token = this->grant(office);
  const Status ahead = queue.put("x", {office.name(), token + 1}).status();
  EXPECT_TRUE(ahead.is(Reason::kInvalidArgument)) << ahead.to_string();
  EXPECT_TRUE(queue.put("x", {office.name(), 0}).status().is(Reason::kInvalidArgument));
  EXPECT_TRUE(queue.put("x", {"no good name!", 1}).status().is(Reason::kInvalidName));
  EXPECT_TRUE(queue.put("x", {std::string(300, 'a'), 1}).status().is(Reason::kInvalidName));
  EXPECT_EQ(queue.size().value(), 0u);
}

TYPED_TEST(FenceTest, CarriesEverySizeAndEveryOutcome) {
  Queue queue = this->create({.max_len = 2, .max_msg_bytes = 2'000'000});
  const Fence fence{this->name("/far"), 1};
  for (const std::size_t size : {0, 1, 100, 59'999, 60'000, 60'001, 200'000, 2'000'000}) {
    std::string body(size, '\0');
    for (std::size_t i = 0; i < size; ++i) body[i] = static_cast<char>('a' + i % 23);
    ASSERT_TRUE(queue.put(body, fence).ok()) << size;
    EXPECT_TRUE(queue.get().value().text() == body) << size;
  }
  const Status large = queue.put(std::string(2'000'001, 'x'), fence).status();
  EXPECT_TRUE(large.is(Reason::kTooLarge)) << large.to_string();
  ASSERT_TRUE(queue.put("1", fence).ok());
  const auto many = queue.put_many(std::vector<Body>{"2", "3"}, fence, 0ns);
  EXPECT_EQ(many.done, 1u);
  EXPECT_TRUE(many.status.is(Reason::kFull)) << many.status.to_string();
  const Status waited = queue.put("3", fence, 90ms).status();
  EXPECT_TRUE(waited.is(Reason::kTimedOut)) << waited.to_string();
  std::thread taker([&] {
    std::this_thread::sleep_for(80ms);
    EXPECT_EQ(queue.get().value().text(), "1");
  });
  EXPECT_TRUE(queue.put("3", fence).ok());
  taker.join();
  ASSERT_TRUE(queue.shutdown().ok());
  EXPECT_TRUE(queue.put("4", fence).status().is(Reason::kClosed));
}

// Old and new owners write as fast as they can while brokers are stopped and killed.
TYPED_TEST(FenceTest, NothingOldComesAfterNewWhateverHappensToTheBroker) {
  Queue queue = this->create({.max_len = 100'000});
  Lock office = this->office();
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> newest{this->grant(office)};
  std::atomic<std::uint64_t> accepted{0}, refused{0};
  std::vector<std::thread> writers;
  for (int i = 0; i < 3; ++i) {
    writers.emplace_back([&] {
      Client own = this->connect();
      Queue mine = own.queue(queue.name()).value();
      for (std::uint64_t token = newest; !stop; token = newest) {
        for (int n = 0; n < 5; ++n) {
          const auto put = mine.put(std::to_string(token), Fence{office.name(), token});
          if (put)
            ++accepted;
          else if (put.status().is(Reason::kStaleFence))
            ++refused;
          else
            ADD_FAILURE() << put.status().to_string();
        }
      }
    });
  }
  for (int i = 0; i < 40; ++i) {
    newest = this->grant(office);
    const pid_t broker = this->daemon().broker_pid();
    if (i % 4 == 1) {
      ::kill(broker, SIGSTOP);
      std::this_thread::sleep_for(5ms);
      newest = this->grant(office);
      ::kill(broker, SIGCONT);
    } else if (i % 10 == 2) {
      this->daemon().kill_broker();
    }
    std::this_thread::sleep_for(10ms);
  }
  stop = true;
  for (std::thread& writer : writers) writer.join();
  std::uint64_t last = 0, found = 0;
  for (; auto message = queue.try_get(); ++found) {
    const std::uint64_t token = std::stoull(std::string(message->text()));
    EXPECT_GE(token, last) << "message " << found;
    last = token;
  }
  EXPECT_EQ(found, accepted);
  EXPECT_GT(refused, 0u);
  EXPECT_GT(accepted, 0u);
}

}  // namespace
}  // namespace heddle::test
