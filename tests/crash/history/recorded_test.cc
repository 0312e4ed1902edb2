// Programs use locks of every kind of a real daemon and write down what they do, while some of them
// are killed, some stopped, and the broker is killed. What they wrote must be what locks can do.
//
// In rounds: 0.6 s of that, then all are let go on and rest, and by and by everything must be free
// and everybody idle: nobody sleeps on a wake that was lost. 10 s, or 90 s with HEDDLE_LONG.
//
// Once more with half of them on the other side of a gRPC connection, which is cut and frozen,
// whose broker is killed, and who are stopped for longer than the broker waits for them: whoever
// lost its session goes on as if it still held what it held, and what it then writes must be
// refused.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <random>
#include <vector>

#include "tests/crash/history/actors.h"
#include "tests/integration/grpc/relay.h"
#include "tests/support/daemon_fixture.h"
#include "tests/support/leak_check.h"
#include "tests/support/watchdog.h"

namespace heddle::history {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr size_t kWrittenMax = 4'000'000;
constexpr int64_t kRestMs = 15'000;  // to be idle; a bound against a stall, no figure
// A lost session is missed after so long, and its end is seen within another second.
constexpr int64_t kLeaseMs = 1'500, kForgottenMs = kLeaseMs + 2'500;

class Recorded : public test::DaemonFixture {
 protected:
  static int64_t seconds() { return std::getenv("HEDDLE_LONG") != nullptr ? 90 : 10; }

  void SetUp() override {
    test::DaemonFixture::SetUp();
    to_ = connection(runtime_dir(), Plane::kShm);
    ASSERT_EQ(in_child([this] {
                make_objects(to_, std::chrono::milliseconds(400));
                return true;
              }),
              0);
  }
  void TearDown() override {
    for (int i = 0; i < kActors; ++i) end_actor(i, true);
    test::DaemonFixture::TearDown();
  }
  test::Daemon::Options options() override {
    return {.config = R"({"session_lease_ms": )" + std::to_string(kLeaseMs) + "}", .args = {}};
  }
  virtual bool far(int) const { return false; }
  virtual bool writes() const { return false; }
  virtual ConnectOptions to(int) const { return to_; }

  pid_t start_child(const std::function<bool()>& body) {
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child != 0) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    try {
      _exit(body() ? 0 : 1);
    } catch (const std::exception& error) {
      stage_->complain(error.what());
    }
    _exit(1);
  }
  static int wait_for(pid_t child) {
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
  }
  int in_child(const std::function<bool()>& body) { return wait_for(start_child(body)); }

