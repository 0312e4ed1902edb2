// Locks in the broker: names, rights, remote callers, deaths, restarts, deadlocks; without sockets.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <future>
#include <map>
#include <thread>

#include "daemon/broker/core.h"
#include "daemon/os/files.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/broker/fake_supervisor.h"

namespace heddle::broker {
namespace {

using objects::LockAsk;
using objects::LockOp;
using objects::LockReply;
using shm::LockMode;

constexpr int64_t kMs = 1'000'000;

Caller user(uid_t uid, gid_t gid = 100) {
  Caller caller;
  caller.uid = uid;
  caller.gid = gid;
  return caller;
}

class LockCoreTest : public testing::Test {
 protected:
  void SetUp() override {
    options_.scan_ms = 20;
    start();
  }
  void TearDown() override { stop(); }

  void start() {
    keeper_ = std::make_unique<local::Keeper>(supervisor_.connect());
    loop_ = std::make_unique<Loop>();
    auto core = Core::start(*loop_, *keeper_, options_);
    ASSERT_TRUE(core.ok()) << core.status().to_string();
    core_ = *std::move(core);
    thread_ = std::thread([this] { loop_->run(); });
  }
  // For the next incarnation it looks as after a kill.
  void stop() {
    if (loop_) loop_->stop();
    if (thread_.joinable()) thread_.join();
    core_.reset();
    keeper_.reset();
    loop_.reset();
    supervisor_.disconnect();
  }

  Caller session(uid_t uid = 1000, int64_t lease_ns = 0) {
    Caller caller = user(uid);
    const auto opened = core_->open_session(caller, lease_ns, "test", nullptr);
    EXPECT_TRUE(opened.ok());
    EXPECT_TRUE(core_->enter_session(caller, opened->session_id).ok());
    return caller;
  }
  Result<LockRef> open(const Caller& caller, const std::string& name,
                       shm::LockKind lock_kind = shm::LockKind::kMutex,
                       ObjectKind kind = ObjectKind::kLock, uint32_t count = 0) {
    LockOptions options{};
    options.given = local::kGivenLockKind;
    options.lock_kind = static_cast<uint8_t>(lock_kind);
    if (count != 0) options.given |= local::kGivenCount;
    options.count = count;
    return core_->open_lock(caller, kind, name, options, "", {.create = true});
  }
  static std::future<LockReply> ask(objects::Lock& lock, const Caller& caller, LockAsk what,
                                    int64_t wait_ms, objects::LockWait* wait = nullptr) {
    auto done = std::make_shared<std::promise<LockReply>>();
    const int64_t deadline = wait_ms == 0  ? 0
                             : wait_ms < 0 ? shm::kLockForever
                                           : shm::monotonic_ns() + wait_ms * kMs;
    auto started = lock.start(caller, what, deadline,
                              [done](LockReply reply) { done->set_value(std::move(reply)); });
    if (wait != nullptr) *wait = started;
    return done->get_future();
  }
  static LockReply acquire(objects::Lock& lock, const Caller& caller, int64_t wait_ms = 0,
                           uint16_t thread = 0) {
    return ask(lock, caller, {.thread = thread}, wait_ms).get();
  }

