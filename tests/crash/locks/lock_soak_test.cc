// Six processes use locks of every kind that owns, while some are killed, some stopped, and the
// reaper and the net go round. An oracle beside the locks, changed by one atomic step after a grant
// and before a release, knows who is inside.
//
// 10 s, or 60 s with HEDDLE_LONG. What must hold: nobody inside beside a writer or another owner,
// no more permits out than there are, tokens rise, a death inside is told to one owner, nobody
// sleeps on what is free (a stall), and everything is free at the end.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <vector>

#include "proto/shm/futex.h"
#include "tests/crash/locks/lock_runs.h"
#include "tests/support/watchdog.h"

namespace heddle::shm {
namespace {

using enum LockMode;

constexpr int kWorkers = 6, kLocks = 8;
constexpr uint16_t kNumbers = 50;  // session numbers, used again and again
constexpr int64_t kMs = 1'000'000;
constexpr int64_t kStallMs = 6'000;  // of running time: far above any wait that is served

struct Shared {
  // Per lock, four bits per worker: what it holds. Readers 1, writers 8, permits one bit each.
  std::atomic<uint64_t> inside[kLocks];
  std::atomic<uint64_t> token[kLocks];
  std::atomic<uint32_t> told[kLocks];
  std::atomic<uint64_t> told_at[kLocks];  // token of the last grant whose news was counted
  std::atomic<uint64_t> ops[kWorkers];
  std::atomic<int64_t> began_ns[kWorkers];  // of the wait that goes on; 0 = none
  std::atomic<int64_t> longest_ns[kWorkers];
  std::atomic<int> wrong;  // line of the first complaint
  std::atomic<bool> over;
};

uint64_t bits(int worker, uint64_t what) { return what << (worker * 4); }
constexpr uint64_t kReader = 1, kWriter = 8;

class Worker {
 public:
  Worker(LockWorld& world, Lock* locks, Shared* shared, int number, uint16_t owner)
      : locks_(locks), shared_(shared), me_(number), a_(world.actor(owner)), random_(owner * 77u) {
    random_.seed(static_cast<unsigned>(monotonic_ns()));
  }

  void run() {
    while (!shared_->over.load() && shared_->wrong.load() == 0) {
      once(static_cast<int>(random_() % kLocks));
      shared_->ops[me_].fetch_add(1);
    }
  }

 private:
  void complain(int line) {
    int none = 0;
    shared_->wrong.compare_exchange_strong(none, line);
  }

