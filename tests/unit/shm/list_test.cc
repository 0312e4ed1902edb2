// Lists: what each operation says and leaves, against a model; sizes, memory that is used up,
// read-only mappings, several threads, damaged segments.
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

#include "proto/shm/futex.h"
#include "tests/support/watchdog.h"
#include "tests/unit/shm/list_audit.h"
#include "tests/unit/shm/list_fixture.h"

namespace heddle::shm {
namespace {

bool runs_long() { return std::getenv("HEDDLE_LONG") != nullptr; }

const std::string kNowhere = "<" + std::to_string(static_cast<int>(Outcome::kOutOfRange)) + ">";

TEST(List, WhatEachOperationSays) {
  ListSegment s(small_list());
  List& l = s.list();
  ListActor a = s.actor(1);
  EXPECT_EQ(l.len(), 0u);
  EXPECT_EQ(l.revision(), 0u);
  EXPECT_EQ(value_at(l, 0), kNowhere);
  EXPECT_EQ(pop(l, a), Outcome::kEmpty);
  ListWritten w;
  ASSERT_EQ(append(l, a, "one", &w), Outcome::kOk);
  EXPECT_EQ(w.revision, 1u);
  EXPECT_EQ(w.length, 1u);
  EXPECT_EQ(w.index, 0u);
  ASSERT_EQ(append(l, a, "three"), Outcome::kOk);
  ASSERT_EQ(change(l, a, ListOp::kInsert, 1, "two", &w), Outcome::kOk);
  EXPECT_EQ(w.index, 1u);
  ASSERT_EQ(change(l, a, ListOp::kInsert, -100, "zero", &w), Outcome::kOk);
  EXPECT_EQ(w.index, 0u);
  ASSERT_EQ(change(l, a, ListOp::kInsert, 100, "four", &w), Outcome::kOk);
  EXPECT_EQ(w.index, 4u);
  EXPECT_EQ(values_of(l), (std::vector<std::string>{"zero", "one", "two", "three", "four"}));
  EXPECT_EQ(value_at(l, -1), "four");
  EXPECT_EQ(value_at(l, -5), "zero");
  EXPECT_EQ(value_at(l, -6), kNowhere);
  EXPECT_EQ(value_at(l, 5), kNowhere);
  std::string before;
  ASSERT_EQ(change(l, a, ListOp::kSet, -2, "THREE", &w, &before), Outcome::kOk);
  EXPECT_EQ(before, "three");
  EXPECT_EQ(w.index, 3u);
  EXPECT_EQ(change(l, a, ListOp::kSet, 5, "x"), Outcome::kOutOfRange);
  ListEntry e;
  EXPECT_EQ(value_at(l, 3, &e), "THREE");
  EXPECT_EQ(e.revision, 6u);
  EXPECT_EQ(e.kind, 5);
  ASSERT_EQ(pop(l, a, 0, &before), Outcome::kOk);
  EXPECT_EQ(before, "zero");
  ASSERT_EQ(pop(l, a, -1, &before), Outcome::kOk);
  EXPECT_EQ(before, "four");
  EXPECT_EQ(pop(l, a, 3), Outcome::kOutOfRange);
  EXPECT_EQ(l.revision(), 8u);
  ListInfo info;
  ASSERT_EQ(l.info(&info), Outcome::kOk);
  EXPECT_EQ(info.bytes, 11u);
  ASSERT_EQ(change(l, a, ListOp::kClear, 0), Outcome::kOk);
  EXPECT_EQ(l.len(), 0u);
  EXPECT_EQ(l.revision(), 9u);
  EXPECT_EQ(ListAudit(l).run(), "");
  l.leave(a);
  EXPECT_EQ(ListAudit(l).run(), "");
}

TEST(List, ConditionsAndLimits) {
  ListLimits limits = small_list();
  limits.max_len = 3;
  limits.max_bytes = 10;
  limits.max_value_bytes = 9;
  ListSegment s(limits);
  List& l = s.list();
  ListActor a = s.actor(1);
  EXPECT_EQ(append(l, a, std::string(10, 'x')), Outcome::kTooLarge);
  ASSERT_EQ(append(l, a, "12345"), Outcome::kOk);
  EXPECT_EQ(append(l, a, "123456"), Outcome::kFull);
  EXPECT_EQ(change(l, a, ListOp::kSet, 0, std::string(9, 'y')), Outcome::kOk);
  EXPECT_EQ(append(l, a, "1"), Outcome::kOk);
  EXPECT_EQ(change(l, a, ListOp::kSet, 1, "22"), Outcome::kFull);
  EXPECT_EQ(append(l, a, ""), Outcome::kOk);
  EXPECT_EQ(append(l, a, ""), Outcome::kFull) << "max_len";
  ListChange c;
  c.op = ListOp::kRemove;
  c.index = 0;
  c.if_revision = 3;
  ListWritten w;
  EXPECT_EQ(l.change(a, c, &w), Outcome::kMismatch);
  EXPECT_EQ(w.revision, 4u);
  std::byte little[4];
  ListEntry previous;
  previous.room = little;
  previous.room_bytes = sizeof little;
  c.previous = &previous;
  c.if_revision = 4;
  EXPECT_EQ(l.change(a, c, &w), Outcome::kTooLarge) << "what goes has no room";
  EXPECT_EQ(previous.bytes, 9u);
  EXPECT_EQ(l.len(), 3u);
  c.previous = nullptr;
  EXPECT_EQ(l.change(a, c, &w), Outcome::kOk);
  EXPECT_EQ(w.length, 2u);
  EXPECT_EQ(ListAudit(l).run(), "");
}

/// Random operations on a list and on a vector; all that the list says is compared.
class ListModel {
 public:
  ListModel(List& list, ListActor& a, unsigned seed) : list_(list), actor_(a), random_(seed) {}

