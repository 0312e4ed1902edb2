// The checker is checked: histories made by hand, right ones, and for each rule a wrong one.
#include "tests/crash/history/history.h"

#include <gtest/gtest.h>

namespace heddle::history {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

/// Calls at times of 1, 2, 3, ... in the order they are made, with their returns.
class Hand {
 public:
  using Id = size_t;
  Id call(uint32_t process, Op op, Mode mode = Mode::kExclusive, uint32_t n = 1) {
    all_.records.push_back({.call_ns = ++now_, .process = process, .n = n, .op = op, .mode = mode});
    return all_.records.size() - 1;
  }
  void end(Id id, End end, uint64_t token = 0, bool abandoned = false) {
    Record& record = all_.records[id];
    record.return_ns = ++now_;
    record.end = end;
    record.token = token;
    record.abandoned = abandoned;
  }
  void acquire(uint32_t process, uint64_t token, bool abandoned = false,
               Mode mode = Mode::kExclusive, uint32_t n = 1) {
    end(call(process, Op::kAcquire, mode, n), End::kOk, token, abandoned);
  }
  void release(uint32_t process, Mode mode = Mode::kExclusive, uint32_t n = 1) {
    end(call(process, Op::kRelease, mode, n), End::kOk);
  }
  void kill(uint32_t process) {
    const int64_t from = ++now_;
    all_.deaths.push_back({process, from, ++now_});
  }
  void stop(uint32_t process, int64_t ns) {
    const int64_t from = ++now_;
    now_ += ns;
    all_.stops.push_back({process, from, now_});
  }
  void lose(uint32_t process, int64_t ns = 1) {
    const int64_t from = ++now_;
    now_ += ns;
    all_.losses.push_back({process, from, now_});
  }
  void write(uint32_t process, uint64_t token, End how = End::kOk, bool stays = true) {
    end(call(process, Op::kWrite), how, token);
    if (how == End::kOk && stays) all_.written.push_back({token, 0});
  }
  void lost(uint32_t process, Mode mode = Mode::kExclusive) {
    end(call(process, Op::kRelease, mode), End::kLost);
  }
  void arrive(uint32_t process, uint32_t index, Id id) {
    end(id, End::kOk);
    all_.records[id].n = index;
    all_.records[id].process = process;
  }
  void pass(int64_t ns) { now_ += ns; }
  std::string checked(Kind kind, uint32_t count = 1) {
    all_.end_ns = ++now_;
    return check({.kind = kind, .count = count}, all_);
  }

