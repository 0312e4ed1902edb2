// Locks of the C++ library over a connection that breaks, loses replies, or is silent for longer
// than the lease.
#include <gtest/gtest.h>
#include <heddle/heddle.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/grpc/relay.h"
#include "tests/support/daemon_fixture.h"
#include "tests/support/leak_check.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;

class LockChannelTest : public test::DaemonFixture {
 protected:
  void SetUp() override {
    test::allow_leaks("gRPC keeps threads and descriptors");
    DaemonFixture::SetUp();
    relay_.emplace(dir_.file("relay.sock"), runtime_dir() + "/grpc.sock");
    far_ = Client::connect({.address = "unix:" + dir_.file("relay.sock"),
                            .timeout = 10s,
                            .on_session = [this](const SessionEvent& event) { note(event); }})
               .value();
    near_ = Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kGrpc}).value();
  }
  void TearDown() override {
    far_ = near_ = Client();
    relay_.reset();
    DaemonFixture::TearDown();
  }
  test::Daemon::Options options() override {
    return {.config = R"({"session_lease_ms": 1500})", .args = {}};
  }

  void note(const SessionEvent& event) {
    std::lock_guard lock(mutex_);
    events_.push_back(event);
    changed_.notify_all();
  }
  // The event of that number, once it is there.
  SessionEvent event(std::size_t index) {
    std::unique_lock lock(mutex_);
    const bool came = changed_.wait_for(lock, 15s, [&] { return events_.size() > index; });
    EXPECT_TRUE(came) << "event " << index;
    return came ? events_[index] : SessionEvent();
  }
  static bool soon(const std::function<bool()>& true_soon) {
    for (int i = 0; i < 1'000; ++i) {
      if (true_soon()) return true;
      std::this_thread::sleep_for(10ms);
    }
    return false;
  }

  test::TempDir dir_;
  std::optional<test::Relay> relay_;
  Client far_, near_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<SessionEvent> events_;
};

TEST_F(LockChannelTest, ABrokenConnectionIsUnsureUntilItIsResumed) {
  Lock lock = far_.lock("ledger").value();
  const Grant grant = lock.acquire().value();
  EXPECT_EQ(far_.session_state(), SessionState::kHeld);
  relay_->cut();
  EXPECT_EQ(event(0).state, SessionState::kUnsure);
  EXPECT_EQ(event(1).state, SessionState::kHeld);
  EXPECT_EQ(far_.session_state(), SessionState::kHeld);
  EXPECT_EQ(lock.token().value(), grant.token);
  EXPECT_TRUE(lock.release().ok());
}

TEST_F(LockChannelTest, SilenceBeyondTheLeaseLosesWhatWasHeld) {
  Lock lock = far_.lock("ledger", {.lock_delay = 0ms}).value();
  ASSERT_TRUE(lock.acquire().ok());
  relay_->freeze(true);
  EXPECT_EQ(event(0).state, SessionState::kUnsure);
  Lock other = near_.lock("ledger").value();
  EXPECT_TRUE(other.acquire_for(10s).value().abandoned);
  relay_->freeze(false);
  const SessionEvent lost = event(1);
  EXPECT_EQ(lost.state, SessionState::kLost);
  EXPECT_EQ(lost.lost, std::vector<std::string>{"lock ledger"});
  EXPECT_EQ(event(2).state, SessionState::kHeld);  // another session
  EXPECT_TRUE(lock.release().is(Reason::kLeaseLost));
  EXPECT_TRUE(lock.try_acquire().status().is(Reason::kEmpty));
  EXPECT_TRUE(other.release().ok());
  EXPECT_TRUE(lock.acquire_for(5s).ok());
  EXPECT_TRUE(lock.release().ok());
}

TEST_F(LockChannelTest, TakenByForceItsHolderIsToldByName) {
  Lock lock = far_.lock("ledger").value();
  ASSERT_TRUE(lock.acquire().ok());
  ASSERT_TRUE(near_.force_release(SyncKind::kLock, "ledger").ok());
  const SessionEvent lost = event(0);
  EXPECT_EQ(lost.state, SessionState::kLost);
  EXPECT_EQ(lost.lost, std::vector<std::string>{"lock ledger"});
  EXPECT_EQ(far_.session_state(), SessionState::kHeld);
  EXPECT_TRUE(lock.release().is(Reason::kLeaseLost));
}

