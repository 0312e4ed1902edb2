// Circles of 2, 3 and 10 processes on either plane, and on both, over locks, rw locks, semaphores
// and conditions that take their lock again: found, ended by one victim, and told with the right
// names. Programs that take what they need in one order are never told of a circle, however many of
// them there are.
#include <heddle/heddle.h>

#include <atomic>
#include <cstdlib>
#include <random>
#include <thread>

#include "tests/integration/locks/children.h"
#include "tests/support/daemon_fixture.h"
#include "tests/support/leak_check.h"
#include "tests/support/watchdog.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

constexpr int kAround = 0, kVictim = 1;
// Mutex, rw lock to write, rw lock held to read, semaphore of one; condition.
constexpr int kReader = 2, kPermit = 3, kNotified = 4, kWays = 5;

/// The i-th thing of a ring: its kind goes round.
class Thing {
 public:
  Thing(Client& client, int i, int way) : way_(way), name_(name_of(i, way)) {
    if (way_ == kPermit) {
      permit_ = client.semaphore(name_, {.permits = 1}).value();
    } else if (way_ == kNotified) {
      condition_ = client.condition(name_).value();
    } else {
      LockOptions options;
      if (way_ != 0) options.kind = LockKind::kRw;
      lock_ = client.lock(name_, options).value();
    }
  }
  static std::string name_of(int i, int way) {
    return "ring-" + std::to_string(i) + "-" + std::to_string(way);
  }
  const std::string& name() const { return name_; }
  bool notified() const { return way_ == kNotified; }
  Condition& condition() { return condition_; }
  Result<Grant> hold() { return take(way_ == kReader ? LockMode::kShared : LockMode::kExclusive); }
  Result<Grant> want(std::chrono::nanoseconds timeout) {
    return take(LockMode::kExclusive, timeout);
  }
  void leave(bool wanted) {
    const bool shared = way_ == kReader && !wanted;
    const Status status = way_ == kPermit ? permit_.release()
                          : way_ == kNotified
                              ? condition_.release()
                              : lock_.release(shared ? LockMode::kShared : LockMode::kExclusive);
    status.or_throw();
  }

 private:
  Result<Grant> take(LockMode mode, std::chrono::nanoseconds timeout = 20s) {
    return way_ == kPermit     ? permit_.acquire_for(timeout)
           : way_ == kNotified ? condition_.acquire_for(timeout)
                               : lock_.acquire_with({.mode = mode, .timeout = timeout});
  }
  const int way_;
  const std::string name_;
  Lock lock_;
  Semaphore permit_;
  Condition condition_;
};

enum class Planes { kLocal, kRemote, kBoth };

struct Ring {
  int size;
  Planes planes;
};

constexpr int kSizeMax = 10;

class RingsTest : public DaemonFixture, public testing::WithParamInterface<Ring> {
 protected:
  void SetUp() override {
    allow_leaks("gRPC keeps threads and descriptors");
    DaemonFixture::SetUp();
  }

  struct Shared {
    std::atomic<int> holding{0};
    std::atomic<bool> asleep[kSizeMax];  // in a wait for a condition
    std::atomic<uint64_t> session[kSizeMax];
    std::atomic<pid_t> pid[kSizeMax];
  };
  bool remote(int i) const {
    return GetParam().planes == Planes::kRemote ||
           (GetParam().planes == Planes::kBoth && i % 2 == 1);
  }
  ConnectOptions to(int i) const {
    return {.runtime_dir = runtime_dir(), .plane = remote(i) ? Plane::kGrpc : Plane::kShm};
  }
  const char* plane(int i) const { return remote(i) ? "grpc" : "shm"; }

  static void until(const std::function<bool()>& condition) {
    while (!condition()) std::this_thread::sleep_for(1ms);
  }

  /// Who waits for a condition lets go of its lock before the next member can have it.
  Status wait_notified(Thing& next, int i) {
    next.hold().or_throw();
    shared_->asleep[i].store(true);
    return next.condition().wait(20s);
  }

  int member(int i, int n, int round) {
    Client client = Client::connect(to(i)).value();
    const auto way = [&](int place) { return (place + 2 * round) % kWays; };
    const int after = (i + 1) % n, before = (i + n - 1) % n;
    Thing mine(client, i, way(i)), next(client, after, way(after));
    shared_->pid[i].store(getpid());
    shared_->session[i].store(own_session(client));
    if (mine.notified()) until([&] { return shared_->asleep[before].load(); });
    if (!mine.hold()) return 2;
    if (mine.notified()) mine.condition().notify().value();
    shared_->holding.fetch_add(1);
    Status status;
    if (next.notified()) {
      status = wait_notified(next, i);
    } else {
      until([&] { return shared_->holding.load() == n; });
      status = next.want(20s).status();
    }
    if (status.ok()) next.leave(true);
    mine.leave(false);
    if (status.ok()) return kAround;
    const std::string text = status.to_string();
    const bool whole = status.is(Reason::kDeadlockDetected) && all_are_named(text, n, round);
    if (!whole) std::fprintf(stderr, "member %d: %s\n", i, text.c_str());
    return whole ? kVictim : 3;
  }

