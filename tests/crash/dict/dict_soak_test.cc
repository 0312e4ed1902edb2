// Two writers, a reader with rights, one on a read-only mapping and a watcher at once, some of them
// killed at random and reaped while the others run. Every operation is recorded with the times of
// its begin and end; afterwards the history tells what happened, and everything must fit to it.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <unordered_map>
#include <vector>

#include "proto/shm/futex.h"
#include "tests/support/watchdog.h"
#include "tests/unit/shm/dict_audit.h"
#include "tests/unit/shm/dict_fixture.h"

namespace heddle::shm {
namespace {

constexpr uint32_t kKeys = 64, kWorkers = 4, kWriters = 2;
constexpr uint32_t kOpsMax = 30'000;  // of a worker in a round
constexpr uint32_t kHistory = 1 << 17;

uint64_t now_ticks() {
#if defined(__x86_64__)
  _mm_lfence();  // a bare rdtsc may be read before the loads that it should follow
  const uint64_t t = __rdtsc();
  _mm_lfence();
  return t;
#else
  return static_cast<uint64_t>(monotonic_ns());
#endif
}

enum Op : uint8_t { kSet, kErase, kRead };

struct Event {
  uint64_t begin, end;  // 0: was killed before
  uint64_t revision;    // 0: not known
  uint64_t id;          // of the value; 0: none
  uint32_t key;
  Op op;
  bool ok;
};

struct Log {
  std::atomic<uint32_t> n;
  Event events[kOpsMax + 16];
};

struct Shared {
  Log logs[kWorkers];
  std::atomic<uint64_t> torn, damaged;
  std::atomic<uint64_t> watched;  // the last revision that the watcher has seen
  std::atomic<uint64_t> watched_sum;
  std::atomic<uint32_t> stop;
};

/// id, bytes, then a pattern made of them.
struct Body {
  uint64_t words[24];
  uint64_t bytes;
};

void make_body(uint64_t id, Body* b) {
  b->bytes = 32 + id % 20 * 8;
  b->words[0] = id;
  b->words[1] = b->bytes;
  for (uint64_t i = 2; i < b->bytes / 8; ++i) b->words[i] = id * 0x9e3779b97f4a7c15 + i;
}

bool is_whole(const uint64_t* words, uint64_t bytes) {
  if (bytes < 32 || words[1] != bytes) return false;
  for (uint64_t i = 2; i < bytes / 8; ++i) {
    if (words[i] != words[0] * 0x9e3779b97f4a7c15 + i) return false;
  }
  return true;
}

std::string key_name(uint32_t k) { return "key " + std::to_string(k); }

class Soak {
 public:
  Soak()
      : segment_(limits()),
        shared_(static_cast<Shared*>(mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                                          MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
    for (uint32_t k = 0; k < kKeys; ++k) keys_.push_back(key_name(k));
  }
  ~Soak() { munmap(shared_, sizeof(Shared)); }

  void round(unsigned seed, bool with_kills);
  uint64_t writes = 0, reads = 0, kills = 0, watched = 0;

 private:
  static DictLimits limits() {
    DictLimits l;
    l.max_entries = 1000;
    l.max_bytes = 64 << 20;
    l.max_value_bytes = 4096;
    l.history = kHistory;
    return l;
  }

  pid_t start(uint32_t worker, uint64_t incarnation);
  pid_t start_watcher(uint64_t from);
  void work(Dict& d, uint32_t worker, uint64_t incarnation);
  void write_once(Dict& d, DictActor& a, Event* e, std::mt19937_64& random, uint64_t id);
  void read_once(const Dict& d, DictActor* helper, Event* e);
  void kill_some(std::vector<pid_t>* pids, unsigned seed, bool with_kills);
  void check(uint64_t from, uint64_t to);
  void check_writes();
  void check_reads();

  DictSegment segment_;
  Shared* shared_;
  std::vector<std::string> keys_;
  uint64_t incarnations_ = 0;
  std::unordered_map<uint64_t, uint64_t> ids_before_;

  // Of the round: what the history says.
  struct Truth {
    uint32_t key;
    uint64_t id;  // 0: erased
    uint64_t begin;
  };
  uint64_t first_ = 0;
  std::vector<Truth> truth_;
  std::vector<std::vector<uint64_t>> of_key_;        // revisions
  std::vector<Truth> state_{kKeys, Truth{0, 0, 0}};  // before the round
};

void Soak::write_once(Dict& d, DictActor& a, Event* e, std::mt19937_64& random, uint64_t id) {
  const std::string& key = keys_[e->key];
  DictWritten w;
  e->begin = now_ticks();
  Outcome outcome;
  if (random() % 5 == 0) {
    e->op = kErase;
    outcome = drop(d, a, key, &w);
  } else {
    Body b;
    make_body(id, &b);
    e->op = kSet;
    e->id = id;
    outcome = d.set(a, key_of(key), b.words, b.bytes, DictKind::kBytes, &w);
  }
  const uint64_t end = now_ticks();
  e->ok = outcome == Outcome::kOk;
  e->revision = e->ok ? w.revision : 0;
  e->end = end;
  if (!e->ok && outcome != Outcome::kNotFound) shared_->damaged.fetch_add(1);
}

void Soak::read_once(const Dict& d, DictActor* helper, Event* e) {
  alignas(8) uint64_t room[64];
  DictEntry entry;
  entry.room = reinterpret_cast<std::byte*>(room);
  entry.room_bytes = sizeof room;
  e->op = kRead;
  e->begin = now_ticks();
  const Outcome outcome = d.get(key_of(keys_[e->key]), &entry, helper);
  const uint64_t end = now_ticks();
  e->ok = outcome == Outcome::kOk;
  if (e->ok) {
    if (!is_whole(room, entry.bytes)) shared_->torn.fetch_add(1);
    e->id = room[0];
    e->revision = entry.mod_revision;
  } else if (outcome != Outcome::kNotFound) {
    shared_->damaged.fetch_add(1);
  }
  e->end = end;
}

void Soak::work(Dict& d, uint32_t worker, uint64_t incarnation) {
  std::mt19937_64 random(incarnation);
  Log& log = shared_->logs[worker];
  const bool writes = worker < kWriters;
  DictActor a;
  a.owner = static_cast<uint16_t>(10 + worker);
  if (worker != kWorkers - 1 && d.enter(a) != Outcome::kOk) _exit(1);
  for (uint64_t i = 1; log.n.load() < kOpsMax; ++i) {
    Event& e = log.events[log.n.load()];
    e = {};
    e.key = random() % 4 == 0 ? 0 : static_cast<uint32_t>(random() % kKeys);
    if (writes) {
      // Counted before it begins: a killed one is there, without an end.
      const uint64_t id = incarnation << 32 | i;
      e.op = kSet;
      log.n.fetch_add(1);
      write_once(d, a, &e, random, id);
    } else {
      read_once(d, worker == kWorkers - 1 ? nullptr : &a, &e);
      log.n.fetch_add(1);
    }
  }
  if (a.row != kDictRowNone) d.leave(a);
}

pid_t Soak::start(uint32_t worker, uint64_t incarnation) {
  const pid_t parent = getpid(), pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  Dict d = segment_.dict();
  if (worker == kWorkers - 1) {
    void* base = mmap(nullptr, segment_.bytes(), PROT_READ, MAP_SHARED, segment_.fd(), 0);
    if (base == MAP_FAILED || Dict::attach(base, segment_.bytes(), -1, &d) != Outcome::kOk) {
      _exit(1);
    }
  }
  work(d, worker, incarnation);
  _exit(0);
}

pid_t Soak::start_watcher(uint64_t from) {
  const pid_t parent = getpid(), pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  Dict& d = segment_.dict();
  DictActor a;
  for (uint64_t r = from;; ++r) {
    while (d.wait_change(a, r, monotonic_ns() + 5'000'000) != Outcome::kOk) {
      if (shared_->stop.load() != 0 && d.revision() < r) _exit(0);
    }
    std::byte key[kDictKeyBytesMax];
    uint64_t room[64];
    DictChange c;
    c.key_room = key;
    c.entry.room = reinterpret_cast<std::byte*>(room);
    c.entry.room_bytes = sizeof room;
    if (d.read_change(r, &c) != Outcome::kOk) _exit(2);
    const bool value = is_value(c.entry.kind);
    if (value && !is_whole(room, c.entry.bytes)) shared_->torn.fetch_add(1);
    shared_->watched_sum.fetch_add(value ? room[0] * r : r);
    shared_->watched.store(r);
  }
}

void Soak::kill_some(std::vector<pid_t>* pids, unsigned seed, bool with_kills) {
  std::mt19937 random(seed);
  DictActor reaper = segment_.actor(2);
  uint32_t running = kWorkers;
  while (running > 0) {
    usleep(with_kills ? 500 + random() % 3000 : 2000);
    for (uint32_t w = 0; w < kWorkers; ++w) {
      pid_t& pid = (*pids)[w];
      if (pid <= 0) continue;
      int status = 0;
      const bool strike = with_kills && random() % 4 == 0;
      if (strike) ::kill(pid, SIGKILL);
      if (waitpid(pid, &status, strike ? 0 : WNOHANG) != pid) continue;
      if (WIFSIGNALED(status)) {
        ++kills;
        segment_.dict().reap(reaper, static_cast<uint16_t>(10 + w));
        pid = start(w, ++incarnations_);
      } else {
        EXPECT_EQ(WEXITSTATUS(status), 0);
        pid = 0;
        --running;
      }
    }
  }
  segment_.dict().leave(reaper);
}

void Soak::round(unsigned seed, bool with_kills) {
  for (Log& log : shared_->logs) log.n.store(0);
  shared_->stop.store(0);
  shared_->watched_sum.store(0);
  Dict& d = segment_.dict();
  const uint64_t from = d.revision() + 1;
  shared_->watched.store(from - 1);
  std::vector<pid_t> pids;
  for (uint32_t w = 0; w < kWorkers; ++w) pids.push_back(start(w, ++incarnations_));
  const pid_t watcher = start_watcher(from);
  kill_some(&pids, seed, with_kills);
  shared_->stop.store(1);
  int status = 1;
  waitpid(watcher, &status, 0);
  ASSERT_EQ(status, 0) << "the watcher lost the thread";
  ASSERT_EQ(shared_->torn.load(), 0u);
  ASSERT_EQ(shared_->damaged.load(), 0u);
  ASSERT_EQ(DictAudit(d).run(), "");
  check(from, d.revision());
}

void Soak::check(uint64_t from, uint64_t to) {
  first_ = from;
  truth_.clear();
  of_key_.assign(kKeys, {});
  std::unordered_map<uint64_t, uint64_t> begun;  // id -> time
  uint64_t last_begin = 0;
  for (const Log& log : shared_->logs) {
    for (uint32_t i = 0; i < log.n.load(); ++i) {
      const Event& e = log.events[i];
      if (e.op != kRead)
        ++writes, begun[e.id] = e.begin;
      else
        ++reads;
      last_begin = std::max(last_begin, e.begin);
    }
  }
  uint64_t sum = 0;
  for (uint64_t r = from; r <= to; ++r) {
    std::byte key[kDictKeyBytesMax];
    uint64_t room[64];
    DictChange c;
    c.key_room = key;
    c.entry.room = reinterpret_cast<std::byte*>(room);
    c.entry.room_bytes = sizeof room;
    ASSERT_EQ(segment_.dict().read_change(r, &c), Outcome::kOk) << r;
    const std::string name(reinterpret_cast<char*>(key), c.key_bytes);
    const auto k = static_cast<uint32_t>(std::stoul(name.substr(4)));
    const uint64_t id = is_value(c.entry.kind) ? room[0] : 0;
    ASSERT_TRUE(id == 0 || begun.count(id) != 0) << "a value that nobody wrote";
    truth_.push_back({k, id, id == 0 ? 0 : begun[id]});
    of_key_[k].push_back(r);
    sum += id == 0 ? r : id * r;
  }
  ASSERT_EQ(shared_->watched.load(), to);
  ASSERT_EQ(shared_->watched_sum.load(), sum) << "the watcher saw something else";
  watched += to - from + 1;
  check_writes();
  check_reads();
  for (const Truth& t : truth_) state_[t.key] = t;
}

/// Each change has one revision, the one that its writer was told, and what began after something
/// was done, or was seen by one with rights, has a greater one.
void Soak::check_writes() {
  std::unordered_map<uint64_t, uint64_t> seen;
  for (size_t i = 0; i < truth_.size(); ++i) {
    if (truth_[i].id == 0) continue;
    ASSERT_TRUE(seen.emplace(truth_[i].id, first_ + i).second) << "a change has two revisions";
  }
  std::vector<const Event*> begins, ends;
  for (uint32_t w = 0; w < kWorkers - 1; ++w) {
    for (uint32_t i = 0; i < shared_->logs[w].n.load(); ++i) {
      const Event& e = shared_->logs[w].events[i];
      if (e.end == 0 || e.revision == 0) continue;
      ends.push_back(&e);
      if (e.op == kRead) continue;
      begins.push_back(&e);
      const size_t at = e.revision - first_;
      ASSERT_LT(at, truth_.size());
      ASSERT_EQ(truth_[at].key, e.key);
      ASSERT_EQ(truth_[at].id, e.op == kSet ? e.id : 0) << "another's change has this revision";
    }
  }
  std::sort(begins.begin(), begins.end(), [](auto* a, auto* b) { return a->begin < b->begin; });
  std::sort(ends.begin(), ends.end(), [](auto* a, auto* b) { return a->end < b->end; });
  uint64_t done = 0;
  size_t next = 0;
  for (const Event* e : begins) {
    for (; next < ends.size() && ends[next]->end < e->begin; ++next) {
      done = std::max(done, ends[next]->revision);
    }
    ASSERT_GT(e->revision, done) << "a change came before one that was done when it began";
  }
}

/// A read gives what was there at some moment between its begin and its end.
void Soak::check_reads() {
  std::vector<std::vector<const Event*>> ends(kKeys), all(kKeys);
  for (const Log& log : shared_->logs) {
    for (uint32_t i = 0; i < log.n.load(); ++i) {
      const Event& e = log.events[i];
      if (e.end == 0) continue;
      if (e.revision != 0) ends[e.key].push_back(&e);
      if (e.op == kRead) all[e.key].push_back(&e);
    }
  }
  std::unordered_map<uint64_t, uint64_t> revision_of;
  for (size_t i = 0; i < truth_.size(); ++i) revision_of[truth_[i].id] = first_ + i;
  for (uint32_t k = 0; k < kKeys; ++k) {
    std::sort(ends[k].begin(), ends[k].end(), [](auto* a, auto* b) { return a->end < b->end; });
    std::sort(all[k].begin(), all[k].end(), [](auto* a, auto* b) { return a->begin < b->begin; });
    const std::vector<uint64_t>& revisions = of_key_[k];
    uint64_t done = 0;
    size_t next = 0;
    for (const Event* e : all[k]) {
      for (; next < ends[k].size() && ends[k][next]->end < e->begin; ++next) {
        done = std::max(done, ends[k][next]->revision);
      }
      if (e->ok) {
        const bool old = e->id == state_[k].id;
        ASSERT_TRUE(old || revision_of.count(e->id) != 0) << "a value that was never there";
        const uint64_t r = old ? 0 : revision_of[e->id];
        if (r != 0 && e->revision != 0) {
          ASSERT_EQ(r, e->revision) << "a read tells another revision";
        }
        ASSERT_TRUE(old ? done < first_ : r >= done) << "a read goes back";
        ASSERT_TRUE(old || truth_[r - first_].begin < e->end) << "a read from the future";
        continue;
      }
      // Absent: an erase at or after what was done, or nothing at the beginning.
      auto at = std::lower_bound(revisions.begin(), revisions.end(), done);
      bool found = done < first_ && state_[k].id == 0;
      for (; !found && at != revisions.end(); ++at) found = truth_[*at - first_].id == 0;
      ASSERT_TRUE(found) << "absent, and nobody had erased it";
    }
  }
}

void soak(bool with_kills, double seconds, double seconds_long) {
  if (std::getenv("HEDDLE_LONG") != nullptr) seconds = seconds_long;
  test::Watchdog dog("dict soak", static_cast<unsigned>(seconds * 20 + 60));
  Soak soak;
  const int64_t start = monotonic_ns();
  unsigned rounds = 0;
  do {
    soak.round(++rounds, with_kills);
    if (::testing::Test::HasFatalFailure()) return;
  } while (static_cast<double>(monotonic_ns() - start) < seconds * 1e9);
  std::printf("shown: dict, soak%s; %u rounds, %llu writes, %llu reads, %llu watched, %llu kills\n",
              with_kills ? " with kills" : "", rounds, static_cast<unsigned long long>(soak.writes),
              static_cast<unsigned long long>(soak.reads),
              static_cast<unsigned long long>(soak.watched),
              static_cast<unsigned long long>(soak.kills));
}

TEST(DictSoak, EveryReadAndRevisionFitsTheHistory) { soak(false, 2, 60); }
TEST(DictSoak, AlsoWhenSomeAreKilled) { soak(true, 4, 60); }

constexpr uint32_t kBankHistory = 1 << 19;

/// Processes move amounts between accounts, some are killed and reaped: the sum is always the same,
/// and each revision moves as much away as it brings.
class Bank {
 public:
  static constexpr int kAccounts = 12, kProcesses = 3;
  static constexpr int64_t kEach = 1'000'000;