  template <class Take>
  bool timed(Take take) {
    const int64_t began = monotonic_ns();
    shared_->began_ns[me_].store(began);
    const LockOutcome outcome = take();
    shared_->began_ns[me_].store(0);
    const int64_t took = monotonic_ns() - began;
    if (took > shared_->longest_ns[me_].load()) shared_->longest_ns[me_].store(took);
    if (outcome != LockOutcome::kOk && outcome != LockOutcome::kTimedOut) complain(__LINE__);
    return outcome == LockOutcome::kOk;
  }
  int64_t deadline() { return random_() % 8 == 0 ? monotonic_ns() + 200'000 : kLockForever; }

  void entered_alone(int i, const Grant& grant) {
    if (shared_->inside[i].fetch_or(bits(me_, kWriter)) != 0) complain(__LINE__);
    const uint64_t before = shared_->token[i].exchange(grant.token);
    if (grant.token <= before) {
      std::fprintf(stderr, "lock %d: token %llx after %llx\n", i,
                   static_cast<unsigned long long>(grant.token),
                   static_cast<unsigned long long>(before));
      complain(__LINE__);
    }
    if (grant.abandoned) shared_->told[i].fetch_add(1);
    shared_->told_at[i].store(grant.token);
  }
  void leave(int i, uint64_t what) { shared_->inside[i].fetch_and(~bits(me_, what)); }
  void linger() {
    if (random_() % 16 == 0) {
      const int64_t end = monotonic_ns() + 20'000;
      while (monotonic_ns() < end) {
      }
    }
  }

  void once(int i) {
    if (i == 4 || i == 5) return rw(locks_[i], i);
    if (i >= 6) return permits(locks_[i], i);
    Lock& lock = locks_[i];
    Grant grant, again;
    if (!timed([&] { return lock.acquire(a_, deadline(), &grant); })) return;
    entered_alone(i, grant);
    const bool twice = i == 1 && random_() % 2 == 0;
    if (twice && lock.acquire(a_, kLockTry, &again) != LockOutcome::kOk) complain(__LINE__);
    linger();
    if (i == 3 && random_() % 2 == 0) {
      leave(i, kWriter);
      if (random_() % 2 == 0) lock.notify(a_, 1);
      Grant back;
      const LockOutcome outcome = lock.wait(a_, lock, monotonic_ns() + 300'000, &back);
      if (outcome != LockOutcome::kOk && outcome != LockOutcome::kTimedOut) complain(__LINE__);
      entered_alone(i, back);
    }
    if (twice && lock.release(a_) != LockOutcome::kOk) complain(__LINE__);
    leave(i, kWriter);
    if (lock.release(a_) != LockOutcome::kOk) complain(__LINE__);
  }

  void rw(Lock& lock, int i) {
    Grant grant;
    const uint64_t writers = 0x8888888888888888;
    const unsigned what = random_() % 5;
    if (what < 3) {
      if (!timed([&] { return lock.acquire_rw(a_, kShared, deadline(), &grant); })) return;
      if ((shared_->inside[i].fetch_or(bits(me_, kReader)) & writers) != 0) complain(__LINE__);
      linger();
      leave(i, kReader);
      if (lock.release_rw(a_, kShared) != LockOutcome::kOk) complain(__LINE__);
      return;
    }
    const LockMode mode = what == 3 ? kExclusive : LockMode::kUpdate;
    if (!timed([&] { return lock.acquire_rw(a_, mode, deadline(), &grant); })) return;
    if (mode == LockMode::kUpdate) {
      if (grant.abandoned) shared_->told[i].fetch_add(1);
      const bool up = timed(
          [&] { return lock.convert(a_, LockMode::kUpdate, kExclusive, deadline(), &grant); });
      if (!up) {
        if (lock.release_rw(a_, LockMode::kUpdate) != LockOutcome::kOk) complain(__LINE__);
        return;
      }
    }
    entered_alone(i, grant);
    linger();
    leave(i, kWriter);
    if (lock.release_rw(a_, kExclusive) != LockOutcome::kOk) complain(__LINE__);
  }

  void permits(Lock& lock, int i) {
    Grant grant;
    const uint32_t n = 1 + (random_() % 4 == 0);
    if (!timed([&] { return lock.acquire_permits(a_, n, deadline(), &grant); })) return;
    const uint64_t mine = n == 1 ? 1 : 3;
    const uint64_t out = shared_->inside[i].fetch_or(bits(me_, mine)) | bits(me_, mine);
    if (__builtin_popcountll(out) > static_cast<int>(lock.line().limit.load())) complain(__LINE__);
    linger();
    leave(i, mine);
    if (lock.release_permits(a_, n) != LockOutcome::kOk) complain(__LINE__);
  }

  Lock* locks_;
  Shared* shared_;
  const int me_;
  LockActor a_;
  std::minstd_rand random_;
};

class Soak : public ::testing::Test {
 protected:
  void start(int i) {
    owner_[i] = 0;
    do {
      next_owner_ = static_cast<uint16_t>(next_owner_ % kNumbers + 1);
    } while (std::find(owner_, owner_ + kWorkers, next_owner_) != owner_ + kWorkers);
    owner_[i] = next_owner_;
    const pid_t parent = getpid();
    pid_[i] = fork();
    if (pid_[i] != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent) Worker(world_, locks_, shared_, i, owner_[i]).run();
    _exit(0);
  }

  /// What the dead one held by a grant is told to somebody, once.
  void note_death(int i) {
    for (int lock = 0; lock < 6; ++lock) {
      const uint64_t word = locks_[lock].line().word.load();
      const bool granted = owner_in(word) == owner_[i] && (word & (kClaimed | shm::kUpdate)) == 0;
      if (granted) ++owed_[lock];
      // Its own news of an earlier death may be counted or not.
      const bool held = owner_in(word) == owner_[i];
      if (held && token_low(word) != static_cast<uint32_t>(shared_->told_at[lock].load())) {
        ++unsure_[lock];
      }
    }
    for (auto& inside : shared_->inside) inside.fetch_and(~bits(i, 15));
  }

  void kill_one(int i) {
    kill(pid_[i], SIGKILL);
    while (waitpid(pid_[i], nullptr, 0) < 0 && errno == EINTR) {
    }
    ++kills_;
    note_death(i);
    shared_->began_ns[i].store(0);
    world_.reap(owner_[i]);
    start(i);
  }

  void stop_one(int i) {
    kill(pid_[i], SIGSTOP);
    ++stops_;
    const auto ms = static_cast<int64_t>(1 + random_() % 30);
    stopped_.push_back({i, pid_[i], monotonic_ns() + ms * kMs});
  }

  void go_on(int64_t now_ns) {
    std::erase_if(stopped_, [&](const Stopped& s) {
      if (now_ns < s.until_ns) return false;
      if (pid_[s.worker] == s.pid) kill(s.pid, SIGCONT);
      return true;
    });
  }

  bool stalled(int64_t now_ns) const {
    for (const auto& began : shared_->began_ns) {
      const int64_t at = began.load();
      if (at != 0 && now_ns - at > kStallMs * kMs) return true;
    }
    return false;
  }

  struct Stopped {
    int worker;
    pid_t pid;
    int64_t until_ns;
  };

  LockWorld world_;
  Lock locks_[kLocks] = {
      world_.make(LockKind::kMutex, 0, (uint64_t{1} << 32) - 20'000),
      world_.make(LockKind::kRlock, 0, (uint64_t{1} << 31) - 20'000),
      world_.make({.kind = LockKind::kMutex, .fair = Fairness::kStrict}),
      world_.make(LockKind::kCondition),
      world_.make(LockKind::kRw, 0, (uint64_t{1} << 32) - 20'000),
      world_.make({.kind = LockKind::kRw, .fair = Fairness::kStrict}),
      world_.make(LockKind::kSemaphore, 3),
      world_.make(LockKind::kSemaphore, 2),
  };
  Shared* shared_ = static_cast<Shared*>(
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  pid_t pid_[kWorkers] = {};
  uint16_t owner_[kWorkers] = {}, next_owner_ = 1;
  uint64_t kills_ = 0, stops_ = 0, scans_ = 0;
  uint32_t owed_[kLocks] = {}, unsure_[kLocks] = {};
  std::vector<Stopped> stopped_;
  std::minstd_rand random_{static_cast<unsigned>(monotonic_ns())};
};

TEST_F(Soak, KillsAndStops) {
  const int64_t seconds = long_run() ? 60 : 10;
  const test::Watchdog watchdog("soak", static_cast<unsigned>(seconds + 30));
  for (int i = 0; i < kWorkers; ++i) start(i);
  const int64_t end_ns = monotonic_ns() + seconds * 1'000 * kMs;
  int64_t scan_ns = 0, act_ns = 0, now_ns;
  bool stall = false;
  while ((now_ns = monotonic_ns()) < end_ns && shared_->wrong.load() == 0 && !stall) {
    if (now_ns >= scan_ns) {
      world_.segment().rescan();
      ++scans_;
      scan_ns = now_ns + 50 * kMs;
    }
    if (now_ns >= act_ns) {
      const int i = static_cast<int>(random_() % kWorkers);
      random_() % 4 == 0 ? stop_one(i) : kill_one(i);
      act_ns = now_ns + kMs * (1 + random_() % 6);
    }
    go_on(now_ns);
    stall = stalled(now_ns);
    const timespec nap{0, 300'000};
    nanosleep(&nap, nullptr);
  }
  shared_->over.store(true);
  go_on(INT64_MAX);
  for (int left = 100; left > 0; --left) {  // the last sleepers are woken by those that leave
    world_.segment().rescan();
    const timespec nap{0, 10'000'000};
    if (std::all_of(pid_, pid_ + kWorkers,
                    [](pid_t p) { return p == 0 || waitpid(p, nullptr, WNOHANG) != 0; })) {
      break;
    }
    nanosleep(&nap, nullptr);
  }
  uint64_t ops = 0;
  int64_t longest_ns = 0;
  for (int i = 0; i < kWorkers; ++i) {
    kill(pid_[i], SIGKILL);
    waitpid(pid_[i], nullptr, 0);
    ops += shared_->ops[i].load();
    longest_ns = std::max(longest_ns, shared_->longest_ns[i].load());
  }
  uint32_t told = 0, owed = 0, unsure = 0;
  EXPECT_FALSE(stall) << "somebody sleeps on";
  EXPECT_EQ(shared_->wrong.load(), 0) << "complaint of that line";
  for (int i = 0; i < kLocks; ++i) {
    LockStanding standing[8];
    EXPECT_EQ(locks_[i].standing(standing, 8), 0u) << "lock " << i << " is not free at the end";
    LockActor a = world_.actor(60), b = world_.actor(61);
    int last_told = 0;
    EXPECT_EQ(use_fully(locks_[i], a, b, &last_told), "") << "lock " << i;
    const uint32_t all = shared_->told[i].load() + static_cast<uint32_t>(last_told);
    if (i < 4) {  // an update holder is told too, and may die before it says so
      EXPECT_LE(all, owed_[i]) << "lock " << i << ": a death is told twice";
      EXPECT_GE(all + unsure_[i], owed_[i]) << "lock " << i << ": a death is not told";
    }
    told += all;
    owed += owed_[i];
    unsure += unsure_[i];
  }
  std::printf(
      "soak %lld s: %llu operations, %llu kills, %llu stops, %llu scans; deaths inside %u, "
      "told %u, unsure %u; longest wait %.1f ms\n",
      static_cast<long long>(seconds), static_cast<unsigned long long>(ops),
      static_cast<unsigned long long>(kills_), static_cast<unsigned long long>(stops_),
      static_cast<unsigned long long>(scans_), owed, told, unsure,
      static_cast<double>(longest_ns) / 1e6);
  munmap(shared_, sizeof(Shared));
}

}  // namespace
}  // namespace heddle::shm