  static uint64_t own_session(Client& client) {
    for (const SessionInfo& session : client.sessions().value()) {
      if (session.pid == getpid()) return uint64_t{session.generation} << 16 | session.owner;
    }
    return 0;
  }

  /// The victim is told all of it as well: who, where, and what they wait for.
  bool all_are_named(const std::string& text, int n, int round) const {
    bool all = text.find("a circle of " + std::to_string(n)) != std::string::npos;
    for (int i = 0; i < n; ++i) {
      const int after = (i + 1) % n;
      const size_t at = text.find("pid " + std::to_string(shared_->pid[i].load()) + " (");
      if (at == std::string::npos) return false;
      const std::string one = text.substr(at, text.find(", pid", at) - at);
      const std::string session = ", session " + std::to_string(shared_->session[i].load());
      all = all && one.find(session + ", " + plane(i)) != std::string::npos &&
            one.find("lock_rings_test") != std::string::npos &&
            one.find(' ' + Thing::name_of(after, (after + 2 * round) % kWays)) != std::string::npos;
    }
    return all;
  }

  SharedWithChildren<Shared> shared_;
};

/// The circle of the last report; empty when there is none.
std::string last_report(const std::string& json) {
  const size_t at = json.rfind("\"circle\"");
  return at == std::string::npos ? "" : json.substr(at, json.find(']', at) - at);
}

TEST_P(RingsTest, OneGivesWayAndAllAreNamed) {
  const int n = GetParam().size;
  for (int round = 0; round < 3; ++round) {
    Children children;
    std::vector<pid_t> pids;
    shared_->holding.store(0);
    for (auto& asleep : shared_->asleep) asleep.store(false);
    const auto began = std::chrono::steady_clock::now();
    for (int i = 0; i < n; ++i) {
      pids.push_back(children.start([=, this] { return member(i, n, round); }));
    }
    const std::vector<int> ends = children.wait_all();
    std::printf("ring of %d: %.0f ms from the first fork to the last exit\n", n, ms_since(began));
    EXPECT_EQ(std::count(ends.begin(), ends.end(), kVictim), 1) << testing::PrintToString(ends);
    EXPECT_EQ(std::count(ends.begin(), ends.end(), kAround), n - 1) << testing::PrintToString(ends);

    Client client = Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm}).value();
    const std::string report = client.lock_report(LockReport::kDeadlocks).value();
    const std::string circle = last_report(report);
    for (int i = 0; i < n; ++i) {
      // Each with what it waits for.
      const int after = (i + 1) % n;
      const size_t at = circle.find("\"pid\":" + std::to_string(pids[i]));
      ASSERT_NE(at, std::string::npos) << pids[i] << " in " << report;
      const size_t begin = circle.rfind('{', at), end = circle.find('}', at);
      const std::string one = circle.substr(begin, end - begin);
      const std::string wanted = Thing::name_of(after, (after + 2 * round) % kWays);
      EXPECT_NE(one.find('"' + wanted + '"'), std::string::npos) << one;
      EXPECT_NE(one.find("\"plane\":\"" + std::string(plane(i)) + '"'), std::string::npos) << one;
      EXPECT_NE(one.find("\"session\":" + std::to_string(shared_->session[i].load())),
                std::string::npos)
          << one;
      EXPECT_EQ(one.find("\"victim\":true") != std::string::npos,
                ends[static_cast<size_t>(i)] == kVictim)
          << one;
    }
  }
}

std::string name_of(const testing::TestParamInfo<Ring>& info) {
  const char* const planes[] = {"Local", "Remote", "Both"};
  return planes[static_cast<int>(info.param.planes)] + std::to_string(info.param.size);
}

INSTANTIATE_TEST_SUITE_P(Sizes, RingsTest,
                         testing::Values(Ring{2, Planes::kLocal}, Ring{3, Planes::kLocal},
                                         Ring{10, Planes::kLocal}, Ring{2, Planes::kRemote},
                                         Ring{3, Planes::kRemote}, Ring{10, Planes::kRemote},
                                         Ring{2, Planes::kBoth}, Ring{3, Planes::kBoth},
                                         Ring{10, Planes::kBoth}),
                         name_of);

class NoAlarmTest : public DaemonFixture {
 protected:
  static constexpr int kProcesses = 6, kThings = 8;

  /// Two or three things in ascending order, waited for, some of them not long; or in any order,
  /// but without waiting.
  uint64_t run(uint64_t acquisitions, unsigned seed) {
    Client client = Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm}).value();
    std::vector<Thing> things;
    for (int i = 0; i < kThings; ++i) things.emplace_back(client, i, i % kNotified);
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
