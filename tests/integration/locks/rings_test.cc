// Circles of 2, 3 and 10 processes over locks, rw locks and semaphores are found, ended by one
// victim, and told with the right names. Programs that take what they need in one order are never
// told of a circle, however many of them there are.
#include <heddle/heddle.h>

#include <atomic>
#include <cstdlib>
#include <random>
#include <thread>

#include "tests/integration/locks/children.h"
#include "tests/support/daemon_fixture.h"
#include "tests/support/watchdog.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

constexpr int kAround = 0, kVictim = 1;
constexpr int kWays = 4;  // mutex, rw lock to write, rw lock held to read, semaphore of one

/// The i-th thing of a ring: its kind goes round.
class Thing {
 public:
  Thing(Client& client, int i) : way_(i % kWays), name_("ring-" + std::to_string(i)) {
    if (way_ == 3) {
      permit_ = client.semaphore(name_, {.permits = 1}).value();
    } else {
      LockOptions options;
      if (way_ != 0) options.kind = LockKind::kRw;
      lock_ = client.lock(name_, options).value();
    }
  }
  const std::string& name() const { return name_; }
  Result<Grant> hold() { return take(way_ == 2 ? LockMode::kShared : LockMode::kExclusive, 20s); }
  Result<Grant> want(std::chrono::nanoseconds timeout) {
    return take(LockMode::kExclusive, timeout);
  }
  void leave(bool wanted) {
    const bool shared = way_ == 2 && !wanted;
    const Status status = way_ == 3
                              ? permit_.release()
                              : lock_.release(shared ? LockMode::kShared : LockMode::kExclusive);
    status.or_throw();
  }

 private:
  Result<Grant> take(LockMode mode, std::chrono::nanoseconds timeout) {
    return way_ == 3 ? permit_.acquire_for(timeout)
                     : lock_.acquire_with({.mode = mode, .timeout = timeout});
  }
  const int way_;
  const std::string name_;
  Lock lock_;
  Semaphore permit_;
};

class RingsTest : public DaemonFixture, public testing::WithParamInterface<int> {
 protected:
  struct Shared {
    std::atomic<int> holding{0};
  };
  ConnectOptions to() const { return {.runtime_dir = runtime_dir(), .plane = Plane::kShm}; }

  int member(int i, int n) {
    Client client = Client::connect(to()).value();
    Thing mine(client, i), next(client, (i + 1) % n);
    if (!mine.hold()) return 2;
    shared_->holding.fetch_add(1);
    while (shared_->holding.load() % n != 0) std::this_thread::sleep_for(1ms);
    const Result<Grant> grant = next.want(20s);
    if (grant) next.leave(true);
    mine.leave(false);
    if (grant) return kAround;
    const std::string text = grant.status().to_string();
    if (!grant.status().is(Reason::kDeadlockDetected)) {
      std::fprintf(stderr, "%s\n", text.c_str());
      return 3;
    }
    // The victim is told all of it as well.
    const bool whole = text.find("a circle of " + std::to_string(n)) != std::string::npos;
    return whole && text.find(next.name()) != std::string::npos ? kVictim : 4;
  }

  SharedWithChildren<Shared> shared_;
};

/// The circle of the last report; empty when there is none.
std::string last_report(const std::string& json) {
  const size_t at = json.rfind("\"circle\"");
  return at == std::string::npos ? "" : json.substr(at, json.find(']', at) - at);
}

TEST_P(RingsTest, OneGivesWayAndAllAreNamed) {
  const int n = GetParam();
  for (int round = 0; round < 3; ++round) {
    Children children;
    std::vector<pid_t> pids;
    shared_->holding.store(0);
    const auto began = std::chrono::steady_clock::now();
    for (int i = 0; i < n; ++i) pids.push_back(children.start([=, this] { return member(i, n); }));
    const std::vector<int> ends = children.wait_all();
    std::printf("ring of %d: %.0f ms from the first fork to the last exit\n", n, ms_since(began));
    EXPECT_EQ(std::count(ends.begin(), ends.end(), kVictim), 1) << testing::PrintToString(ends);
    EXPECT_EQ(std::count(ends.begin(), ends.end(), kAround), n - 1) << testing::PrintToString(ends);

    Client client = Client::connect(to()).value();
    const std::string report = client.lock_report(LockReport::kDeadlocks).value();
    const std::string circle = last_report(report);
    for (int i = 0; i < n; ++i) {
      // Each with what it waits for.
      const size_t at = circle.find("\"pid\":" + std::to_string(pids[i]));
      ASSERT_NE(at, std::string::npos) << pids[i] << " in " << report;
      const size_t begin = circle.rfind('{', at), end = circle.find('}', at);
      const std::string one = circle.substr(begin, end - begin);
      EXPECT_NE(one.find("\"ring-" + std::to_string((i + 1) % n) + '"'), std::string::npos) << one;
      EXPECT_EQ(one.find("\"victim\":true") != std::string::npos,
                ends[static_cast<size_t>(i)] == kVictim)
          << one;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, RingsTest, testing::Values(2, 3, 10));

class NoAlarmTest : public DaemonFixture {
 protected:
  static constexpr int kProcesses = 6, kThings = 8;

  /// Two or three things in ascending order, waited for, some of them not long; or in any order,
  /// but without waiting.
  uint64_t run(uint64_t acquisitions, unsigned seed) {
    Client client = Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm}).value();
    std::vector<Thing> things;
    for (int i = 0; i < kThings; ++i) things.emplace_back(client, i);
    std::minstd_rand random(seed);
    uint64_t got = 0;
    while (got < acquisitions) {
      const bool ordered = random() % 4 != 0;
      std::vector<size_t> held;
      size_t next = random() % 3;
      for (int k = 0; k < 3 && next < things.size(); ++k) {
        const bool shortly = random() % 4 == 0;
        const std::chrono::nanoseconds timeout = !ordered ? 0ns : shortly ? 500'000ns : kForever;
        const Result<Grant> grant = things[next].want(timeout);
        if (grant)
          held.push_back(next), ++got;
        else if (!grant.status().outcome())
          grant.or_throw();
        next = ordered ? next + 1 + random() % 3 : random() % things.size();
        if (!ordered && std::count(held.begin(), held.end(), next) != 0) break;
      }
      if (random() % 64 == 0) std::this_thread::sleep_for(50us);  // so that others do sleep
      while (!held.empty()) things[held.back()].leave(true), held.pop_back();
    }
    return got;
  }
};

TEST_F(NoAlarmTest, WhoeverTakesThemInOneOrderIsNeverTold) {
  const uint64_t each =
      (std::getenv("HEDDLE_LONG") != nullptr ? 10'000'000 : 1'000'000) / kProcesses;
  const Watchdog watchdog("acquisitions", 600);
  Children children;
  SharedWithChildren<std::atomic<uint64_t>> sum;
  const auto began = std::chrono::steady_clock::now();
  for (unsigned i = 0; i < kProcesses; ++i) {
    children.start([=, this, &sum] {
      sum->fetch_add(run(each, i + 1));
      return 0;
    });
  }
  for (const int end : children.wait_all()) EXPECT_EQ(end, 0);
  Client client = Client::connect({.runtime_dir = runtime_dir()}).value();
  EXPECT_EQ(last_report(client.lock_report(LockReport::kDeadlocks).value()), "");
  std::printf("%llu acquisitions in %.0f ms, no alarm\n",
              static_cast<unsigned long long>(sum->load()), ms_since(began));
}

}  // namespace
}  // namespace heddle::test
