// acquire_many: all or none, and never a circle.
#include <unistd.h>

#include <array>
#include <atomic>
#include <string>
#include <vector>

#include "tests/conformance/lock_suite.h"

namespace heddle::test {
namespace {

template <typename T>
class LockManyTest : public LockSuite<T> {
 protected:
  Lock at(const char* suffix, const LockOptions& options = {}) {
    return this->client().lock(this->name(suffix), options).value();
  }
};
TYPED_TEST_SUITE(LockManyTest, Planes, PlaneNames);

TYPED_TEST(LockManyTest, AllOrNone) {
  Lock a = this->at("/a"), b = this->at("/b"), c = this->at("/c", {.kind = LockKind::kRw});
  const std::array<LockWish, 3> wishes{
      {{.lock = &a}, {.lock = &b}, {.lock = &c, .mode = LockMode::kShared}}};
  std::array<Grant, 3> grants;
  ASSERT_TRUE(acquire_many(wishes, grants).ok());
  EXPECT_EQ(grants[0].token, a.token().value());
  EXPECT_EQ(grants[1].token, b.token().value());
  this->elsewhere([&] {
    EXPECT_TRUE(c.try_acquire(LockMode::kShared).ok());
    EXPECT_TRUE(c.release(LockMode::kShared).ok());
    EXPECT_TRUE(acquire_many(wishes, {}, 0ms).is(Reason::kEmpty));
    EXPECT_TRUE(acquire_many(wishes, {}, 30ms).is(Reason::kTimedOut));
    return true;
  });
  EXPECT_TRUE(release_many(wishes).ok());
  EXPECT_TRUE(release_many(wishes).is(Reason::kLeaseLost));
}

TYPED_TEST(LockManyTest, WhoWaitsHoldsNothing) {
  Lock a = this->at("/a"), b = this->at("/b");
  ASSERT_TRUE(b.acquire().ok());
  std::thread other([&] {
    const std::array<LockWish, 2> wishes{{{.lock = &a}, {.lock = &b}}};
    EXPECT_TRUE(acquire_many(wishes).ok());
    EXPECT_TRUE(release_many(wishes).ok());
  });
  EXPECT_TRUE(this->soon([&] { return b.info().value().waiters.size() == 1; }));
  EXPECT_FALSE(a.locked().value());
  EXPECT_TRUE(b.release().ok());
  other.join();
}

TYPED_TEST(LockManyTest, InAnyOrderNobodyWaitsForEver) {
  std::vector<Lock> locks;
  for (const char* suffix : {"/a", "/b", "/c"}) locks.push_back(this->at(suffix));
  int count = 0;  // Plain: everybody has all three.
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      std::vector<LockWish> wishes;
      for (int j = 0; j < 3; ++j) wishes.push_back({.lock = &locks[(i + j) % 3]});
      for (int round = 0; round < 300; ++round) {
        ASSERT_TRUE(acquire_many(wishes).ok());
        ++count;
        ASSERT_TRUE(release_many(wishes).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, 900);
}

TYPED_TEST(LockManyTest, ACircleOfPlainAcquiresIsBroken) {
  Lock a = this->at("/a"), b = this->at("/b");
  std::atomic<int> holding{0}, broken{0};
  const auto cross = [&](Lock& first, Lock& second) {
    ASSERT_TRUE(first.acquire().ok());
    ++holding;
    while (holding < 2) std::this_thread::sleep_for(1ms);
    auto grant = second.acquire_for(10s);
    if (!grant) {
      ++broken;
      const std::string text = grant.status().to_string();
      EXPECT_TRUE(grant.status().is(Reason::kDeadlockDetected)) << text;
      EXPECT_NE(text.find(this->name("/a")), std::string::npos) << text;
      EXPECT_NE(text.find(this->name("/b")), std::string::npos) << text;
      EXPECT_NE(text.find("pid " + std::to_string(getpid())), std::string::npos) << text;
    } else {
      EXPECT_TRUE(second.release().ok());
    }
    EXPECT_TRUE(first.release().ok());
  };
  std::thread one([&] { cross(a, b); });
  std::thread other([&] { cross(b, a); });
  one.join();
  other.join();
  EXPECT_EQ(broken.load(), 1);
  const std::string report = this->client().lock_report(LockReport::kDeadlocks).value();
  EXPECT_NE(report.find(this->name("/a")), std::string::npos) << report;
}

TYPED_TEST(LockManyTest, RefusesWhatCannotBe) {
  Lock a = this->at("/a"), again = this->at("/a"), none;
  std::array<Grant, 1> grants;
  const std::array<LockWish, 2> twice{{{.lock = &a}, {.lock = &again}}};
  EXPECT_TRUE(acquire_many(twice).is(Reason::kInvalidArgument));
  EXPECT_TRUE(acquire_many(twice, grants).is(Reason::kInvalidArgument));
  const std::array<LockWish, 1> empty{{{.lock = &none}}};
  EXPECT_TRUE(acquire_many(empty).is(Reason::kInvalidArgument));
  EXPECT_TRUE(acquire_many({}).ok());
  EXPECT_FALSE(a.locked().value());
}

}  // namespace
}  // namespace heddle::test