  Bank() : segment_(limits()) {
    DictActor a = segment_.actor(1);
    for (int i = 0; i < kAccounts; ++i) {
      names_.push_back("account " + std::to_string(i));
      EXPECT_EQ(segment_.dict().set(a, key_of(names_.back()), &kEach, 8, DictKind::kInt64),
                Outcome::kOk);
      state_.push_back(kEach);
    }
    segment_.dict().leave(a);
    last_ = segment_.dict().revision();
  }

  void run(double seconds);
  uint64_t transactions = 0, kills = 0;

 private:
  static DictLimits limits() {
    DictLimits l = small_dict();
    l.history = kBankHistory;  // what one slice of the machine's time may change
    l.max_bytes = 256 << 20;   // and the memory for it
    return l;
  }
  pid_t start(uint32_t worker, uint64_t seed);
  Outcome move(Dict& d, DictActor& a, std::mt19937_64& random);
  void follow();

  DictSegment segment_;
  std::vector<std::string> names_;
  std::vector<int64_t> state_;
  uint64_t last_;
};

/// One account gives to one, two or three others.
Outcome Bank::move(Dict& d, DictActor& a, std::mt19937_64& random) {
  const size_t n = 2 + random() % 3, first = random() % kAccounts;
  int64_t values[4];
  DictEntry entries[4];
  DictOperation ops[4];
  for (size_t i = 0; i < n; ++i) {
    const std::string& key = names_[(first + i * 2) % kAccounts];
    entries[i].room = reinterpret_cast<std::byte*>(&values[i]);
    entries[i].room_bytes = 8;
    const Outcome got = d.get(key_of(key), &entries[i], &a);
    if (got != Outcome::kOk) return got;
    ops[i].write.key = key_of(key);
    ops[i].write.value = &values[i];
    ops[i].write.bytes = 8;
    ops[i].write.kind = DictKind::kInt64;
    ops[i].write.if_version = entries[i].mod_revision;
  }
  values[0] -= static_cast<int64_t>(n) - 1;
  for (size_t i = 1; i < n; ++i) ++values[i];
  DictTransaction t;
  t.first = ops;
  t.first_n = static_cast<uint32_t>(n);
  DictTransacted out;
  const Outcome done = d.transact(a, t, &out);
  return done == Outcome::kMismatch ? Outcome::kOk : done;
}

pid_t Bank::start(uint32_t worker, uint64_t seed) {
  const pid_t parent = getpid(), pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  std::mt19937_64 random(seed);
  Dict& d = segment_.dict();
  DictActor a;
  a.owner = static_cast<uint16_t>(10 + worker);
  if (d.enter(a) != Outcome::kOk) _exit(2);
  for (;;) {
    if (random() % 8 != 0) {
      if (move(d, a, random) != Outcome::kOk) _exit(3);
      continue;
    }
    // Plain writes that change nothing, in the way of the others.
    const std::string& key = names_[random() % kAccounts];
    int64_t n = 0;
    if (d.increment(a, key_of(key), 0, 0, INT64_MAX, &n) != Outcome::kOk) _exit(4);
  }
}

void Bank::follow() {
  Dict& d = segment_.dict();
  std::byte key[kDictKeyBytesMax];
  for (const uint64_t end = d.revision(); last_ < end; ++last_) {
    int64_t sum = 0, value = 0;
    DictChange c;
    c.key_room = key;
    c.entry.room = reinterpret_cast<std::byte*>(&value);
    c.entry.room_bytes = 8;
    for (c.at = 0; c.at < c.of; ++c.at) {
      ASSERT_EQ(d.read_change(last_ + 1, &c), Outcome::kOk) << last_ + 1;
      const std::string name(reinterpret_cast<char*>(key), c.key_bytes);
      const size_t i = std::stoul(name.substr(8));
      sum += value - state_[i];
      state_[i] = value;
    }
    ASSERT_EQ(sum, 0) << "revision " << last_ + 1 << " is not whole";
    transactions += c.of > 1;
  }
}

void Bank::run(double seconds) {
  std::mt19937 random(1);
  uint64_t seed = 0;
  DictActor reaper = segment_.actor(2);
  std::vector<pid_t> pids;
  for (uint32_t w = 0; w < kProcesses; ++w) pids.push_back(start(w, ++seed));
  const int64_t end = monotonic_ns() + static_cast<int64_t>(seconds * 1e9);
  while (monotonic_ns() < end && !::testing::Test::HasFatalFailure()) {
    usleep(300 + random() % 2000);
    const uint32_t w = random() % kProcesses;
    int status = 0;
    ::kill(pids[w], SIGKILL);
    ASSERT_EQ(waitpid(pids[w], &status, 0), pids[w]);
    EXPECT_TRUE(WIFSIGNALED(status)) << "one ended by itself: " << WEXITSTATUS(status);
    ++kills;
    segment_.dict().reap(reaper, static_cast<uint16_t>(10 + w));
    pids[w] = start(w, ++seed);
    // Three who write are faster than one who follows.
    const bool behind = segment_.dict().revision() - last_ > kBankHistory / 4;
    for (const pid_t pid : pids) ::kill(pid, behind ? SIGSTOP : SIGCONT);
    follow();
    for (const pid_t pid : pids) ::kill(pid, SIGCONT);
  }
  for (uint32_t w = 0; w < kProcesses; ++w) {
    ::kill(pids[w], SIGKILL);
    waitpid(pids[w], nullptr, 0);
    segment_.dict().reap(reaper, static_cast<uint16_t>(10 + w));
  }
  segment_.dict().leave(reaper);
  follow();
  DictAudit audit(segment_.dict());
  ASSERT_EQ(audit.run(), "");
  for (int i = 0; i < kAccounts; ++i) {
    int64_t n;
    std::memcpy(&n, audit.entries().at(names_[i]).value.data(), 8);
    EXPECT_EQ(n, state_[i]);
  }
}

TEST(DictSoak, TransactionsAreWholeWhoeverIsKilled) {
  const double seconds = std::getenv("HEDDLE_LONG") != nullptr ? 60 : 3;
  test::Watchdog dog("dict bank", static_cast<unsigned>(seconds * 10 + 60));
  Bank bank;
  bank.run(seconds);
  std::printf("shown: dict, transactions with kills; %llu transactions, %llu kills\n",
              static_cast<unsigned long long>(bank.transactions),
              static_cast<unsigned long long>(bank.kills));
}

}  // namespace
}  // namespace heddle::shm
