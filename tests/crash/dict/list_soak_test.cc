// Two writers and two readers of a list at once, one of the readers on a read-only mapping, some of
// them killed at random and reaped while the others run. Every operation is recorded with the times
// of its begin and end. Afterwards all changes are done once more to a vector, by their revisions:
// each page that was read must be what stood there at its revision, and nothing may come before
// what was done when it began.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <vector>

#include "proto/shm/futex.h"
#include "tests/support/watchdog.h"
#include "tests/unit/shm/list_audit.h"
#include "tests/unit/shm/list_fixture.h"

namespace heddle::shm {
namespace {

constexpr uint32_t kWorkers = 4, kWriters = 2, kOpsMax = 12'000, kPageMax = 12;

uint64_t ticks() {
#if defined(__x86_64__)
  _mm_lfence();  // a bare rdtsc may be read before the loads that it should follow
  const uint64_t t = __rdtsc();
  _mm_lfence();
  return t;
#else
  return static_cast<uint64_t>(monotonic_ns());
#endif
}

struct ListEvent {
  uint64_t begin, end;  // end 0: was killed before
  uint64_t revision;    // of a write that was killed: that it would have had; 0: refused
  uint64_t id, length;
  int64_t index;
  uint32_t n;
  bool write;
  ListOp op;
  uint64_t ids[kPageMax];
};

struct ListLog {
  std::atomic<uint32_t> n;
  ListEvent events[kOpsMax + 16];
};

struct ListShared {
  ListLog logs[kWorkers];
  std::atomic<uint64_t> torn, damaged;
};

uint64_t make_value(uint64_t id, uint64_t* words) {
  const uint64_t n = 4 + id % 20;
  words[0] = id;
  words[1] = n;
  for (uint64_t i = 2; i < n; ++i) words[i] = id * 0x9e3779b97f4a7c15 + i;
  return n * 8;
}

/// Its id; 0: it is torn.
uint64_t id_of(const void* value, uint64_t bytes) {
  const auto* words = static_cast<const uint64_t*>(value);
  if (bytes < 32 || words[1] * 8 != bytes) return 0;
  for (uint64_t i = 2; i < words[1]; ++i) {
    if (words[i] != words[0] * 0x9e3779b97f4a7c15 + i) return 0;
  }
  return words[0];
}

class ListSoak {
 public:
  explicit ListSoak(bool with_kills)
      : with_kills_(with_kills),
        segment_(small_list()),
        shared_(static_cast<ListShared*>(mmap(nullptr, sizeof(ListShared), PROT_READ | PROT_WRITE,
                                              MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  ~ListSoak() { munmap(shared_, sizeof(ListShared)); }

  void round(unsigned seed);
  uint64_t writes = 0, reads = 0, kills = 0, unclear = 0;

 private:
  pid_t start(uint32_t worker);
  void work(List& l, uint32_t worker, uint64_t incarnation);
  void write_once(List& l, ListActor& a, ListEvent* e, std::mt19937_64& random);
  void read_once(const List& l, ListEvent* e, std::mt19937_64& random);
  void kill_some(std::vector<pid_t>* pids, unsigned seed);
  bool collect(uint64_t to);
  void check_times();
  void replay();
  void check_page(const ListEvent& e, const std::vector<uint64_t>& now);

  const bool with_kills_;
  ListSegment segment_;
  ListShared* shared_;
  uint64_t incarnations_ = 0;
  uint64_t first_ = 0;  // revision before the round
  std::vector<uint64_t> before_, after_;
  std::map<uint64_t, const ListEvent*> changes_;
};

void ListSoak::write_once(List& l, ListActor& a, ListEvent* e, std::mt19937_64& random) {
  uint64_t words[32];
  ListChange c;
  c.bytes = make_value(e->id, words);
  c.value = words;
  ListWritten w;
  e->begin = ticks();
  Outcome outcome = Outcome::kMismatch;
  while (outcome == Outcome::kMismatch) {
    ListInfo now;
    if (l.info(&now) != Outcome::kOk) break;
    const auto n = static_cast<int64_t>(now.length);
    const bool grow = random() % 16 < (n < 90 ? 11u : 5u);
    c.op = random() % 4 == 0 && n > 0 ? ListOp::kSet : grow ? ListOp::kInsert : ListOp::kRemove;
    c.index = random() % 3 == 0 ? -1 : n == 0 ? 0 : static_cast<int64_t>(random()) % n;
    if (c.op == ListOp::kInsert && random() % 2 == 0) c.index = kListEnd;
    if (with_kills_) {
      c.if_revision = now.revision;
      e->revision = now.revision + 1;
    }
    e->op = c.op;
    e->index = c.index;
    outcome = l.change(a, c, &w);
  }
  const uint64_t end = ticks();
  e->revision = outcome == Outcome::kOk ? w.revision : 0;
  e->length = w.length;
  e->end = end;
  if (outcome != Outcome::kOk && outcome != Outcome::kEmpty && outcome != Outcome::kOutOfRange) {
    shared_->damaged.fetch_add(1);
  }
}

void ListSoak::read_once(const List& l, ListEvent* e, std::mt19937_64& random) {
  alignas(8) std::byte room[kPageMax * 200];
  ListEntry entries[kPageMax];
  ListPage page;
  e->index = static_cast<int64_t>(random() % 100);
  e->begin = ticks();
  const Outcome outcome = l.page(e->index, entries, 1 + random() % kPageMax, room, sizeof room,
                                 kListAnyRevision, &page);
  const uint64_t end = ticks();
  if (outcome != Outcome::kOk) {
    shared_->damaged.fetch_add(1);
    return;
  }
  e->revision = page.revision;
  e->length = page.length;
  e->n = static_cast<uint32_t>(page.n);
  for (size_t i = 0; i < page.n; ++i) {
    e->ids[i] = id_of(entries[i].room, entries[i].bytes);
    if (e->ids[i] == 0) shared_->torn.fetch_add(1);
  }
  ListEntry one;
  one.room = room;
  one.room_bytes = sizeof room;
  const Outcome got = l.get(-1, &one);
  if (got == Outcome::kOk && id_of(room, one.bytes) == 0) shared_->torn.fetch_add(1);
  if (got != Outcome::kOk && got != Outcome::kOutOfRange) shared_->damaged.fetch_add(1);
  e->end = end;
}

void ListSoak::work(List& l, uint32_t worker, uint64_t incarnation) {
  std::mt19937_64 random(incarnation);
  ListLog& log = shared_->logs[worker];
  ListActor a;
  a.owner = static_cast<uint16_t>(10 + worker);
  if (worker < kWriters && l.enter(a) != Outcome::kOk) _exit(1);
  for (uint64_t i = 1; log.n.load() < kOpsMax; ++i) {
    ListEvent& e = log.events[log.n.load()];
    e = {};
    e.write = worker < kWriters;
    e.id = incarnation << 32 | i;
    log.n.fetch_add(1);  // before it begins: a killed one is there, without an end
    if (e.write) {
      write_once(l, a, &e, random);
    } else {
      read_once(l, &e, random);
    }
  }
  l.leave(a);
}

pid_t ListSoak::start(uint32_t worker) {
  const uint64_t incarnation = ++incarnations_;
  const pid_t parent = getpid(), pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  List l = segment_.list();
  if (worker == kWorkers - 1) {
    void* base = mmap(nullptr, segment_.bytes(), PROT_READ, MAP_SHARED, segment_.fd(), 0);
    if (base == MAP_FAILED || List::attach(base, segment_.bytes(), -1, &l) != Outcome::kOk) {
      _exit(1);
    }
  }
  work(l, worker, incarnation);
  _exit(0);
}

void ListSoak::kill_some(std::vector<pid_t>* pids, unsigned seed) {
  std::mt19937 random(seed);
  ListActor reaper = segment_.actor(2);
  uint32_t running = kWorkers;
  while (running > 0) {
    usleep(with_kills_ ? 500 + random() % 3000 : 2000);
    for (uint32_t w = 0; w < kWorkers; ++w) {
      pid_t& pid = (*pids)[w];
      if (pid <= 0) continue;
      int status = 0;
      const bool strike = with_kills_ && random() % 4 == 0;
      if (strike) ::kill(pid, SIGKILL);
      if (waitpid(pid, &status, strike ? 0 : WNOHANG) != pid) continue;
      if (WIFSIGNALED(status)) {
        ++kills;
        segment_.list().reap(reaper, static_cast<uint16_t>(10 + w));
        pid = start(w);
      } else {
        EXPECT_EQ(WEXITSTATUS(status), 0);
        pid = 0;
        --running;
      }
    }
  }
  segment_.list().leave(reaper);
}

std::vector<uint64_t> ids_in(List& l, std::string* wrong) {
  ListAudit audit(l);
  *wrong = audit.run();
  std::vector<uint64_t> ids;
  for (const std::string& v : audit.values()) ids.push_back(id_of(v.data(), v.size()));
  return ids;
}

void ListSoak::round(unsigned seed) {
  for (ListLog& log : shared_->logs) log.n.store(0);
  List& l = segment_.list();
  std::string wrong;
  first_ = l.revision();
  before_ = ids_in(l, &wrong);
  std::vector<pid_t> pids;
  for (uint32_t w = 0; w < kWorkers; ++w) pids.push_back(start(w));
  kill_some(&pids, seed);
  ASSERT_EQ(shared_->torn.load(), 0u);
  ASSERT_EQ(shared_->damaged.load(), 0u);
  after_ = ids_in(l, &wrong);
  ASSERT_EQ(wrong, "");
  if (!collect(l.revision())) return;
  check_times();
  if (!::testing::Test::HasFatalFailure()) replay();
}

/// Which change has which revision. False: two that were killed might have the same.
bool ListSoak::collect(uint64_t to) {
  changes_.clear();
  std::map<uint64_t, std::vector<const ListEvent*>> killed;
  for (const ListLog& log : shared_->logs) {
    for (uint32_t i = 0; i < log.n.load(); ++i) {
      const ListEvent& e = log.events[i];
      ++(e.write ? writes : reads);
      if (!e.write || e.revision == 0) continue;
      if (e.end == 0) {
        if (with_kills_) killed[e.revision].push_back(&e);
        continue;
      }
      EXPECT_TRUE(changes_.emplace(e.revision, &e).second) << "two changes have one revision";
    }
  }
  for (uint64_t r = first_ + 1; r <= to; ++r) {
    if (changes_.count(r) != 0) continue;
    if (killed[r].size() > 1) {
      ++unclear;
      return false;
    }
    EXPECT_EQ(killed[r].size(), 1u) << "revision " << r << " is nobody's";
    if (killed[r].empty()) return false;
    changes_[r] = killed[r][0];
  }
  EXPECT_EQ(changes_.empty() ? first_ : changes_.rbegin()->first, to);
  return true;
}

void ListSoak::check_times() {
  std::vector<const ListEvent*> begins, ends;
  for (const ListLog& log : shared_->logs) {
    for (uint32_t i = 0; i < log.n.load(); ++i) {
      const ListEvent& e = log.events[i];
      if (e.end != 0 && e.revision != 0) begins.push_back(&e), ends.push_back(&e);
    }
  }
  std::sort(begins.begin(), begins.end(), [](auto* a, auto* b) { return a->begin < b->begin; });
  std::sort(ends.begin(), ends.end(), [](auto* a, auto* b) { return a->end < b->end; });
  uint64_t done = 0;
  size_t next = 0;
  for (const ListEvent* e : begins) {
    for (; next < ends.size() && ends[next]->end < e->begin; ++next) {
      done = std::max(done, ends[next]->revision);
    }
    ASSERT_GE(e->revision, done + (e->write ? 1 : 0)) << "something that was done was not seen";
    const auto made = changes_.find(e->revision);
    if (!e->write && made != changes_.end()) {
      ASSERT_LT(made->second->begin, e->end) << "a read from the future";
    }
  }
}

void ListSoak::check_page(const ListEvent& e, const std::vector<uint64_t>& now) {
  ASSERT_EQ(e.length, now.size());
  for (uint32_t i = 0; i < e.n; ++i) {
    const size_t at = static_cast<size_t>(e.index) + i;
    ASSERT_LT(at, now.size());
    ASSERT_EQ(e.ids[i], now[at]) << "revision " << e.revision << " at " << at;
  }
}

void ListSoak::replay() {
  std::multimap<uint64_t, const ListEvent*> pages;
  for (const ListLog& log : shared_->logs) {
    for (uint32_t i = 0; i < log.n.load(); ++i) {
      const ListEvent& e = log.events[i];
      if (!e.write && e.end != 0) pages.emplace(e.revision, &e);
    }
  }
  std::vector<uint64_t> now = before_;
  uint64_t revision = first_;
  for (;;) {
    for (auto [at, end] = pages.equal_range(revision); at != end; ++at) {
      check_page(*at->second, now);
      if (::testing::Test::HasFatalFailure()) return;
    }
    const auto made = changes_.find(++revision);
    if (made == changes_.end()) break;
    const ListEvent& e = *made->second;
    const auto n = static_cast<int64_t>(now.size());
    const int64_t i = e.index < 0 ? e.index + n : std::min(e.index, n);
    if (e.op == ListOp::kInsert) {
      now.insert(now.begin() + std::clamp<int64_t>(i, 0, n), e.id);
    } else {
      ASSERT_TRUE(i >= 0 && i < n) << "a change of what is not there";
      if (e.op == ListOp::kSet) {
        now[static_cast<size_t>(i)] = e.id;
      } else {
        now.erase(now.begin() + i);
      }
    }
    if (e.end != 0) {
      ASSERT_EQ(e.length, now.size());
    }
  }
  ASSERT_EQ(now, after_);
}

void soak(bool with_kills, double seconds) {
  if (std::getenv("HEDDLE_LONG") != nullptr) seconds = 60;
  test::Watchdog dog("list soak", static_cast<unsigned>(seconds * 20 + 60));
  ListSoak soak(with_kills);
  const int64_t start = monotonic_ns();
  unsigned rounds = 0;
  do {
    soak.round(++rounds);
    if (::testing::Test::HasFailure()) return;
  } while (static_cast<double>(monotonic_ns() - start) < seconds * 1e9);
  std::printf("shown: list, soak%s; %u rounds, %llu writes, %llu reads, %llu kills, %llu unclear\n",
              with_kills ? " with kills" : "", rounds, static_cast<unsigned long long>(soak.writes),
              static_cast<unsigned long long>(soak.reads),
              static_cast<unsigned long long>(soak.kills),
              static_cast<unsigned long long>(soak.unclear));
  EXPECT_LT(soak.unclear, rounds) << "no round could be followed";
}

TEST(ListSoak, EveryPageIsWhatStoodThere) { soak(false, 2); }
TEST(ListSoak, AlsoWhenSomeAreKilled) { soak(true, 3); }

}  // namespace
}  // namespace heddle::shm
