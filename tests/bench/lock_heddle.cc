#include "tests/bench/lock_heddle.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <thread>

#include "tests/bench/lock_works.h"

namespace heddle::bench {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kAsleepNs = 200'000;

void spin_until(int64_t ns) {
  while (now_ns() < ns) {
  }
}

long futex(std::atomic<uint32_t>& word, int op, uint32_t value) {
  return syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), op, value, nullptr, nullptr, 0);
}

void sample(Shared& shared, int64_t ns) {
  if (shared.samples < kSamplesMax) shared.sample_us[shared.samples++] = float(ns) / 1e3f;
}

double middle(std::vector<double> values) {
  if (values.empty()) fail("no sample was taken");
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// A child that is not one of run_sides(); ended with the parent.
pid_t start(const std::function<void()>& body) {
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  try {
    body();
  } catch (const std::exception& error) {
    fail(error.what());
  }
  _exit(0);
}

}  // namespace

Client connect() { return Client::connect({.timeout = 10s}).value(); }

/// The owner lets go of what another one sleeps for.
void measure_blocked(const Options& options) {
  Shared& shared = *Shared::map();
  auto* counters = new (shared_memory<LockCounters>()) LockCounters;
  auto& held = counters->turn;  // by the owner: odd
  const int64_t end = now_ns() + int64_t(options.seconds * 1e9);
  run_sides({{0,
              [&] {
                Lock lock = connect().lock("bench-blocked").value();
                for (;;) {
                  lock.acquire().or_throw();
                  held.fetch_add(1);
                  spin_until(now_ns() + kAsleepNs);
                  shared.sides[0].first_ns = now_ns();
                  lock.release().or_throw();
                  while (held.load() % 2 != 0) {
                  }
                  if (now_ns() > end && shared.samples > 0) break;
                }
                counters->over.store(true);
                held.fetch_add(1);
              }},
             {1, [&] {
                Lock lock = connect().lock("bench-blocked").value();
                for (;;) {
                  while (held.load() % 2 == 0) {
                  }
                  if (counters->over.load()) break;
                  lock.acquire().or_throw();
                  sample(shared, now_ns() - shared.sides[0].first_ns);
                  lock.release().or_throw();
                  held.fetch_add(1);
                }
              }}});
  report_samples(shared);
}

/// Two that sleep by turns, each for as long as a blocked owner above: half a round trip of that.
void measure_futex(const Options& options) {
  Shared& shared = *Shared::map();
  auto* counters = new (shared_memory<LockCounters>()) LockCounters;
  std::atomic_ref sent_ns(shared.sides[0].first_ns);
  const auto side = [&](uint32_t me) {
    meet(shared, 2);
    const int64_t end = now_ns() + int64_t(options.seconds * 1e9);
    for (;;) {
      for (uint32_t turn; (turn = counters->turn.load()) % 2 != me;) {
        futex(counters->turn, FUTEX_WAIT, turn);
      }
      const int64_t now = now_ns();
      if (counters->over.load()) break;
      if (me == 1) sample(shared, now - sent_ns.load());
      if (me == 1 && now > end) counters->over.store(true);
      spin_until(now + kAsleepNs);
      sent_ns.store(now_ns());
      counters->turn.fetch_add(1);
      futex(counters->turn, FUTEX_WAKE, 1);
    }
    counters->turn.fetch_add(1);
    futex(counters->turn, FUTEX_WAKE, INT_MAX);
  };
  run_sides({{0, [&] { side(0); }}, {1, [&] { side(1); }}});
  report_samples(shared);
}

/// An owner is killed while another one sleeps: until that one runs, and until its pidfd tells.
void measure_death(const Options& options) {
  Shared& shared = *Shared::map();
  auto* counters = new (shared_memory<LockCounters>()) LockCounters;
  const auto rounds = std::max(3, int(options.seconds * 100));
  std::vector<double> next_us, pidfd_us;
  for (int round = 0; round < rounds; ++round) {
    counters->turn.store(0);
    const pid_t owner = start([&] {
      Lock lock = connect().lock("bench-death").value();
      lock.acquire().or_throw();
      counters->turn.store(1);
      pause();
    });
    while (counters->turn.load() != 1) usleep(100);
    const pid_t next = start([&] {
      Lock lock = connect().lock("bench-death").value();
      counters->turn.store(2);
      lock.acquire().or_throw();
      shared.sides[1].last_ns = now_ns();
      lock.release().or_throw();
    });
    while (counters->turn.load() != 2) usleep(100);
    usleep(5'000);
    pollfd watched{int(syscall(SYS_pidfd_open, owner, 0)), POLLIN, 0};
    const int64_t killed_ns = now_ns();
    kill(owner, SIGKILL);
    poll(&watched, 1, -1);
    pidfd_us.push_back(double(now_ns() - killed_ns) / 1e3);
    close(watched.fd);
    int status = 0;
    waitpid(owner, &status, 0);
    waitpid(next, &status, 0);
    if (status != 0) fail("the next owner failed");
    next_us.push_back(double(shared.sides[1].last_ns - killed_ns) / 1e3);
  }
  report({{"next_us", middle(next_us)}, {"pidfd_us", middle(pidfd_us)}});
}

namespace {

constexpr unsigned kThreadsPerProcess = 250;

/// Threads that wait for what the first thread of their process holds, one lock each.
void wait_in_crowd(unsigned number, unsigned threads, std::atomic<uint32_t>& waiting) {
  Client client = connect();
  std::vector<Lock> locks;
  for (unsigned i = 0; i < threads; ++i) {
    locks.push_back(
        client.lock("bench-crowd/" + std::to_string(number * kThreadsPerProcess + i)).value());
    locks.back().acquire().or_throw();
  }
  std::vector<std::thread> crowd;
  for (unsigned i = 0; i < threads; ++i) {
    crowd.emplace_back([&, i] {
      // It holds one itself, or nobody would look at its wait.
      client.lock("bench-own/" + std::to_string(number * kThreadsPerProcess + i))
          .value()
          .acquire()
          .or_throw();
      waiting.fetch_add(1);
      (void)locks[i].acquire();
    });
  }
  pause();
}

/// Another program, whose calls wait over gRPC for as long as its standard input is open.
class FarCrowd {
 public:
  explicit FarCrowd(const Options& options) {
    if (options.remote == 0) return;
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) fail("no pipe");
    pid_ = start([&] {
      dup2(in[0], STDIN_FILENO);
      dup2(out[1], STDOUT_FILENO);
      const std::string program = own_folder() + "/heddle_bench_grpc";
      execl(program.c_str(), program.c_str(), "heddle", "crowd",
            ("socket=" + options.socket).c_str(),
            ("outstanding=" + std::to_string(options.remote)).c_str(), nullptr);
      fail("cannot start " + program);
    });
    close(in[0]);
    close(out[1]);
    input_ = in[1];
    char ready[8];
    if (read(out[0], ready, sizeof ready) <= 0) fail("the waits over gRPC did not begin");
    close(out[0]);
  }
  ~FarCrowd() {
    if (pid_ == 0) return;
    close(input_);
    waitpid(pid_, nullptr, 0);
  }
  FarCrowd(const FarCrowd&) = delete;

 private:
  static std::string own_folder() {
    char path[4096];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
    const std::string own(path, length > 0 ? size_t(length) : 0);
    return own.substr(0, own.rfind('/'));
  }
  pid_t pid_ = 0;
  int input_ = -1;
};

}  // namespace

