// A thread of the broker that stops between the check of a fence and the publication: nobody's
// newer write gets in between, and nobody else is held up for good.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <map>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include "daemon/objects/queue.h"
#include "proto/shm/futex.h"
#include "tests/unit/shm/queue_fixture.h"

namespace heddle::objects {
namespace {

// One that stops whoever shows token `stops_at`, right after the token has been taken note of.
class StoppingHost final : public Host {
 public:
  explicit StoppingHost(shm::QueueSegment& segment) : segment_(segment) {}

  int64_t now_ns() const override { return shm::monotonic_ns(); }
  void at(int64_t, std::function<void()>) override {}
  uint16_t own_owner() const override { return 1; }
  shm::JournalLine* own_journal(uint16_t* thread) override {
    thread_local const uint16_t line = next_line_++;
    *thread = line;
    return segment_.line(line);
  }
  uint16_t sessionless_owner() const override { return 2; }
  int64_t message_lease_ns() const override { return 1'000'000'000; }
  void recorded_put_begins(uint64_t) override {}
  void recorded_put_ended(uint64_t, uint64_t) override {}
  Result<uint64_t> raise_fence(uint64_t, std::string_view lock, uint64_t token) override {
    uint64_t& newest = newest_[std::string(lock)];  // under the queue's mutex
    newest = std::max(newest, token);
    const uint64_t seen = newest;
    if (token == stops_at) {
      stopped.release();
      go_on.acquire();
    }
    return seen;
  }
  OwnerInfo describe_owner(uint16_t) const override { return {}; }
  void set_waiting(uint64_t, bool) override {}

  uint64_t stops_at = 0;
  std::binary_semaphore stopped{0}, go_on{0};

 private:
  shm::QueueSegment& segment_;
  std::map<std::string, uint64_t> newest_;
  static inline std::atomic<uint16_t> next_line_{3};
};

class FenceTurnTest : public testing::Test {
 protected:
  void SetUp() override {
    auto queue = Queue::adopt(host_, "q", 7, segment_.base(), segment_.bytes(), segment_.fd(), {});
    ASSERT_TRUE(queue.ok());
    queue_ = *queue;
  }
  Status put(uint64_t token) {
    const std::string body = std::to_string(token);
    Status status;
    queue_->put_async(
        {}, {{1, body}}, 0, [&](PutResult result) { status = result.status; }, {},
        Fence{.lock = "l", .token = token});
    return status;
  }
  std::vector<std::string> bodies() {
    std::vector<std::string> out;
    for (const auto& item : queue_->browse({.body_bytes_max = 16})) out.push_back(item.body);
    return out;
  }

  shm::QueueSegment segment_{shm::small_limits()};
  StoppingHost host_{segment_};
  std::shared_ptr<Queue> queue_;
};

TEST_F(FenceTurnTest, NothingNewerGetsBetweenTheCheckAndThePublication) {
  host_.stops_at = 5;
  auto older = std::async(std::launch::async, [this] { return put(5); });
  host_.stopped.acquire();
  auto newer = std::async(std::launch::async, [this] { return put(6); });
  EXPECT_EQ(newer.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  host_.go_on.release();
  EXPECT_TRUE(older.get().ok());
  EXPECT_TRUE(newer.get().ok());
  EXPECT_EQ(bodies(), (std::vector<std::string>{"5", "6"}));
  host_.stops_at = 0;
  const Status stale = put(5);
  EXPECT_TRUE(stale.is(Reason::kStaleFence));
  EXPECT_EQ(stale.limit(), 6u);
  EXPECT_EQ(stale.actual(), 5u);
}

TEST_F(FenceTurnTest, AnOlderOneThatWaitsForTheTurnIsRefused) {
  host_.stops_at = 6;
  auto newer = std::async(std::launch::async, [this] { return put(6); });
  host_.stopped.acquire();
  auto older = std::async(std::launch::async, [this] { return put(5); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  host_.go_on.release();
  EXPECT_TRUE(newer.get().ok());
  EXPECT_TRUE(older.get().is(Reason::kStaleFence));
  EXPECT_EQ(bodies(), std::vector<std::string>{"6"});
}

// Those who wait for room stand in line; each is checked when its turn comes.
TEST_F(FenceTurnTest, WaitersForRoomAreCheckedInTheirTurn) {
  while (put(5).ok()) {
  }
  const std::string body = "waiter";
  std::vector<std::future<Status>> ends;
  for (const uint64_t token : {5, 6, 5}) {
    auto ended = std::make_shared<std::promise<Status>>();
    ends.push_back(ended->get_future());
    queue_->put_async(
        {}, {{1, body}}, shm::kForever,
        [ended](PutResult result) { ended->set_value(result.status); }, {},
        Fence{.lock = "l", .token = token});
  }
  EXPECT_TRUE(queue_->purge(shm::kReadyMask).ok());
  EXPECT_TRUE(ends[0].get().ok());
  EXPECT_TRUE(ends[1].get().ok());
  EXPECT_TRUE(ends[2].get().is(Reason::kStaleFence));
  EXPECT_EQ(bodies().size(), 2u);
}

}  // namespace
}  // namespace heddle::objects