  void start_actor(int i) {
    const uint32_t process = ++processes_;
    process_[i] = process;
    if (far(i)) far_processes_.push_back(process);
    stage_->idle[i].store(false);
    pid_[i] = start_child([=, this] {
      if (i < kWorkers)
        work(to(i), archive_, *stage_, i, process, writes());
      else
        take_part(to_, archive_, *stage_, process);
      return true;
    });
  }
  void end_actor(int i, bool killed) {
    if (pid_[i] == 0) return;
    const int64_t from_ns = now_ns();
    if (killed) kill(pid_[i], SIGKILL);
    wait_for(pid_[i]);
    pid_[i] = 0;
    if (!killed) return;
    // Nobody sees the death of somebody far away: it is missed when it does not renew.
    const int64_t later_ns = far(i) ? kForgottenMs * kMs : 0;
    history_.deaths.push_back({process_[i], from_ns, now_ns() + later_ns});
    if (far(i)) history_.losses.push_back({process_[i], from_ns - 1'000 * kMs, from_ns});
  }
  virtual bool spared(int) { return false; }
  virtual bool stops(int) { return random_() % 5 < 2; }
  virtual int64_t stop_ns(int) { return kMs * (1 + int64_t(random_() % 40)); }
  void stop_actor(int i) {
    const bool stopped = std::any_of(stopped_.begin(), stopped_.end(),
                                     [&](const Span& s) { return s.process == process_[i]; });
    if (stopped) return;
    const int64_t from_ns = now_ns();
    kill(pid_[i], SIGSTOP);
    stopped_.push_back({process_[i], from_ns, from_ns + stop_ns(i)});
  }
  void go_on(int64_t now) {
    std::erase_if(stopped_, [&](const Span& stop) {
      if (now < stop.to_ns) return false;
      const auto actor = std::find(process_, process_ + kActors, stop.process) - process_;
      if (actor < kActors && pid_[actor] != 0) kill(pid_[actor], SIGCONT);
      history_.stops.push_back({stop.process, stop.from_ns, now_ns()});
      if (far(int(actor))) history_.losses.push_back(history_.stops.back());
      return true;
    });
  }

  void mayhem(int64_t until_ns) {
    int64_t act_ns = 0, now;
    while ((now = now_ns()) < until_ns && !stage_->wrong.load()) {
      go_on(now);
      usleep(500);
      if (now < act_ns) continue;
      act_ns = now + kMs * (3 + int64_t(random_() % 12));
      const auto i = static_cast<int>(random_() % kActors);
      if (spared(i)) continue;
      if (stops(i)) {
        stop_actor(i);
      } else {
        end_actor(i, true);
        start_actor(i);
      }
    }
    go_on(kNever);
  }

  /// All come to rest, and then everything is free.
  void rest() {
    const int64_t from_ns = now_ns();
    stage_->phase.store(Stage::kRest);
    while (!std::all_of(stage_->idle, stage_->idle + kWorkers, [](auto& i) { return i.load(); })) {
      ASSERT_FALSE(stage_->wrong.load()) << stage_->why;
      if (now_ns() - from_ns > kRestMs * kMs) FAIL() << "somebody sleeps on";
      usleep(1'000);
    }
    longest_rest_ns_ = std::max(longest_rest_ns_, now_ns() - from_ns);
    EXPECT_EQ(in_child([this] { return all_free(to_, *stage_); }), 0) << stage_->why;
    const uint64_t before = stage_->generations.load();
    while (stage_->generations.load() == before) {
      if (now_ns() - from_ns > kRestMs * kMs) FAIL() << "nobody gets through the barrier";
      usleep(1'000);
    }
    stage_->phase.store(Stage::kWork);
  }

  void finish() {
    stage_->phase.store(Stage::kOver);
    for (int i = 0; i < kActors; ++i) end_actor(i, i >= kWorkers);
    history_.end_ns = now_ns();
    history_.records = archive_.read();
    const uint32_t told = std::min(stage_->losses.load(), kLossesMax);
    history_.losses.insert(history_.losses.end(), stage_->lost, stage_->lost + told);
  }

  void judge() {
    constexpr Model kModels[kObjects] = {{.kind = Kind::kMutex},
                                         {.kind = Kind::kMutex},
                                         {.kind = Kind::kReentrant},
                                         {.kind = Kind::kRw},
                                         {.kind = Kind::kSemaphore, .count = kPermits},
                                         {.kind = Kind::kBarrier, .count = kParties}};
    std::printf(
        "recorded: %zu calls, %u processes, %zu killed, %zu stops, %u sessions lost, "
        "longest to rest %.1f ms, %llu arrivals\n",
        history_.records.size(), processes_, history_.deaths.size(), history_.stops.size(),
        stage_->losses.load(), double(longest_rest_ns_) / 1e6,
        static_cast<unsigned long long>(stage_->generations.load()));
    for (uint16_t object = 0; object < kObjects; ++object) {
      const History part = only(history_, object);
      const auto count = [&](auto&& is) {
        return std::count_if(part.records.begin(), part.records.end(), is);
      };
      std::printf("  object %d: %zu calls, told of %zd deaths, %zd writes refused\n", object,
                  part.records.size(), count([](const Record& r) { return r.abandoned; }),
                  count([](const Record& r) { return r.op == Op::kWrite && r.end == End::kLost; }));
      EXPECT_EQ(check(kModels[object], part), "") << "object " << object;
    }
  }

  ConnectOptions to_;
  Archive archive_{static_cast<size_t>(seconds()) * 60'000};
  Stage* stage_ =
      new (mmap(nullptr, sizeof(Stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))
          Stage;
  History history_;
  pid_t pid_[kActors] = {};
  uint32_t process_[kActors] = {}, processes_ = 0;
  std::vector<uint32_t> far_processes_;
  std::vector<Span> stopped_;
  int64_t longest_rest_ns_ = 0;
  std::minstd_rand random_{static_cast<unsigned>(now_ns())};
};

TEST_F(Recorded, IsWhatLocksCanDo) {
  const test::Watchdog watchdog("recorded", static_cast<unsigned>(seconds() + 60));
  for (int i = 0; i < kActors; ++i) start_actor(i);
  const int64_t end_ns = now_ns() + seconds() * 1'000 * kMs;
  int rounds = 0, brokers = 0;
  for (; now_ns() < end_ns && !HasFailure(); ++rounds) {
    mayhem(now_ns() + 300 * kMs);
    if (rounds % 3 == 1) {
      daemon().kill_broker();
      ++brokers;
    }
    mayhem(now_ns() + 300 * kMs);
    rest();
  }
  ASSERT_FALSE(stage_->wrong.load()) << stage_->why;
  if (HasFailure()) return;
  std::printf("%d rounds, %d broker kills\n", rounds, brokers);
  finish();
  judge();
}

// Some of the workers are far away, behind a relay that is a process of its own.
class FarRecorded : public Recorded {
 protected:
  struct Orders {
    std::atomic<uint32_t> cuts{0};
    std::atomic<bool> frozen{false};
  };
  void SetUp() override {
    test::allow_leaks("gRPC keeps threads and descriptors");
    Recorded::SetUp();
    const std::string path = dir_.file("relay.sock");
    relay_ = start_child([this, path] {
      test::Relay relay(path, runtime_dir() + "/grpc.sock");
      for (uint32_t cuts = 0;; usleep(1'000)) {
        relay.freeze(orders_->frozen.load());
        if (orders_->cuts.load() != cuts) relay.cut(), cuts = orders_->cuts.load();
      }
      return true;
    });
    while (access(path.c_str(), F_OK) != 0) usleep(1'000);
  }
  void TearDown() override {
    Recorded::TearDown();
    kill(relay_, SIGKILL);
    wait_for(relay_);
  }
  bool far(int i) const override { return i % 2 == 1 && i < kWorkers; }
  bool writes() const override { return true; }
  ConnectOptions to(int i) const override {
    ConnectOptions way = connection(runtime_dir(), far(i) ? Plane::kGrpc : Plane::kShm);
    if (far(i)) way.address = "unix:" + dir_.file("relay.sock");
    return way;
  }
  // They live long enough to lose their sessions, and to be told.
  bool spared(int i) override { return far(i) && (orders_->frozen.load() || random_() % 8 != 0); }
  bool stops(int i) override { return far(i) ? random_() % 6 != 0 : Recorded::stops(i); }
  // Half of the stops are longer than the broker waits.
  int64_t stop_ns(int i) override {
    if (!far(i) || random_() % 2 == 0) return Recorded::stop_ns(i);
    return kMs * (kLeaseMs + 700 + int64_t(random_() % 1'500));
  }
  // All that are far away are out of sight.
  void freeze(int64_t ns) {
    const int64_t from_ns = now_ns();
    orders_->frozen.store(true);
    mayhem(from_ns + ns);
    orders_->frozen.store(false);
    for (const uint32_t process : far_processes_) {
      history_.losses.push_back({process, from_ns, now_ns()});
    }
  }

  test::TempDir dir_;
  Orders* orders_ =
      new (mmap(nullptr, sizeof(Orders), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))
          Orders;
  pid_t relay_ = 0;
};

TEST_F(FarRecorded, WhoeverLostItsSessionIsFencedOff) {
  const test::Watchdog watchdog("recorded", static_cast<unsigned>(2 * seconds() + 90));
  for (int i = 0; i < kActors; ++i) start_actor(i);
  const int64_t end_ns = now_ns() + 2 * seconds() * 1'000 * kMs;
  int rounds = 0, brokers = 0;
  for (; now_ns() < end_ns && !HasFailure(); ++rounds) {
    mayhem(now_ns() + 1'500 * kMs);
    if (std::getenv("HEDDLE_LONG") != nullptr && rounds % 2 == 0) {
      daemon().kill_broker();
      ++brokers;
      mayhem(now_ns() + 1'000 * kMs);
    }
    orders_->cuts.fetch_add(1);
    mayhem(now_ns() + 1'500 * kMs);
    if (rounds % 2 == 1) freeze((kLeaseMs + 1'500) * kMs);
    rest();
  }
  ASSERT_FALSE(stage_->wrong.load()) << stage_->why;
  if (HasFailure()) return;
  finish();
  EXPECT_GT(stage_->losses.load(), 0u);
  // Read in a child: the parent stays without connections, which a fork would share.
  auto* texts = static_cast<History::Written*>(
      mmap(nullptr, kWrittenMax * sizeof(History::Written), PROT_READ | PROT_WRITE,
           MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  ASSERT_EQ(in_child([&] {
              const auto all = written(to_);
              if (all.size() >= kWrittenMax) return false;
              std::copy(all.begin(), all.end(), texts);
              return true;
            }),
            0);
  for (const History::Written* at = texts; at->token != 0; ++at) history_.written.push_back(*at);
  munmap(texts, kWrittenMax * sizeof(History::Written));
  std::printf("%d rounds, %d broker kills, %zu writes\n", rounds, brokers, history_.written.size());
  judge();
}

}  // namespace
}  // namespace heddle::history
