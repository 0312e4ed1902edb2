// Many of everything: locks, sessions, and locks in the hand of one that dies. The figures of time
// are printed; none is asked for. HEDDLE_LONG: 100,000 locks and 4,000 sessions.
#include <heddle/heddle.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "tests/integration/locks/children.h"
#include "tests/support/daemon_fixture.h"
#include "tests/support/watchdog.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

bool at_length() { return std::getenv("HEDDLE_LONG") != nullptr; }

class LockScaleTest : public DaemonFixture {
 protected:
  Client connect() const {
    return Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm, .timeout = 60s})
        .value();
  }
  static std::string name(size_t i) { return "many/" + std::to_string(i); }
  static void tell(const char* what, size_t n, std::chrono::steady_clock::time_point from) {
    const double ms = ms_since(from);
    std::printf("%-44s %7zu  %9.1f ms  %7.2f us each\n", what, n, ms,
                ms * 1e3 / static_cast<double>(n));
  }
};

TEST_F(LockScaleTest, ManyLocks) {
  const Watchdog watchdog("many locks", 600);
  const size_t n = at_length() ? 100'000 : 4'000;
  Client client = connect();
  auto from = std::chrono::steady_clock::now();
  for (size_t i = 0; i < n; ++i) client.lock(name(i)).or_throw();
  tell("made", n, from);

  Client other = connect();
  std::vector<Lock> open;
  from = std::chrono::steady_clock::now();
  for (size_t i = 0; i < n; ++i) open.push_back(other.lock(name(i)).value());
  tell("opened by another session", n, from);

  from = std::chrono::steady_clock::now();
  EXPECT_EQ(client.locks(SyncKind::kLock, "many/").value().size(), n);
  tell("listed", n, from);

  from = std::chrono::steady_clock::now();
  for (Lock& lock : open) {
    ASSERT_TRUE(lock.try_acquire().ok());
    ASSERT_TRUE(lock.release().ok());
  }
  tell("acquired and released", n, from);

  from = std::chrono::steady_clock::now();
  daemon().kill_broker();
  EXPECT_EQ(connect().locks(SyncKind::kLock, "many/").value().size(), n);
  tell("broker killed, listed again", n, from);
  ASSERT_TRUE(open.back().try_acquire().ok());
  ASSERT_TRUE(open.back().release().ok());

  from = std::chrono::steady_clock::now();
  for (size_t i = 0; i < n; i += 10) {
    ASSERT_TRUE(client.delete_lock(SyncKind::kLock, name(i)).ok());
  }
  tell("deleted", n / 10, from);
  EXPECT_EQ(client.locks(SyncKind::kLock, "many/").value().size(), n - (n + 9) / 10);
}

// All that one process held is free, and the next owner of each is told.
TEST_F(LockScaleTest, TheOwnerOfTenThousandDies) {
  const Watchdog watchdog("owner of many", 300);
  constexpr size_t kHeld = 10'000;
  SharedWithChildren<std::atomic<bool>> holds;
  Children children;
  const pid_t owner = children.start([&] {
    Client client = connect();
    std::vector<Lock> locks;
    for (size_t i = 0; i < kHeld; ++i) {
      locks.push_back(client.lock(name(i)).value());
      locks.back().acquire().or_throw();
    }
    holds->store(true);
    pause();
    return 0;
  });
  while (!holds->load()) std::this_thread::sleep_for(1ms);
  Client client = connect();
  std::vector<Lock> locks;
  for (size_t i = 0; i < kHeld; ++i) locks.push_back(client.lock(name(i)).value());
  EXPECT_TRUE(locks.front().try_acquire().status().is(Reason::kEmpty));
  const auto from = std::chrono::steady_clock::now();
  kill(owner, SIGKILL);
  EXPECT_TRUE(locks.front().acquire_for(60s).value().abandoned);
  tell("owner killed, the first one had", 1, from);
  size_t told = 1;
  for (size_t i = 1; i < kHeld; ++i) told += locks[i].acquire_for(60s).value().abandoned;
  tell("owner killed, all had by another", kHeld, from);
  EXPECT_EQ(told, kHeld);
}

// Each of them a session of its own, all of them with one lock in use by turns.
TEST_F(LockScaleTest, ManySessions) {
  const Watchdog watchdog("many sessions", 600);
  const size_t n = at_length() ? 4'000 : 300;
  struct Shared {
    std::atomic<size_t> attached{0}, turns{0};
    std::atomic<bool> over{false};
  };
  SharedWithChildren<Shared> shared;
  Children children;
  auto from = std::chrono::steady_clock::now();
  for (size_t i = 0; i < n; ++i) {
    children.start([&] {
      {
        Client client = connect();
        Lock lock = client.lock("one").value();
        shared->attached.fetch_add(1);
        lock.acquire().or_throw();
        shared->turns.fetch_add(1);
        lock.release().or_throw();
        while (!shared->over.load()) std::this_thread::sleep_for(50ms);
      }
      return 0;
    });
  }
  while (shared->turns.load() < n) std::this_thread::sleep_for(1ms);
  tell("sessions attached, each had the lock", n, from);
  EXPECT_GE(connect().sessions().value().size(), n);

  from = std::chrono::steady_clock::now();
  {
    // Its holder is one of them; the others sleep on it and are served in turn.
    Client client = connect();
    Lock lock = client.lock("one").value();
    EXPECT_GE(lock.info().value().attached, n);
    tell("shown", 1, from);
  }
  from = std::chrono::steady_clock::now();
  shared->over.store(true);
  for (const int end : children.wait_all()) EXPECT_EQ(end, 0);
  tell("sessions gone", n, from);
}

}  // namespace
}  // namespace heddle::test