/// Two close a circle while `outstanding` others wait elsewhere, and `remote` over gRPC: until one
/// of them is told.
void measure_deadlock(const Options& options) {
  const FarCrowd far(options);
  Shared& shared = *Shared::map();
  auto* counters = new (shared_memory<LockCounters>()) LockCounters;
  std::vector<pid_t> crowd;
  for (unsigned left = options.outstanding, number = 0; left > 0; ++number) {
    const unsigned threads = std::min(left, kThreadsPerProcess);
    crowd.push_back(
        start([&, number, threads] { wait_in_crowd(number, threads, counters->inside); }));
    left -= threads;
  }
  while (counters->inside.load() < options.outstanding) usleep(1'000);
  usleep(100'000);
  std::vector<double> told_us;
  const auto rounds = std::max(3, int(options.seconds * 50));
  for (int round = 0; round < rounds; ++round) {
    counters->turn.store(0);
    shared.sides[0] = shared.sides[1] = {};
    const auto side = [&](unsigned me) {
      Client client = connect();
      Lock mine = client.lock("bench-circle/" + std::to_string(me)).value();
      Lock other = client.lock("bench-circle/" + std::to_string(1 - me)).value();
      mine.acquire().or_throw();
      counters->turn.fetch_add(1);
      while (counters->turn.load() < 2) usleep(50);
      if (me == 1) usleep(20'000);
      shared.sides[me].first_ns = now_ns();
      const auto grant = other.acquire_for(20s);
      if (!grant && !grant.status().is(Reason::kDeadlockDetected)) grant.or_throw();
      if (!grant) shared.sides[me].last_ns = now_ns();
      if (grant) other.release().or_throw();
      mine.release().or_throw();
    };
    const pid_t pids[] = {start([&] { side(0); }), start([&] { side(1); })};
    for (const pid_t pid : pids) {
      int status = 0;
      waitpid(pid, &status, 0);
      if (status != 0) fail("one of the circle failed");
    }
    // Closed by the second one; told to either.
    const int64_t told = std::max(shared.sides[0].last_ns, shared.sides[1].last_ns);
    told_us.push_back(double(told - shared.sides[1].first_ns) / 1e3);
  }
  for (const pid_t pid : crowd) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  report({{"told_us", middle(told_us)}, {"bar_us", 100'000}});
}

/// Readers of a rw lock, permits, and two locks at once.
void measure_kin(const Options& options) {
  std::vector<Lock> locks(2);
  Semaphore permits;
  const auto open = [&] {
    Client client = connect();
    LockOptions rw;
    rw.kind = LockKind::kRw;
    locks[0] = client
                   .lock(options.work == "read" ? "bench-rw" : "bench-a",
                         options.work == "read" ? rw : LockOptions())
                   .value();
    locks[1] = client.lock("bench-b").value();
    permits = client.semaphore("bench-permits", {.permits = 4}).value();
  };
  const LockWish both[] = {{.lock = &locks[0]}, {.lock = &locks[1]}};
  if (options.work == "read") {
    measure_pairs(options, open, [&](unsigned) {
      locks[0].acquire(LockMode::kShared).or_throw();
      (void)locks[0].release(LockMode::kShared);
    });
  } else if (options.work == "permit") {
    measure_pairs(options, open, [&](unsigned) {
      permits.acquire().or_throw();
      (void)permits.release();
    });
  } else {
    measure_pairs(options, open, [&](unsigned) {
      if (!acquire_many(both).ok()) fail("acquire_many");
      (void)release_many(both);
    });
  }
}

}  // namespace heddle::bench