 private:
  History all_;
  int64_t now_ = 0;
};

#define EXPECT_WRONG(hand, what, ...)                                           \
  do {                                                                          \
    const std::string said = hand.checked(__VA_ARGS__);                         \
    EXPECT_NE(said.find(what), std::string::npos) << "said: \"" << said << '"'; \
  } while (false)

TEST(History, ARightMutexIsRight) {
  Hand h;
  h.acquire(1, 1);
  const auto waits = h.call(2, Op::kAcquire);
  const auto tries = h.call(3, Op::kTry);
  h.end(tries, End::kNo);
  h.kill(1);
  h.end(waits, End::kOk, 2, true);
  h.release(2);
  const auto killed = h.call(4, Op::kAcquire);  // had token 3
  h.kill(4);
  (void)killed;
  h.acquire(2, 4, true);
  h.release(2);
  EXPECT_EQ(h.checked(Kind::kMutex), "");
}

TEST(History, TwoInside) {
  Hand h;
  h.acquire(1, 1);
  h.acquire(2, 2);
  h.release(1);
  EXPECT_WRONG(h, "held by two", Kind::kMutex);
}

TEST(History, TwoInsideWhoNeverLeave) {
  Hand h;
  h.acquire(1, 1);
  h.acquire(2, 2);
  EXPECT_WRONG(h, "held by two", Kind::kReentrant);
}

TEST(History, ADeathBeforeItsTime) {
  Hand h;
  h.acquire(1, 1);
  h.acquire(2, 2, true);
  h.kill(1);
  EXPECT_WRONG(h, "held by two", Kind::kMutex);
}

TEST(History, AMutexIsNotReentrant) {
  Hand h;
  h.acquire(1, 1);
  h.acquire(1, 2);
  EXPECT_WRONG(h, "its owner is granted it again", Kind::kMutex);
}

TEST(History, ReentrantIsFreeAfterTheLastRelease) {
  Hand right, wrong;
  for (Hand* h : {&right, &wrong}) {
    h->acquire(1, 1);
    h->acquire(1, 1);
    h->release(1);
  }
  right.release(1);
  right.acquire(2, 2);
  EXPECT_EQ(right.checked(Kind::kReentrant), "");
  wrong.acquire(2, 2);
  EXPECT_WRONG(wrong, "held by two", Kind::kReentrant);
}

TEST(History, ASecondEntryIsNoGrantOfItsOwn) {
  Hand token, death;
  token.acquire(1, 1);
  token.acquire(1, 2);
  EXPECT_WRONG(token, "another token", Kind::kReentrant);
  death.acquire(1, 1);
  death.acquire(1, 1, true);
  EXPECT_WRONG(death, "told of a death", Kind::kReentrant);
}

TEST(History, AnEntryAfterALossIsOfTheNextSession) {
  Hand right, wrong;
  for (Hand* h : {&right, &wrong}) {
    h->acquire(1, 1);
    if (h == &right) h->lose(1);
    h->acquire(1, 2, h == &right);
    h->release(1);
    h->lost(1);
  }
  EXPECT_EQ(right.checked(Kind::kReentrant), "");
  EXPECT_WRONG(wrong, "another token", Kind::kReentrant);
}

TEST(History, ReleasesAreThoseOfTheOwner) {
  Hand stranger, refused;
  stranger.acquire(1, 1);
  stranger.release(2);
  EXPECT_WRONG(stranger, "what it does not hold", Kind::kReentrant);
  refused.acquire(1, 1);
  refused.end(refused.call(1, Op::kRelease), End::kLost);
  EXPECT_WRONG(refused, "not its own", Kind::kMutex);
}

TEST(History, TokensRise) {
  Hand twice, back, overtaken;
  for (Hand* h : {&twice, &back}) {
    h->acquire(1, 5);
    h->release(1);
  }
  twice.acquire(2, 5);
  EXPECT_WRONG(twice, "one token for two", Kind::kMutex);
  back.acquire(2, 4);
  EXPECT_WRONG(back, "a later grant has a lower token", Kind::kMutex);
  // Both asked before either had it; but the one with the lower token was the second to be inside.
  const auto first = overtaken.call(1, Op::kAcquire), second = overtaken.call(2, Op::kAcquire);
  overtaken.end(first, End::kOk, 2);
  overtaken.release(1);
  overtaken.end(second, End::kOk, 1);
  overtaken.release(2);
  EXPECT_WRONG(overtaken, "the next one is in before it leaves", Kind::kMutex);
}

TEST(History, ADeathIsToldOnce) {
  Hand never, twice, nobody, gap;
  for (Hand* h : {&never, &twice}) {
    h->acquire(1, 1);
    h->kill(1);
    h->acquire(2, 2, h == &twice);
    h->release(2);
    h->acquire(3, 3, h == &twice);
    h->release(3);
  }
  EXPECT_WRONG(never, "not told of a death", Kind::kMutex);
  EXPECT_WRONG(twice, "told of a death that nobody died", Kind::kMutex);
  nobody.acquire(1, 1);
  nobody.release(1);
  nobody.acquire(2, 2, true);
  EXPECT_WRONG(nobody, "told of a death that nobody died", Kind::kMutex);
  gap.acquire(1, 1);
  gap.release(1);
  (void)gap.call(4, Op::kAcquire);
  gap.kill(4);
  gap.acquire(2, 3);
  EXPECT_WRONG(gap, "its death is not told", Kind::kMutex);
}

TEST(History, AGrantIsMissing) {
  Hand h;
  h.acquire(1, 1);
  h.release(1);
  h.acquire(2, 3, true);
  EXPECT_WRONG(h, "too many grants are missing", Kind::kMutex);
}

TEST(History, ADeathBetweenCallsIsNone) {
  Hand h;
  h.acquire(1, 1);
  h.release(1);
  h.kill(1);
  h.acquire(2, 2, true);
  EXPECT_WRONG(h, "told of a death that nobody died", Kind::kMutex);
}

TEST(History, ADeathInTheReleaseMayBeTold) {
  for (const bool told : {false, true}) {
    Hand h;
    h.acquire(1, 1);
    (void)h.call(1, Op::kRelease);
    h.kill(1);
    h.acquire(2, 2, told);
    EXPECT_EQ(h.checked(Kind::kMutex), "");
  }
}

TEST(History, WhoeverLostItsSessionMayBelieveThatItHoldsOn) {
  Hand right, sound, silent, told, unheard;
  for (Hand* h : {&right, &sound, &silent}) {
    h->acquire(1, 1);
    if (h != &sound) h->lose(1);
    h->acquire(2, 2, h != &silent);
    h->write(2, 2);
    h->write(1, 1, End::kLost);
    h->lost(1);
    h->release(2);
    h->acquire(3, 3);
    h->release(3);
  }
  EXPECT_EQ(right.checked(Kind::kMutex), "");
  EXPECT_WRONG(sound, "not its own", Kind::kMutex);
  EXPECT_WRONG(silent, "not told of a death", Kind::kMutex);
  told.acquire(1, 1);
  told.lose(1);
  told.release(1);  // in time after all
  told.acquire(2, 2, true);
  EXPECT_WRONG(told, "told of a death that nobody died", Kind::kMutex);
  const auto asks = unheard.call(1, Op::kAcquire);  // token 1 went with its session
  unheard.lose(1);
  unheard.acquire(2, 2, true);
  unheard.release(2);
  unheard.end(asks, End::kOk, 3);
  unheard.release(1);
  EXPECT_EQ(unheard.checked(Kind::kMutex), "");
}

TEST(History, WhoeverLostItsSessionAndWasKilled) {
  for (const bool lost : {false, true}) {
    Hand h;
    h.acquire(1, 1);
    if (lost) h.lose(1);
    h.acquire(2, 2, true);
    h.kill(1);
    h.release(2);
    if (lost) {
      EXPECT_EQ(h.checked(Kind::kMutex), "");
    } else {
      EXPECT_WRONG(h, "held by two", Kind::kMutex);
    }
  }
}

TEST(History, LostPermitsMayBeGivenAgain) {
  Hand right, wrong;
  for (Hand* h : {&right, &wrong}) {
    h->acquire(1, 1, false, Mode::kExclusive, 2);
    if (h == &right) h->lose(1);
    h->acquire(2, 2, false, Mode::kExclusive, 2);
    h->lost(1);
  }
  EXPECT_EQ(right.checked(Kind::kSemaphore, 2), "");
  EXPECT_WRONG(wrong, "not its own", Kind::kSemaphore, 2);
}

TEST(History, WritesAreFenced) {
  Hand late, refused, gone, strange;
  for (Hand* h : {&late, &refused}) {
    h->acquire(1, 1);
    if (h == &late) h->lose(1);
    if (h == &late) h->acquire(2, 2, true), h->write(2, 2);
    h->write(1, 1, h == &late ? End::kOk : End::kLost);
  }
  EXPECT_WRONG(late, "written with token 1 after 2", Kind::kMutex);
  EXPECT_WRONG(refused, "refused to write what it holds", Kind::kMutex);
  gone.acquire(1, 1);
  gone.write(1, 1, End::kOk, false);
  EXPECT_WRONG(gone, "is gone", Kind::kMutex);
  strange.acquire(1, 1);
  strange.write(1, 7);
  EXPECT_WRONG(strange, "no grant's token", Kind::kMutex);
}

TEST(History, ReadersBesideReadersAndUpdate) {
  Hand right, writer, updates;
  for (Hand* h : {&right, &writer, &updates}) {
    h->acquire(9, 7);
    h->release(9);
    h->acquire(1, 7, false, Mode::kShared);
    h->acquire(2, 7, false, Mode::kShared);
    h->acquire(3, 0, false, Mode::kUpdate);
  }
  right.release(1, Mode::kShared);
  right.release(2, Mode::kShared);
  right.release(3, Mode::kUpdate);
  right.acquire(4, 8);
  right.release(4);
  right.acquire(1, 8, false, Mode::kShared);
  EXPECT_EQ(right.checked(Kind::kRw), "");
  writer.acquire(4, 8);
  EXPECT_WRONG(writer, "held by two", Kind::kRw);
  updates.acquire(4, 0, false, Mode::kUpdate);
  EXPECT_WRONG(updates, "held by two", Kind::kRw);
}

TEST(History, AReadersTokenIsOfItsTime) {
  Hand old, early;
  old.acquire(1, 1);
  old.release(1);
  old.acquire(1, 2);
  old.release(1);
  old.acquire(2, 1, false, Mode::kShared);
  EXPECT_WRONG(old, "a reader has an old token", Kind::kRw);
  early.acquire(2, 3, false, Mode::kShared);
  early.release(2, Mode::kShared);
  early.acquire(1, 3);
  EXPECT_WRONG(early, "a token of a later time", Kind::kRw);
}

TEST(History, AWritersDeathIsTold) {
  Hand h;
  h.acquire(1, 1);
  h.kill(1);
  h.acquire(2, 2);
  EXPECT_WRONG(h, "not told of a death", Kind::kRw);
}

TEST(History, PermitsSumUp) {
  Hand right, wrong;
  for (Hand* h : {&right, &wrong}) {
    h->acquire(1, 1, false, Mode::kExclusive, 2);
    h->acquire(2, 2);
  }
  right.release(1, Mode::kExclusive, 2);
  right.acquire(3, 3, false, Mode::kExclusive, 2);
  EXPECT_EQ(right.checked(Kind::kSemaphore, 3), "");
  wrong.acquire(3, 3);
  EXPECT_WRONG(wrong, "more permits than there are", Kind::kSemaphore, 3);
}

TEST(History, NobodyIsRefusedWhatIsFree) {
  Hand free, held;
  held.acquire(1, 1);
  for (Hand* h : {&free, &held}) h->end(h->call(2, Op::kTry), End::kNo);
  EXPECT_EQ(held.checked(Kind::kMutex), "");
  EXPECT_WRONG(free, "is refused", Kind::kMutex);
}

TEST(History, NobodySleepsOnWhatIsFree) {
  for (const Kind kind : {Kind::kMutex, Kind::kReentrant, Kind::kRw, Kind::kSemaphore}) {
    Hand ever, late, held, stopped, dead;
    for (Hand* h : {&ever, &late, &held, &stopped, &dead}) {
      h->acquire(1, 1);
      const auto waits = h->call(2, Op::kAcquire);
      if (h == &held) h->pass(60 * kSecond);
      if (h == &dead) h->kill(1);
      if (h != &dead) h->release(1);
      if (h == &stopped) h->stop(2, 60 * kSecond);
      if (h != &held && h != &stopped) h->pass(60 * kSecond);
      if (h != &ever) h->end(waits, End::kOk, 2, h == &dead);
    }
    EXPECT_EQ(held.checked(kind), "");
    EXPECT_EQ(stopped.checked(kind), "");
    for (Hand* h : {&ever, &late, &dead}) EXPECT_WRONG((*h), "sleeps on what is free", kind);
  }
}

TEST(History, SeveralSleepOnWhatIsFree) {
  Hand h;
  h.acquire(1, 1);
  (void)h.call(2, Op::kAcquire);
  (void)h.call(3, Op::kAcquire);
  h.release(1);
  h.pass(60 * kSecond);
  EXPECT_WRONG(h, "sleeps on what is free", Kind::kMutex);
}

TEST(History, ABarrierOpensForAll) {
  Hand right, early, index, ever, broken;
  for (Hand* h : {&right, &early, &index, &ever, &broken}) {
    const auto a = h->call(1, Op::kArrive), b = h->call(2, Op::kArrive);
    if (h == &early) h->arrive(1, 0, a), h->arrive(2, 1, b);
    if (h == &broken) h->end(a, End::kBroken), h->end(b, End::kBroken);
    if (h == &broken) continue;
    const auto c = h->call(3, Op::kArrive);
    if (h == &ever) h->pass(60 * kSecond);
    h->arrive(3, 2, c);
    if (h == &right || h == &index) h->arrive(1, 0, a), h->arrive(2, h == &index ? 0 : 1, b);
  }
  EXPECT_EQ(right.checked(Kind::kBarrier, 3), "");
  EXPECT_WRONG(early, "before all have come", Kind::kBarrier, 3);
  EXPECT_WRONG(index, "an index is given twice", Kind::kBarrier, 3);
  EXPECT_WRONG(ever, "still waits at the end", Kind::kBarrier, 3);
  EXPECT_WRONG(broken, "nobody died", Kind::kBarrier, 3);
}

TEST(History, ADeadPartyCounts) {
  Hand h;
  const auto a = h.call(1, Op::kArrive), b = h.call(2, Op::kArrive);
  (void)h.call(3, Op::kArrive);
  h.kill(3);
  h.arrive(1, 0, a);
  h.arrive(2, 2, b);
  EXPECT_EQ(h.checked(Kind::kBarrier, 3), "");
}

}  // namespace
}  // namespace heddle::history