  void step(size_t length_wanted) {
    const std::string value(random_() % 100 == 0 ? random_() % 5000 : random_() % 60,
                            static_cast<char>('a' + random_() % 26));
    const size_t n = now_.size();
    const auto at = n == 0 ? 0 : static_cast<size_t>(random_() % n);
    const auto index = random_() % 2 == 0 ? static_cast<int64_t>(at)
                                          : static_cast<int64_t>(at) - static_cast<int64_t>(n);
    const bool grow = random_() % 16 < (n < length_wanted ? 11u : 5u);
    std::string before;
    switch (random_() % 6) {
      case 0:
        if (n == 0) return;
        ASSERT_EQ(value_at(list_, index), now_[at]);
        return;
      case 1:
        if (n == 0) return;
        ASSERT_EQ(change(list_, actor_, ListOp::kSet, index, value, nullptr, &before),
                  Outcome::kOk);
        ASSERT_EQ(before, now_[at]);
        now_[at] = value;
        break;
      case 2:
      case 3:
        if (!grow && n == 0) return;
        ASSERT_EQ(grow ? append(list_, actor_, value) : pop(list_, actor_, -1, &before),
                  Outcome::kOk);
        if (grow) {
          now_.push_back(value);
        } else {
          ASSERT_EQ(before, now_.back());
          now_.pop_back();
        }
        break;
      default:
        if (!grow && n == 0) return;
        if (grow) {
          ASSERT_EQ(change(list_, actor_, ListOp::kInsert, index, value), Outcome::kOk);
          now_.insert(now_.begin() + static_cast<ptrdiff_t>(at), value);
        } else {
          ASSERT_EQ(pop(list_, actor_, index, &before), Outcome::kOk);
          ASSERT_EQ(before, now_[at]);
          now_.erase(now_.begin() + static_cast<ptrdiff_t>(at));
        }
    }
    ASSERT_EQ(list_.revision(), ++revision_);
  }

  void check() {
    ListAudit audit(list_);
    ASSERT_EQ(audit.run(), "");
    ASSERT_EQ(audit.values(), now_);
    ASSERT_EQ(values_of(list_), now_);
  }