TEST_F(LockChannelTest, ALostReplyIsTheSameGrant) {
  Lock lock = far_.lock("ledger", {.kind = LockKind::kRlock}).value();
  Semaphore seats = far_.semaphore("seats", {.permits = 5}).value();
  relay_->deafen(true);
  Result<Grant> grant = Reason::kInternal, permits = Reason::kInternal;
  std::thread first([&] {
    grant = lock.acquire();
    // Once: one release lets go of it.
    EXPECT_TRUE(lock.release().ok());
    EXPECT_TRUE(lock.release().is(Reason::kLeaseLost));
  });
  std::thread second([&] { permits = seats.acquire(2); });
  const auto token = near_.lock("ledger")->token().value();
  EXPECT_TRUE(soon([&] { return near_.lock("ledger")->locked().value(); }));
  EXPECT_TRUE(soon([&] { return near_.semaphore("seats")->value().value() == 3; }));
  relay_->deafen(false);
  relay_->cut();
  first.join();
  second.join();
  ASSERT_TRUE(grant.ok()) << grant.status().to_string();
  EXPECT_LE(grant->token, token + 1);
  ASSERT_TRUE(permits.ok()) << permits.status().to_string();
  EXPECT_EQ(near_.semaphore("seats")->value().value(), 3u);
  EXPECT_FALSE(near_.lock("ledger")->locked().value());

  relay_->deafen(true);
  Status released = Reason::kInternal;
  std::thread third([&] { released = seats.release(1); });
  EXPECT_TRUE(soon([&] { return near_.semaphore("seats")->value().value() == 4; }));
  relay_->deafen(false);
  relay_->cut();
  third.join();
  EXPECT_TRUE(released.ok()) << released.to_string();
  EXPECT_EQ(near_.semaphore("seats")->value().value(), 4u);
}

TEST_F(LockChannelTest, TheNextBrokerGivesTheSameGrant) {
  Lock ledger = far_.lock("ledger").value();
  Lock archive = far_.lock("archive", {.kind = LockKind::kRw}).value();
  Semaphore seats = far_.semaphore("seats", {.permits = 5}).value();
  Semaphore tickets = far_.semaphore("tickets", {.permits = 5, .counting = true}).value();
  const auto free = [&](const char* name) { return near_.semaphore(name)->value().value(); };
  relay_->deafen(true);
  Status many = Reason::kInternal;
  Result<Grant> two = Reason::kInternal, counted = Reason::kInternal;
  std::thread first([&] {
    many = acquire_many(std::vector<LockWish>{{&ledger}, {&archive, LockMode::kShared}});
    // Once each.
    EXPECT_TRUE(ledger.release().ok());
    EXPECT_TRUE(archive.release(LockMode::kShared).ok());
    EXPECT_TRUE(archive.release(LockMode::kShared).is(Reason::kLeaseLost));
  });
  std::thread second([&] { two = seats.acquire(2); });
  std::thread third([&] { counted = tickets.acquire(2); });
  EXPECT_TRUE(soon([&] { return near_.lock("ledger")->locked().value(); }));
  EXPECT_TRUE(soon([&] { return near_.lock("archive")->locked().value(); }));
  EXPECT_TRUE(soon([&] { return free("seats") == 3 && free("tickets") == 3; }));
  daemon().kill_broker();
  relay_->deafen(false);
  relay_->cut();
  first.join();
  second.join();
  third.join();
  EXPECT_TRUE(many.ok()) << many.to_string();
  EXPECT_TRUE(two.ok()) << two.status().to_string();
  EXPECT_TRUE(counted.ok()) << counted.status().to_string();
  EXPECT_EQ(free("seats"), 3u);
  EXPECT_EQ(free("tickets"), 3u);
  EXPECT_TRUE(seats.release(2).ok());
  EXPECT_TRUE(seats.release(1).is(Reason::kLeaseLost));
}

TEST_F(LockChannelTest, AGrantWhoseReplyComesAfterTheDeadlineIsTold) {
  Lock lock = far_.lock("ledger").value();
  relay_->deafen(true);
  Result<Grant> grant = Reason::kInternal;
  std::thread asks([&] {
    grant = lock.acquire_for(50ms);
    if (grant.ok()) {
      EXPECT_TRUE(lock.release().ok());
    }
  });
  EXPECT_TRUE(soon([&] { return near_.lock("ledger")->locked().value(); }));
  std::this_thread::sleep_for(100ms);
  relay_->deafen(false);
  relay_->cut();
  asks.join();
  EXPECT_TRUE(grant.ok()) << grant.status().to_string();
  EXPECT_FALSE(near_.lock("ledger")->locked().value());
}

TEST_F(LockChannelTest, AWaitGoesOnOverTheBrokersDeath) {
  Lock lock = near_.lock("ledger").value();
  const Grant grant = lock.acquire().value();
  std::thread waiter([&] {
    Lock mine = far_.lock("ledger").value();
    const auto next = mine.acquire_for(20s);
    ASSERT_TRUE(next.ok()) << next.status().to_string();
    EXPECT_EQ(next->token, grant.token + 1);
    EXPECT_TRUE(mine.release().ok());
  });
  EXPECT_TRUE(soon([&] { return lock.info()->waiters.size() == 1; }));
  daemon().kill_broker();
  EXPECT_TRUE(soon([&] { return lock.info()->waiters.size() == 1; }));
  EXPECT_TRUE(lock.release().ok());
  waiter.join();
}

}  // namespace
}  // namespace heddle