  test::FakeSupervisor supervisor_;
  config::Options options_;
  std::unique_ptr<local::Keeper> keeper_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Core> core_;
  std::thread thread_;
};

TEST_F(LockCoreTest, NamesKindsRightsAndOptions) {
  const Caller me = session();
  const auto made = open(me, "~/a");
  ASSERT_TRUE(made.ok()) << made.status().to_string();
  EXPECT_TRUE(made->created);
  EXPECT_EQ(made->name, "uid-1000/a");
  EXPECT_FALSE(open(me, "~/a")->created);
  const auto other = open(me, "~/a", shm::LockKind::kRw);
  EXPECT_EQ(other.reason(), Reason::kExistsOtherOptions);
  EXPECT_NE(other.status().to_string().find("kind is mutex, asked was rw"), std::string::npos)
      << other.status().to_string();
  EXPECT_EQ(open(me, "sys/a").reason(), Reason::kInvalidName);
  // One name space per kind.
  EXPECT_TRUE(open(me, "~/a", shm::LockKind::kEvent, ObjectKind::kEvent)->created);
  const auto none = open(me, "s", shm::LockKind::kSemaphore, ObjectKind::kSemaphore);
  EXPECT_EQ(none.reason(), Reason::kNotFound);
  EXPECT_NE(none.status().to_string().find("heddle sem create s -n COUNT"), std::string::npos);
  EXPECT_TRUE(open(me, "s", shm::LockKind::kSemaphore, ObjectKind::kSemaphore, 3).ok());
  EXPECT_EQ(open(me, "wrong", shm::LockKind::kEvent).reason(), Reason::kInvalidArgument);
  const Caller stranger = session(2000);
  EXPECT_EQ(core_->find_lock(stranger, ObjectKind::kLock, "uid-1000/a", Need::kRead).reason(),
            Reason::kNotFound);
  EXPECT_EQ(core_->delete_lock(stranger, ObjectKind::kLock, "uid-1000/a").reason(),
            Reason::kNotFound);
  EXPECT_EQ(core_->list_locks(me, ObjectKind::kLock, "", "", 10).size(), 1u);
  EXPECT_TRUE(core_->delete_lock(me, ObjectKind::kLock, "~/a").ok());
  EXPECT_EQ(core_->list_locks(me, ObjectKind::kLock, "", "", 10).size(), 0u);
}

TEST_F(LockCoreTest, RemoteCallersWaitAndAreServed) {
  const Caller a = session(), b = session();
  const auto ref = open(a, "m");
  objects::Lock& lock = *ref->lock;
  EXPECT_EQ(acquire(lock, user(1000)).status.reason(), Reason::kInvalidArgument);  // no session
  const LockReply first = acquire(lock, a);
  ASSERT_TRUE(first.status.ok()) << first.status.to_string();
  EXPECT_EQ(acquire(lock, b).status.reason(), Reason::kTimedOut);
  EXPECT_EQ(acquire(lock, b, 30).status.reason(), Reason::kTimedOut);
  auto waiting = ask(lock, b, {}, -1);
  EXPECT_EQ(lock.inspect().remote_waiting, 1u);
  EXPECT_EQ(lock.release(b, LockMode::kExclusive, 1, 0).reason(), Reason::kLeaseLost);
  ASSERT_TRUE(lock.release(a, LockMode::kExclusive, 1, 0).ok());
  const LockReply second = waiting.get();
  ASSERT_TRUE(second.status.ok());
  EXPECT_GT(second.grant.token, first.grant.token);
  objects::LockWait wait;
  auto cancelled = ask(lock, a, {}, -1, &wait);
  lock.cancel(wait);
  EXPECT_EQ(cancelled.get().status.reason(), Reason::kInterrupted);
  EXPECT_FALSE(lock.has_waiting());
}

TEST_F(LockCoreTest, AnEndedSessionLosesWhatItHeldAndWaitedFor) {
  const Caller a = session(), b = session();
  objects::Lock& lock = *open(a, "m")->lock;
  ASSERT_TRUE(acquire(lock, a).status.ok());
  auto never = ask(lock, a, {.thread = 1}, -1);
  auto next = ask(lock, b, {}, -1);
  ASSERT_TRUE(core_->close_session(user(1000), a.session_id).ok());
  EXPECT_EQ(never.get().status.reason(), Reason::kSessionLost);
  const LockReply reply = next.get();
  ASSERT_TRUE(reply.status.ok()) << reply.status.to_string();
  EXPECT_TRUE(reply.grant.abandoned);
}

// A call that had shown its session just before the session ended.
TEST_F(LockCoreTest, AnEndedSessionAcquiresNothing) {
  const Caller a = session(), b = session();
  objects::Lock& lock = *open(a, "m")->lock;
  objects::Lock& sem = *open(a, "s", shm::LockKind::kSemaphore, ObjectKind::kSemaphore, 2)->lock;
  ASSERT_TRUE(core_->close_session(user(1000), a.session_id).ok());
  EXPECT_EQ(acquire(lock, a).status.reason(), Reason::kSessionLost);
  EXPECT_EQ(ask(sem, a, {.n = 2}, -1).get().status.reason(), Reason::kSessionLost);
  ASSERT_TRUE(acquire(lock, b).status.ok());
  EXPECT_EQ(acquire(lock, a, -1).status.reason(), Reason::kSessionLost);
  EXPECT_FALSE(lock.has_waiting());
  EXPECT_EQ(sem.inspect().free, 2u);
}

TEST_F(LockCoreTest, ALostRemoteHolderKeepsItForTheLockDelay) {
  LockOptions options{};
  options.given = local::kGivenLockDelay;
  options.lock_delay_ms = 1500;
  Caller a = user(1000);
  const auto opened = core_->open_session(a, 1'000 * kMs, "test", nullptr);
  ASSERT_TRUE(opened.ok());
  ASSERT_TRUE(core_->enter_session(a, opened->session_id).ok());
  const Caller b = session();
  const auto ref = core_->open_lock(a, ObjectKind::kLock, "m", options, "", {.create = true});
  ASSERT_TRUE(acquire(*ref->lock, a).status.ok());
  const int64_t start = shm::monotonic_ns();
  const LockReply reply = acquire(*ref->lock, b, 10'000);
  ASSERT_TRUE(reply.status.ok()) << reply.status.to_string();
  EXPECT_TRUE(reply.grant.abandoned);
  EXPECT_GE(shm::monotonic_ns() - start, 2'400 * kMs);  // the lease, then the delay
}

TEST_F(LockCoreTest, PermitsOfALostSessionComeBackAtOnce) {
  const Caller a = session(1000, 1'000 * kMs), b = session();
  const auto ref = open(a, "s", shm::LockKind::kSemaphore, ObjectKind::kSemaphore, 2);
  objects::Lock& sem = *ref->lock;
  ASSERT_TRUE(ask(sem, a, {.n = 2}, 0).get().status.ok());
  const LockReply reply = ask(sem, b, {.n = 2}, 10'000).get();
  EXPECT_TRUE(reply.status.ok()) << reply.status.to_string();
}

TEST_F(LockCoreTest, EveryKindWaitsRemotely) {
  const Caller a = session(), b = session();
  objects::Lock& rw = *open(a, "rw", shm::LockKind::kRw)->lock;
  ASSERT_TRUE(ask(rw, a, {.mode = LockMode::kShared}, 0).get().status.ok());
  auto writer = ask(rw, b, {.mode = LockMode::kExclusive}, -1);
  // The writer's claim stands: no reader gets in before it.
  EXPECT_EQ(ask(rw, a, {.mode = LockMode::kShared, .thread = 3}, 0).get().status.reason(),
            Reason::kTimedOut);
  ASSERT_TRUE(rw.release(a, LockMode::kShared, 1, 0).ok());
  ASSERT_TRUE(writer.get().status.ok());
  ASSERT_TRUE(rw.release(b, LockMode::kExclusive, 1, 0).ok());

  objects::Lock& sem = *open(a, "s", shm::LockKind::kSemaphore, ObjectKind::kSemaphore, 2)->lock;
  ASSERT_TRUE(ask(sem, a, {.n = 2}, 0).get().status.ok());
  auto permit = ask(sem, b, {.n = 1}, -1);
  ASSERT_TRUE(sem.release(a, LockMode::kExclusive, 1, 0).ok());
  ASSERT_TRUE(permit.get().status.ok());

  objects::Lock& event = *open(a, "e", shm::LockKind::kEvent, ObjectKind::kEvent)->lock;
  auto woken = ask(event, user(1000), {.op = LockOp::kWaitEvent}, -1);
  ASSERT_TRUE(event.set_event(true).ok());
  EXPECT_TRUE(woken.get().status.ok());

  objects::Lock& cond = *open(a, "c", shm::LockKind::kCondition, ObjectKind::kCondition)->lock;
  ASSERT_TRUE(acquire(cond, a).status.ok());
  auto notified = ask(cond, a, {.op = LockOp::kWait}, -1);
  ASSERT_TRUE(acquire(cond, b).status.ok());  // a let it go
  EXPECT_EQ(*cond.notify(b, 1, false), 1u);
  ASSERT_TRUE(cond.release(b, LockMode::kExclusive, 1, 0).ok());
  EXPECT_TRUE(notified.get().status.ok());
  EXPECT_EQ(ask(cond, a, {.op = LockOp::kWait}, 20).get().status.reason(), Reason::kTimedOut);
  ASSERT_TRUE(cond.release(a, LockMode::kExclusive, 1, 0).ok());  // held again, also after that

  objects::Lock& barrier = *open(a, "b", shm::LockKind::kBarrier, ObjectKind::kBarrier, 2)->lock;
  auto first = ask(barrier, a, {.op = LockOp::kArrive}, -1);
  auto second = ask(barrier, b, {.op = LockOp::kArrive}, -1);
  const LockReply one = first.get(), two = second.get();
  EXPECT_TRUE(one.status.ok());
  EXPECT_TRUE(two.status.ok());
  EXPECT_EQ(one.index + two.index, 1u);
  auto alone = ask(barrier, a, {.op = LockOp::kArrive}, -1);
  ASSERT_TRUE(core_->close_session(user(1000), a.session_id).ok());
  EXPECT_FALSE(alone.get().status.ok());
}

TEST_F(LockCoreTest, TokensRiseOverDeletionAndRestart) {
  Caller a = session();
  const auto token = [&] {
    const auto ref = open(a, "m");
    const LockReply reply = acquire(*ref->lock, a);
    EXPECT_TRUE(reply.status.ok()) << reply.status.to_string();
    return reply.grant.token;
  };
  const uint64_t first = token();
  ASSERT_TRUE(core_->delete_lock(a, ObjectKind::kLock, "m").ok());
  const uint64_t second = token();
  EXPECT_GT(second, first);
  stop();
  start();
  // The session lives on, and so does what it holds.
  const auto ref = core_->find_lock(user(1000), ObjectKind::kLock, "m", Need::kRead);
  ASSERT_TRUE(ref.ok()) << ref.status().to_string();
  EXPECT_EQ(ref->lock->view().token(), second);
  EXPECT_EQ(shm::owner_in(ref->lock->view().line().word.load()), a.owner);
  ASSERT_TRUE(core_->enter_session(a, a.session_id).ok());
  EXPECT_TRUE(ref->lock->release(a, LockMode::kExclusive, 1, 0).ok());
  EXPECT_GT(token(), second);
}

TEST_F(LockCoreTest, CirclesOfWaitsAreBroken) {
  constexpr size_t kSize = 3;
  std::vector<Caller> callers;
  std::vector<objects::Lock*> locks;
  for (size_t i = 0; i < kSize; ++i) {
    callers.push_back(session());
    locks.push_back(open(callers[i], "m" + std::to_string(i))->lock.get());
    ASSERT_TRUE(acquire(*locks[i], callers[i]).status.ok());
  }
  std::vector<std::future<LockReply>> waits;
  for (size_t i = 0; i < kSize; ++i) {
    waits.push_back(ask(*locks[(i + 1) % kSize], callers[i], {}, -1));
  }
  // The one that is chosen gets the circle; when it lets go, the others go on.
  size_t victims = 0;
  while (victims == 0) {
    for (size_t i = 0; i < kSize; ++i) {
      if (waits[i].wait_for(std::chrono::milliseconds(5)) != std::future_status::ready) continue;
      const LockReply reply = waits[i].get();
      ASSERT_EQ(reply.status.reason(), Reason::kDeadlockDetected) << reply.status.to_string();
      EXPECT_NE(reply.status.to_string().find("a circle of 3 waits"), std::string::npos);
      ++victims;
      ASSERT_TRUE(locks[i]->release(callers[i], LockMode::kExclusive, 1, 0).ok());
      const size_t next = (i + kSize - 1) % kSize;
      EXPECT_TRUE(waits[next].get().status.ok());
      break;
    }
  }
  const auto reports = core_->deadlocks().reports();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].circle.size(), kSize);
}

// 4,000 wait in chains, each of them holding something, and whoever stands at their ends goes on.
TEST_F(LockCoreTest, ManyWaitsDelayNoReport) {
  constexpr uint16_t kThreads = 1'000;
  std::vector<std::future<LockReply>> crowd;
  for (int chain = 0; chain < 4; ++chain) {
    const Caller guests = session();
    std::vector<objects::Lock*> own;
    for (uint16_t i = 0; i <= kThreads; ++i) {
      const std::string name = "own/" + std::to_string(chain) + "/" + std::to_string(i);
      own.push_back(open(guests, name)->lock.get());
      ASSERT_TRUE(acquire(*own[i], guests, 0, i).status.ok());
    }
    for (uint16_t i = 0; i < kThreads; ++i) {
      crowd.push_back(ask(*own[i + 1u], guests, {.thread = i}, -1));
    }
  }
  const Caller a = session(), b = session();
  objects::Lock& first = *open(a, "first")->lock;
  objects::Lock& second = *open(b, "second")->lock;
  int64_t soonest_ns = INT64_MAX;
  for (int round = 0; round < 5; ++round) {
    ASSERT_TRUE(acquire(first, a).status.ok());
    ASSERT_TRUE(acquire(second, b).status.ok());
    auto older = ask(second, a, {}, -1);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const int64_t closed_ns = shm::monotonic_ns();
    EXPECT_EQ(ask(first, b, {}, -1).get().status.reason(), Reason::kDeadlockDetected);
    soonest_ns = std::min(soonest_ns, shm::monotonic_ns() - closed_ns);
    ASSERT_TRUE(second.release(b, LockMode::kExclusive, 1, 0).ok());
    EXPECT_TRUE(older.get().status.ok());
    ASSERT_TRUE(second.release(a, LockMode::kExclusive, 1, 0).ok());
    ASSERT_TRUE(first.release(a, LockMode::kExclusive, 1, 0).ok());
  }
  std::printf("4,000 waits elsewhere; told after %.1f ms at best\n", double(soonest_ns) / 1e6);
  EXPECT_LT(soonest_ns, 50 * kMs);
  for (auto& wait : crowd) {
    EXPECT_EQ(wait.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  }
  EXPECT_EQ(core_->deadlocks().reports().size(), 5u);
}

// Notified, it waits for its lock, in somebody's hands who wants what it holds itself.
TEST_F(LockCoreTest, AConditionTakesItsLockAgainInACircle) {
  const Caller a = session(), b = session();
  objects::Lock& ledger = *open(a, "ledger")->lock;
  objects::Lock& news = *open(a, "news", shm::LockKind::kCondition, ObjectKind::kCondition)->lock;
  for (const bool with_guard : {false, true}) {
    const auto other = open(a, "guard");
    objects::Lock& held = with_guard ? *other->lock : news;
    ASSERT_TRUE(acquire(ledger, a).status.ok());
    ASSERT_TRUE(acquire(held, a).status.ok());
    LockAsk wait{.op = LockOp::kWait};
    if (with_guard) wait.guard = other->lock;
    auto notified = ask(news, a, wait, -1);
    ASSERT_TRUE(acquire(held, b).status.ok());
    EXPECT_EQ(news.notify(b, 1, false).value(), 1u);
    auto wants_ledger = ask(ledger, b, {}, -1);
    // The one that began last gives way: it has to be one of the two.
    const auto over = [](auto& future) {
      return future.wait_for(std::chrono::milliseconds(5)) == std::future_status::ready;
    };
    while (!over(notified) && !over(wants_ledger)) {
    }
    if (over(wants_ledger)) {
      const LockReply reply = wants_ledger.get();
      EXPECT_EQ(reply.status.reason(), Reason::kDeadlockDetected) << reply.status.to_string();
      ASSERT_TRUE(held.release(b, LockMode::kExclusive, 1, 0).ok());
      EXPECT_TRUE(notified.get().status.ok());
      ASSERT_TRUE(held.release(a, LockMode::kExclusive, 1, 0).ok());
    } else {
      EXPECT_EQ(notified.get().status.reason(), Reason::kDeadlockDetected);
      ASSERT_TRUE(held.release(b, LockMode::kExclusive, 1, 0).ok());
    }
    ASSERT_TRUE(ledger.release(a, LockMode::kExclusive, 1, 0).ok());
    if (wants_ledger.valid()) {
      EXPECT_TRUE(wants_ledger.get().status.ok());
      ASSERT_TRUE(ledger.release(b, LockMode::kExclusive, 1, 0).ok());
    }
    const auto reports = core_->deadlocks().reports();
    ASSERT_EQ(reports.size(), with_guard ? 2u : 1u);
    EXPECT_EQ(reports.back().circle.size(), 2u);
  }
}

TEST_F(LockCoreTest, ThePolicyChoosesWhoGivesWay) {
  const Caller a = session(), b = session();
  objects::Lock& first = *open(a, "first")->lock;
  objects::Lock& second = *open(b, "second")->lock;
  ASSERT_TRUE(acquire(first, a).status.ok());
  ASSERT_TRUE(acquire(second, b).status.ok());
  const auto close_circle = [&] {
    // The older wait has the lower priority.
    auto older = ask(second, a, {.priority = -1}, -1);
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    return std::pair(std::move(older), ask(first, b, {.priority = 3}, -1));
  };
  const auto is_over = [](std::future<LockReply>& wait, int ms) {
    return wait.wait_for(std::chrono::milliseconds(ms)) == std::future_status::ready;
  };
  options_.deadlock_policy = "lowest_priority";
  core_->set_options(options_);
  {
    auto [older, younger] = close_circle();
    EXPECT_EQ(older.get().status.reason(), Reason::kDeadlockDetected);
    EXPECT_FALSE(is_over(younger, 0));
    ASSERT_TRUE(first.release(a, LockMode::kExclusive, 1, 0).ok());
    EXPECT_TRUE(younger.get().status.ok());
    ASSERT_TRUE(first.release(b, LockMode::kExclusive, 1, 0).ok());
    ASSERT_TRUE(acquire(first, a).status.ok());
  }
  options_.deadlock_policy = "youngest";
  core_->set_options(options_);
  {
    auto [older, younger] = close_circle();
    EXPECT_EQ(younger.get().status.reason(), Reason::kDeadlockDetected);
    ASSERT_TRUE(second.release(b, LockMode::kExclusive, 1, 0).ok());
    EXPECT_TRUE(older.get().status.ok());
    ASSERT_TRUE(second.release(a, LockMode::kExclusive, 1, 0).ok());
    ASSERT_TRUE(acquire(second, b).status.ok());
  }
  options_.deadlock_policy = "report_only";
  core_->set_options(options_);
  {
    auto [older, younger] = close_circle();
    EXPECT_FALSE(is_over(younger, 200));
    EXPECT_FALSE(is_over(older, 0));
    const auto reports = core_->deadlocks().reports();
    ASSERT_EQ(reports.size(), 3u);
    for (const auto& member : reports.back().circle) {
      EXPECT_FALSE(member.victim);
    }
    ASSERT_TRUE(second.force_release(0, 0).ok());
    EXPECT_TRUE(older.get().status.ok());
    ASSERT_TRUE(first.release(a, LockMode::kExclusive, 1, 0).ok());
    EXPECT_TRUE(younger.get().status.ok());
  }
}

TEST_F(LockCoreTest, TheLockDelayGoesOnOverARestart) {
  LockOptions options{};
  options.given = local::kGivenLockDelay;
  options.lock_delay_ms = 2500;
  Caller a = user(1000);
  const auto opened = core_->open_session(a, 1'000 * kMs, "test", nullptr);
  ASSERT_TRUE(opened.ok());
  ASSERT_TRUE(core_->enter_session(a, opened->session_id).ok());
  {
    const auto ref = core_->open_lock(a, ObjectKind::kLock, "m", options, "", {.create = true});
    ASSERT_TRUE(acquire(*ref->lock, a).status.ok());
  }
  while (core_->stats().sessions_reaped == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const int64_t lapsed_ns = shm::monotonic_ns();
  stop();
  start();
  const Caller b = session();
  const auto again = core_->find_lock(b, ObjectKind::kLock, "m", Need::kWrite);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(acquire(*again->lock, b).status.reason(), Reason::kTimedOut);
  const LockReply reply = acquire(*again->lock, b, 10'000);
  ASSERT_TRUE(reply.status.ok()) << reply.status.to_string();
  EXPECT_TRUE(reply.grant.abandoned);
  EXPECT_GE(shm::monotonic_ns() - lapsed_ns, 2'300 * kMs);
}

TEST_F(LockCoreTest, TokensGoOnAfterAColdStart) {
  test::TempDir state;
  options_.state_dir = state.path();
  const auto cold_start = [this](bool settled) {
    if (settled) core_->settle_tokens();
    stop();
    supervisor_.kept().clear();
    start();
  };
  cold_start(false);
  const auto next = [this] {
    const Caller me = session();
    const auto ref = open(me, "m");
    const uint64_t token = acquire(*ref->lock, me).grant.token;
    EXPECT_TRUE(ref->lock->release(me, LockMode::kExclusive, 1, 0).ok());
    return token;
  };
  const uint64_t first = next();
  EXPECT_EQ(next(), first + 1);
  cold_start(true);
  EXPECT_EQ(next(), first + 2);  // exact
  cold_start(false);
  const uint64_t leapt = next();
  EXPECT_GT(leapt, first + 2);
  stop();  // only the broker
  start();
  EXPECT_EQ(next(), leapt + 1);
  cold_start(false);
  EXPECT_GT(next(), leapt + 1);
  stop();
  std::string why;
  ASSERT_TRUE(os::write_file_atomically(state.file("lock-tokens"), "12x", 0600, &why));
  supervisor_.kept().clear();
  keeper_ = std::make_unique<local::Keeper>(supervisor_.connect());
  loop_ = std::make_unique<Loop>();
  const auto core = Core::start(*loop_, *keeper_, options_);
  EXPECT_TRUE(core.status().is(Reason::kCorrupt)) << core.status().to_string();
  EXPECT_NE(core.status().to_string().find("lock-tokens"), std::string::npos);
}

TEST_F(LockCoreTest, APermitThatSomebodyElseHoldsIsNoDeadlock) {
  const Caller a = session(), b = session(), c = session();
  objects::Lock& sem = *open(a, "s", shm::LockKind::kSemaphore, ObjectKind::kSemaphore, 2)->lock;
  objects::Lock& mutex = *open(a, "m")->lock;
  ASSERT_TRUE(ask(sem, a, {.n = 1}, 0).get().status.ok());
  ASSERT_TRUE(ask(sem, c, {.n = 1}, 0).get().status.ok());
  ASSERT_TRUE(acquire(mutex, b).status.ok());
  auto wants_mutex = ask(mutex, a, {}, -1);
  auto wants_permit = ask(sem, b, {.n = 1}, -1);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_TRUE(core_->deadlocks().reports().empty());  // c may still give its permit back
  ASSERT_TRUE(sem.release(c, LockMode::kExclusive, 1, 0).ok());
  EXPECT_TRUE(wants_permit.get().status.ok());
  ASSERT_TRUE(mutex.release(b, LockMode::kExclusive, 1, 0).ok());
  EXPECT_TRUE(wants_mutex.get().status.ok());
}

}  // namespace
}  // namespace heddle::broker