 private:
  List& list_;
  ListActor& actor_;
  std::mt19937 random_;
  std::vector<std::string> now_;
  uint64_t revision_ = 0;
};

TEST(List, RandomOperationsAgainstAVector) {
  const size_t wanted[] = {3, 27, 60, 300, 1500, 0};
  for (unsigned seed = 1; seed <= (runs_long() ? 60u : 4u); ++seed) {
    ListSegment s(small_list());
    ListActor a = s.actor(1);
    ListModel model(s.list(), a, seed);
    for (const size_t length : wanted) {
      for (int i = 0; i < (length < 100 ? 1000 : 6000); ++i) {
        model.step(length);
        if (::testing::Test::HasFatalFailure()) FAIL() << "seed " << seed;
      }
      model.check();
      if (::testing::Test::HasFatalFailure()) FAIL() << "seed " << seed;
    }
  }
}

TEST(List, ManyElementsComeAndGo) {
  ListLimits limits = small_list();
  limits.max_len = 1'000'000;
  limits.max_bytes = 64 << 20;
  ListSegment s(limits);
  List& l = s.list();
  ListActor a = s.actor(1);
  const int n = runs_long() ? 1'000'000 : 30'000;
  uint64_t extents = 0;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < n; ++i) ASSERT_EQ(append(l, a, std::to_string(i)), Outcome::kOk);
    ASSERT_EQ(value_at(l, n / 3), std::to_string(n / 3));
    ASSERT_EQ(ListAudit(l).run(), "");
    if (round == 1) extents = l.memory().usage().extents;
    if (round == 2) {
      EXPECT_LE(l.memory().usage().extents, extents + 2) << "memory is used again";
    }
    std::string before;
    for (int i = 0; round == 0 && i < n; ++i) {  // as a queue
      ASSERT_EQ(pop(l, a, 0, &before), Outcome::kOk);
      ASSERT_EQ(before, std::to_string(i));
    }
    for (int i = n; round == 1 && i-- > 0;) ASSERT_EQ(pop(l, a, -1), Outcome::kOk);
    if (round == 2) {
      ASSERT_EQ(change(l, a, ListOp::kClear, 0), Outcome::kOk);
    }
    ASSERT_EQ(l.len(), 0u);
    ASSERT_EQ(ListAudit(l).run(), "");
  }
}

TEST(List, ValuesOfEverySize) {
  ListLimits limits = small_list();
  limits.max_bytes = 64 << 20;
  limits.max_value_bytes = kDictValueBytesMax;
  ListSegment s(limits);
  List& l = s.list();
  ListActor a = s.actor(1);
  std::vector<std::string> now;
  std::mt19937 random(1);
  for (const size_t n : {0u, 1u, 16u, 17u, 208u, 1000u, 4000u, 32'720u, 32'721u, 65'536u, 65'537u,
                         1'000'000u, 16u << 20}) {
    std::string value(n, '\0');
    for (char& c : value) c = static_cast<char>(random());
    ASSERT_EQ(append(l, a, value), Outcome::kOk) << n;
    now.push_back(value);
  }
  EXPECT_EQ(append(l, a, std::string((16 << 20) + 1, 'x')), Outcome::kTooLarge);
  EXPECT_EQ(values_of(l), now);
  EXPECT_EQ(ListAudit(l).run(), "");
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(change(l, a, ListOp::kSet, -1, std::string(16 << 20, static_cast<char>('a' + i))),
              Outcome::kOk);
  }
  ASSERT_EQ(change(l, a, ListOp::kClear, 0), Outcome::kOk);
  EXPECT_EQ(ListAudit(l).run(), "");
}

TEST(List, MemoryThatIsUsedUpIsThereAgain) {
  ListLimits limits = small_list();
  limits.max_len = 100'000;
  for (const bool large : {false, true}) {
    ListSegment s(limits);
    List& l = s.list();
    l.memory().header().extents_granted = 24;
    ListActor a = s.actor(1);
    size_t first = 0;
    for (int round = 0; round < 4; ++round) {
      std::mt19937 random(7);
      Outcome outcome = Outcome::kOk;
      size_t n = 0;
      for (; outcome == Outcome::kOk; ++n) {
        outcome = append(l, a, std::string(large ? random() % 90'000 : 40, 'v'));
      }
      EXPECT_EQ(outcome, Outcome::kMemoryExhausted);
      if (round == 0) first = n;
      EXPECT_GT(n, large ? 10u : 5'000u);
      EXPECT_GE(n, first * 9 / 10);
      ASSERT_EQ(ListAudit(l).run(), "");
      while (l.len() > 0) {
        const auto at = static_cast<int64_t>(random() % l.len());
        ASSERT_EQ(pop(l, a, round % 2 == 0 ? at : -1), Outcome::kOk)
            << "there is always memory to pop, length " << l.len();
      }
      ASSERT_EQ(ListAudit(l).run(), "");
    }
  }
}

TEST(List, AReaderStoresNothingAndPagesAreOfOneRevision) {
  ListSegment s(small_list());
  ListActor a = s.actor(1);
  for (int i = 0; i < 500; ++i) ASSERT_EQ(append(s.list(), a, std::to_string(i)), Outcome::kOk);
  void* base = mmap(nullptr, s.bytes(), PROT_READ, MAP_SHARED, s.fd(), 0);
  ASSERT_NE(base, MAP_FAILED);
  List reader;
  ASSERT_EQ(List::attach(base, s.bytes(), -1, &reader), Outcome::kOk);
  for (int i = 0; i < 500; ++i) ASSERT_EQ(value_at(reader, i), std::to_string(i));
  EXPECT_EQ(reader.len(), 500u);
  ListEntry entries[50];
  ListPage page;
  alignas(8) std::byte room[200];
  ASSERT_EQ(reader.page(470, entries, 50, room, sizeof room, 500, &page), Outcome::kOk);
  EXPECT_EQ(page.n, 25u) << "the room is used up";
  EXPECT_EQ(page.revision, 500u);
  EXPECT_EQ(page.length, 500u);
  ASSERT_EQ(reader.page(-20, entries, 50, room, sizeof room, 500, &page), Outcome::kOk);
  EXPECT_EQ(page.n, 20u);
  EXPECT_EQ(std::memcmp(entries[0].room, "480", 3), 0);
  ASSERT_EQ(reader.page(500, entries, 50, room, sizeof room, 500, &page), Outcome::kOk);
  EXPECT_EQ(page.n, 0u);
  EXPECT_EQ(reader.page(0, entries, 50, room, sizeof room, 499, &page), Outcome::kMismatch);
  EXPECT_EQ(reader.page(0, entries, 50, room, 0, 500, &page), Outcome::kTooLarge);
  EXPECT_EQ(page.needed, 8u);
  const pid_t pid = fork();
  if (pid == 0) {
    signal(SIGSEGV, SIG_DFL);  // a sanitizer has its own
    static_cast<ListHeader*>(base)->root.store(9);
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
  munmap(base, s.bytes());
}

TEST(List, AttachRefusesOthers) {
  ListSegment s(small_list());
  List l;
  EXPECT_EQ(List::attach(s.base(), s.bytes() - 4096, -1, &l), Outcome::kCorrupt);
  auto& h = *reinterpret_cast<ListHeader*>(s.base());
  h.memory.segment.version = 99;
  EXPECT_EQ(List::attach(s.base(), s.bytes(), -1, &l), Outcome::kCorrupt);
  h.memory.segment.version = kListVersion;
  h.memory.geometry.extents += 1;
  EXPECT_EQ(List::attach(s.base(), s.bytes(), -1, &l), Outcome::kCorrupt);
}

TEST(List, AWatcherSleepsUntilTheChange) {
  ListSegment s(small_list());
  List& l = s.list();
  ListActor a = s.actor(1);
  EXPECT_EQ(l.wait_change(a, 1, monotonic_ns() + 20'000'000), Outcome::kTimedOut);
  std::thread other([&] {
    ListActor b = s.actor(2);
    for (int i = 0; i < 50; ++i) {
      usleep(1000);
      ASSERT_EQ(append(l, b, std::to_string(i)), Outcome::kOk);
    }
    l.leave(b);
  });
  for (uint64_t r = 1; r <= 50; ++r) ASSERT_EQ(l.wait_change(a, r, kForever), Outcome::kOk);
  other.join();
  EXPECT_EQ(l.len(), 50u);
}

/// Two change it, two read it: whole values, none of them twice in one page.
TEST(List, ThreadsAtOnce) {
  ListSegment s(small_list());
  List& l = s.list();
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> torn{0}, failed{0}, pages{0};
  const auto write = [&](uint16_t owner) {
    ListActor a = s.actor(owner);
    std::mt19937 random(owner);
    const int n = runs_long() ? 400'000 : 8'000;
    for (int i = 0; i < n; ++i) {
      const std::string name = std::to_string(owner) + ":" + std::to_string(i);
      const auto at = static_cast<int64_t>(random() % 60);
      const bool grow = l.len() < 40 || (l.len() < 200 && random() % 2);
      const Outcome outcome =
          grow ? change(l, a, ListOp::kInsert, random() % 2 ? at : kListEnd, name + "|" + name)
               : pop(l, a, random() % 2 ? at : -1);
      failed +=
          outcome != Outcome::kOk && outcome != Outcome::kOutOfRange && outcome != Outcome::kEmpty;
    }
    l.leave(a);
  };
  const auto read = [&] {
    std::vector<std::byte> room(16'384);
    while (!stop.load()) {
      ListEntry entries[64];
      ListPage page;
      failed +=
          l.page(0, entries, 64, room.data(), room.size(), kListAnyRevision, &page) != Outcome::kOk;
      std::vector<std::string> seen;
      for (size_t i = 0; i < page.n; ++i) {
        const std::string v(reinterpret_cast<char*>(entries[i].room), entries[i].bytes);
        const size_t middle = v.find('|');
        torn += middle == std::string::npos || v.substr(0, middle) != v.substr(middle + 1);
        seen.push_back(v);
      }
      std::sort(seen.begin(), seen.end());
      torn += std::adjacent_find(seen.begin(), seen.end()) != seen.end();
      ++pages;
    }
  };
  std::thread w1(write, 1), w2(write, 2), r1(read), r2(read);
  w1.join(), w2.join();
  stop = true;
  r1.join(), r2.join();
  EXPECT_EQ(torn.load(), 0u);
  EXPECT_EQ(failed.load(), 0u);
  EXPECT_EQ(ListAudit(l).run(), "");
}

/// Whatever stands in the segment, every function ends and stays inside it.
TEST(List, ADamagedSegmentHarmsNobody) {
  test::Watchdog dog("damaged list", runs_long() ? 1200 : 60);
  const int rounds = runs_long() ? 3000 : 60;
  for (int round = 0; round < rounds; ++round) {
    ListSegment s(small_list());
    List& l = s.list();
    ListActor a = s.actor(1), b = s.actor(2);
    std::mt19937_64 random(static_cast<unsigned>(round));
    for (int i = 0; i < 900; ++i) append(l, a, std::string(random() % 100, 'v'));
    append(l, a, std::string(100'000, 'l'));
    const DictGeometry& g = l.memory().geometry();
    const uint64_t places[][2] = {{offsetof(ListHeader, root), 8},
                                  {kDictPage, 2 * sizeof(ListJournal)},
                                  {g.rows_at, 2 * sizeof(DictRow)},
                                  {g.groups_at, 256},
                                  {g.controls_at, 20 * sizeof(DictExtent)},
                                  {g.area_at + kDictExtentBytes, 6 * kDictExtentBytes}};
    for (int i = 0; i < 300; ++i) {
      const auto& place = places[random() % 6];
      auto* at = s.base() + place[0] + random() % place[1] / 8 * 8;
      uint64_t word;
      std::memcpy(&word, at, 8);
      if (round % 2)
        word = random();
      else
        word ^= uint64_t{1} << random() % 64;
      if (place[1] > 8 || i % 50 == 0) std::memcpy(at, &word, 8);
      if (i % 30 != 0) continue;
      value_at(l, static_cast<int64_t>(random() % 900));
      append(l, a, "new");
      change(l, b, ListOp::kInsert, static_cast<int64_t>(random() % 900), "new");
      pop(l, b, static_cast<int64_t>(random() % 900));
      pop(l, a, -1);
    }
    ListEntry entries[20];
    ListPage page;
    static std::byte room[1 << 16];
    for (int i = 0; i < 50; ++i) {
      l.page(i * 20, entries, 20, room, sizeof room, kListAnyRevision, &page);
    }
    l.len();
    if (round % 3 == 0) change(l, b, ListOp::kClear, 0);
    l.reap(b, 1);
  }
}

}  // namespace
}  // namespace heddle::shm
