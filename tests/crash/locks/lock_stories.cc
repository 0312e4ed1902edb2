// Single stories of stopped and killed processes that the general runs do not come by.
#include <signal.h>

#include <algorithm>
#include <cstdio>

#include "proto/shm/futex.h"
#include "tests/crash/locks/lock_runs.h"
#include "tests/crash/locks/lock_stage.h"
#include "tests/support/stepper.h"

namespace heddle::shm {
namespace {

using test::SteppedChild;
using enum LockMode;

int64_t in_ms(int64_t ms) { return monotonic_ns() + ms * 1'000'000; }
std::string at(const char* what, uint64_t k) { return std::string(what) + " " + std::to_string(k); }
int code(LockOutcome outcome) { return static_cast<int>(outcome); }

LockScenario idle(const LockOptions& options, uint64_t token_start = 0) {
  const auto nothing = [](Lock&, LockActor&, LockActor&) {};
  return {"", options, token_start, nothing, [](Lock&, LockActor&) { return LockOutcome::kOk; }};
}
constexpr LockOptions kMutex{.kind = LockKind::kMutex};
constexpr LockOptions kRw{.kind = LockKind::kRw};
constexpr LockOptions kCondition{.kind = LockKind::kCondition};

/// A token that a child was told, where its parent sees it.
struct Told {
  std::atomic<uint64_t>* token = static_cast<std::atomic<uint64_t>*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ~Told() { munmap(token, 4096); }
};

}  // namespace

/// A writer sleeps until the readers have gone; the last of them dies before it rings. Somebody
/// else takes the claim away and the lock, and the writer must not be forgotten.
std::string story_withdrawn_claim(Figures* f) {
  LockScenario s = idle(kRw);
  s.prepare = [](Lock& l, LockActor&, LockActor& o) {
    Grant grant;
    EXPECT_EQ(l.acquire_rw(o, kShared, kLockTry, &grant), LockOutcome::kOk);
  };
  s.sleepers = {[](Lock& l, LockActor& a) {
    Grant grant;
    const LockOutcome outcome = l.acquire_rw(a, kExclusive, kLockForever, &grant);
    return outcome == LockOutcome::kOk ? l.release_rw(a, kExclusive) : outcome;
  }};
  LockStage stage(s);
  for (int round = 0; round < 3; ++round) {
    stage.restore();
    stage.start_sleepers();
    ++f->freezes;
    for (Cell& cell : stage.world().segment().block(stage.lock().line().blocks.load() - 1).cells) {
      const uint64_t seen = cell.word.load();
      if (state_in(seen) == CellState::kHeld) cell.word.store(cell_emptied(seen));
    }
    LockActor a = stage.world().actor(kNewcomer);
    Grant grant;
    const LockMode mode = round % 2 == 0 ? kExclusive : kShared;
    if (stage.lock().acquire_rw(a, mode, in_ms(2'000), &grant) != LockOutcome::kOk) {
      return "nobody takes the claim away";
    }
    stage.lock().release_rw(a, mode);
    if (!stage.wait_for_sleepers(1, 2'000)) return "the writer without its claim sleeps on";
    stage.stop_sleepers();
  }
  return "";
}

/// A waiter is notified and killed at each instruction on its way back to the lock.
std::string story_notified_waiter(Figures* f) {
  LockScenario s = idle(kCondition);
  s.sleepers = {[](Lock& l, LockActor& a) {
    Grant grant;
    LockOutcome outcome = l.acquire(a, kLockForever, &grant);
    if (outcome == LockOutcome::kOk) outcome = l.wait(a, l, kLockForever);
    return outcome == LockOutcome::kOk ? l.release(a) : outcome;
  }};
  LockStage stage(s);
  Lock& lock = stage.lock();
  bool ended = false;
  for (uint64_t k = 0; !ended; k += long_run() ? 1 : 3) {
    stage.restore();
    SteppedChild victim([&] {
      Grant grant;
      const LockOutcome outcome = lock.acquire(stage.victim(), kLockTry, &grant);
      return code(outcome == LockOutcome::kOk ? lock.wait(stage.victim(), lock, kLockForever)
                                              : outcome);
    });
    LockStanding standing[4];
    while (lock.standing(standing, 4) != 1 || !standing[0].waits) victim.step();
    stage.start_sleepers();
    if (lock.notify(stage.other(), 1) != 1) return "nobody is notified";
    for (uint64_t i = 0; i < k && !ended; ++i) {
      ended = !victim.step();
      if (lock.notified() == 0 && !stage.victim_owns()) return at("a notification is lost at", i);
    }
    const bool consumed = lock.notified() == 0;
    victim.kill();
    ++f->kills;
    stage.reap();
    if (!consumed && !stage.wait_for_sleepers(1, 2'000)) {
      return at("a notification dies with its waiter, killed after", k);
    }
    stage.stop_sleepers();
  }
  return "";
}

/// A thread stops on its way to the lock while others take it 2^32 times: its token is the one of
/// its own grant.
std::string story_half_wraps(Figures* f) {
  LockStage stage(idle(kMutex, 100));
  Lock& lock = stage.lock();
  Told told;
  bool ended = false;
  for (uint64_t k = 0; !ended; ++k) {
    stage.restore();
    SteppedChild victim([&] {
      Grant grant;
      const LockOutcome outcome = lock.acquire(stage.victim(), kLockTry, &grant);
      told.token->store(grant.token);
      return code(outcome);
    });
    for (uint64_t i = 0; i < k && !ended; ++i) ended = !victim.step();
    if (ended) break;
    ++f->freezes;
    const bool owned = stage.victim_owns();
    const uint64_t granted = lock.token();
    lock.line().base.fetch_add(2);
    uint64_t word = lock.line().word.load();
    lock.line().word.store((word & ~kLowMask) + kTokenOne * 2);
    const uint64_t planted = lock.token();
    if (victim.finish(2'000) != code(LockOutcome::kOk)) continue;
    const uint64_t token = told.token->load();
    if (owned ? token != granted : token != planted + 1)
      return at("a wrong token, stopped after", k);
  }
  return "";
}

/// Three sleep, one of them starves: nobody who has not slept overtakes it, not by one grant.
std::string story_hand_off(Figures* f) {
  LockScenario s = idle(kMutex);
  s.prepare = [](Lock& l, LockActor& v, LockActor&) {
    Grant grant;
    EXPECT_EQ(l.acquire(v, kLockTry, &grant), LockOutcome::kOk);
  };
  const Sleeper locks = [](Lock& l, LockActor& a) {
    Grant grant;
    const LockOutcome outcome = l.acquire(a, kLockForever, &grant);
    return outcome == LockOutcome::kOk ? l.release(a) : outcome;
  };
  s.sleepers = {locks, locks, locks};
  LockStage stage(s);
  Lock& lock = stage.lock();
  for (int round = 0; round < 20; ++round) {
    stage.restore();
    stage.start_sleepers();
    ++f->freezes;
    lock.line().word.fetch_or(kStarving | kSleepers);
    LockActor b = stage.world().actor(kNewcomer);
    const uint64_t before = lock.token();
    if (lock.release(stage.victim()) != LockOutcome::kOk) return "no release";
    const int64_t end = in_ms(2'000);
    while (lock.token() == before && monotonic_ns() < end) {
      Grant grant;
      if (lock.acquire(b, kLockTry, &grant) != LockOutcome::kOk) continue;
      lock.release(b);
      if (grant.token == before + 1) return "a newcomer overtakes one that starves";
    }
    if (!stage.wait_for_sleepers(3, 2'000)) return "sleepers do not come back";
    if (lock.token() < before + 3) return "too few grants";
    stage.stop_sleepers();
  }
  return "";
}

namespace {

/// One who is about to wait stops at each instruction; then what it wants comes free, and it goes
/// on: it must find that out by itself. `armed`: a remote caller waits as well.
std::string frozen_sleeper(const LockOptions& options, bool armed, Figures* f) {
  LockScenario s = idle(options);
  const bool word = options.kind == LockKind::kMutex || options.kind == LockKind::kRw;
  const auto take = [word](Lock& l, LockActor& a, int64_t deadline_ns) {
    Grant grant;
    if (!word) return l.acquire_permits(a, 1, deadline_ns, &grant);
    return l.kind() == LockKind::kRw ? l.acquire_rw(a, kExclusive, deadline_ns, &grant)
                                     : l.acquire(a, deadline_ns, &grant);
  };
  s.prepare = [&](Lock& l, LockActor&, LockActor& o) {
    EXPECT_EQ(take(l, o, kLockTry), LockOutcome::kOk);
    if (armed) l.enlist(false);
  };
  LockStage stage(s);
  const std::atomic<uint64_t>& waits = stage.world().journal(kVictim)->waiting_on;
  stage.victim().spins_max = 0;
  for (uint64_t k = 0;; k += long_run() ? 1 : 9) {
    stage.restore();
    SteppedChild victim([&] { return code(take(stage.lock(), stage.victim(), in_ms(1'000))); });
    // Past the spins; what counts begins where the wait is told.
    while (waits.load() == 0 && victim.step()) {
    }
    bool asleep = false;
    for (uint64_t i = 0; i < k && !asleep; ++i) {
      const int64_t began = monotonic_ns();
      asleep = !victim.step() || monotonic_ns() - began > 100'000'000;
    }
    if (asleep) return "";  // it slept for all of its time
    ++f->freezes;
    if (!word) stage.lock().release_permits(stage.other(), 1);
    if (options.kind == LockKind::kMutex) stage.lock().release(stage.other());
    if (options.kind == LockKind::kRw) stage.lock().release_rw(stage.other(), kExclusive);
    // At its deadline it would look once more and find it.
    const int64_t began = monotonic_ns();
    const bool got = victim.finish(3'000) == code(LockOutcome::kOk);
    if (!got || monotonic_ns() - began > 500'000'000) {
      return at("sleeps on what is free, stopped after", k);
    }
    stage.reap();
  }
}

}  // namespace

std::string story_frozen_sleeper(Figures* f) {
  constexpr LockOptions kOne{.kind = LockKind::kSemaphore, .count = 1};
  constexpr LockOptions kNumber{.kind = LockKind::kCounting, .count = 1};
  const std::pair<LockOptions, bool> all[] = {
      {kOne, true}, {kMutex, false}, {kRw, false}, {kNumber, false}};
  for (const auto& [options, armed] : all) {
    const std::string wrong = frozen_sleeper(options, armed, f);
    if (wrong.empty()) continue;
    return wrong + ", kind " + std::to_string(static_cast<int>(options.kind)) +
           (armed ? ", armed" : "");
  }
  return "";
}

/// A setter stops before its wake, and who clears the event meanwhile dies anywhere: the waiters
/// are woken by the scan, for the event was set.
std::string story_event_pair(Figures* f) {
  LockScenario s = idle({.kind = LockKind::kEvent});
  s.sleepers = {[](Lock& l, LockActor& a) { return l.wait_event(a, kLockForever); }};
  LockStage stage(s);
  Lock& lock = stage.lock();
  for (uint64_t k = 0, pairs = 0; pairs < 4; ++k) {
    bool owes = true, ended = false;
    for (uint64_t m = 0; owes && !ended; ++m) {
      stage.restore();
      stage.start_sleepers();
      SteppedChild setter([&] {
        lock.set_event(stage.victim());
        return 0;
      });
      for (uint64_t i = 0; i < k; ++i) {
        if (!setter.step()) return pairs > 0 ? "" : "no state owes a wake";
      }
      owes = lock.is_set() && stage.sleepers_back() == 0;
      if (owes) {
        SteppedChild clearer([&] {
          lock.clear_event();
          return 0;
        });
        for (uint64_t i = 0; i < m && !ended; ++i) ended = !clearer.step();
        clearer.kill();
        ++f->kills;
        stage.world().segment().rescan();
        if (!stage.wait_for_sleepers(1, 1'000)) {
          return at("set and cleared, but a waiter sleeps on; setter at", k) +
                 at(", clearer at", m);
        }
      }
      stage.stop_sleepers();
    }
    pairs += owes;
    if (k > 2'000) return "an event is never set";
  }
  return "";
}

/// Who releases stops at each instruction; the sleeper it is about to wake is killed, reaped, and
/// its number goes to another process. That one owns nothing that it did not take.
std::string story_reissued_number(Figures* f) {
  for (const char* name :
       {"mutex release, one sleeps", "mutex hand-off", "rw write unlock, two writers sleep",
        "semaphore release, one sleeps", "strict release, two sleep"}) {
    const LockScenario s = lock_scenario(name);
    LockStage stage(s);
    Lock& lock = stage.lock();
    bool ended = false;
    for (uint64_t k = 0; !ended; k += long_run() ? 1 : 3) {
      stage.restore();
      stage.start_sleepers();
      SteppedChild victim([&] { return code(s.operate(lock, stage.victim())); });
      for (uint64_t i = 0; i < k && !ended; ++i) ended = !victim.step();
      stage.stop_sleepers();  // killed and reaped, all of them
      ++f->kills;
      ++f->freezes;
      if (!ended && victim.finish(2'000) == -1) return std::string(name) + ": does not end";
      LockStanding standing[16];
      const size_t n = lock.standing(standing, 16);
      for (size_t i = 0; i < n && i < 16; ++i) {
        if (owner_in(standing[i].holder) >= 10) return at(name, k) + ": a stranger owns it";
      }
      stage.world().segment().rescan();
      stage.reap();
      LockActor a = stage.world().actor(10), b = stage.world().actor(11);
      int told = 0;
      const std::string wrong = use_fully(lock, a, b, &told);
      if (!wrong.empty()) return at(name, k) + ": " + wrong;
    }
  }
  return "";
}

/// Who is about to take a lock stops, and the lock is deleted: no token above the last one that the
/// broker heard of.
std::string story_token_after_delete(Figures* f) {
  for (const uint64_t start : {uint64_t{100}, (uint64_t{1} << 31) - 1, (uint64_t{1} << 32) - 1}) {
    LockStage stage(idle(kMutex, start));
    Told told;
    bool ended = false;
    for (uint64_t k = 0; !ended; ++k) {
      stage.restore();
      SteppedChild victim([&] {
        Grant grant;
        const LockOutcome outcome = stage.lock().acquire(stage.victim(), kLockTry, &grant);
        told.token->store(grant.token);
        return code(outcome);
      });
      for (uint64_t i = 0; i < k && !ended; ++i) ended = !victim.step();
      if (ended) break;
      ++f->freezes;
      const uint64_t last = stage.world().segment().destroy(stage.lock().index());
      if (last < start) return "the last token goes back";
      const int result = victim.finish(2'000);
      if (result == code(LockOutcome::kOk) && told.token->load() > last) {
        return at("a token of a deleted lock, stopped after", k);
      }
    }
  }
  return "";
}

/// A member that dies on its way to the barrier breaks it; and one that sleeps on its way through
/// more generations than the barrier remembers is not told that all went well.
std::string story_member_dies(Figures* f) {
  LockScenario s = idle({.kind = LockKind::kBarrier, .count = 2});
  s.prepare = [](Lock& l, LockActor& v, LockActor&) { EXPECT_EQ(l.join(v), LockOutcome::kOk); };
  LockStage stage(s);
  Lock& lock = stage.lock();
  bool ended = false;
  for (uint64_t k = 0; !ended; ++k) {
    stage.restore();
    Standing mine;
    if (lock.begin_arrive(stage.other(), false, &mine) != LockOutcome::kOk) return "no arrival";
    {
      SteppedChild victim([&] {
        Standing theirs;
        return code(lock.begin_arrive(stage.victim(), false, &theirs));
      });
      for (uint64_t i = 0; i < k && !ended; ++i) ended = !victim.step();
    }
    ++f->kills;
    stage.reap();
    if (lock.look_arrive(stage.other(), mine) == LockOutcome::kTimedOut) {
      return at("others wait for a dead member, killed after", k);
    }
  }
  ended = false;
  LockStage other(idle({.kind = LockKind::kBarrier, .count = 2}));
  for (uint64_t k = 0; !ended; k += long_run() ? 1 : 11) {
    other.restore();
    SteppedChild victim([&] {
      uint32_t index;
      return code(other.lock().arrive(other.victim(), false, in_ms(4), &index));
    });
    for (uint64_t i = 0; i < k && !ended; ++i) ended = !victim.step();
    ++f->freezes;
    for (int i = 0; i < 40; ++i) other.lock().break_barrier(false);
    if (!ended && victim.finish(2'000) == code(LockOutcome::kOk)) {
      return at("a barrier of two opened for one, stopped after", k);
    }
  }
  return "";
}

/// The broker is killed at each instruction of making and of ending a lock.
std::string story_broker_dies(Figures* f) {
  LockScenario s = idle(kRw);
  s.prepare = [](Lock& l, LockActor& v, LockActor& o) {
    Grant grant;
    for (int i = 0; i < 9; ++i)
      EXPECT_EQ(l.acquire_rw(o, kShared, kLockTry, &grant), LockOutcome::kOk);
    EXPECT_EQ(l.acquire_rw(v, LockMode::kUpdate, kLockTry, &grant), LockOutcome::kOk);
  };
  LockStage stage(s);
  LockSegment& segment = stage.world().segment();
  for (const bool ends : {true, false}) {
    bool ended = false;
    for (uint64_t k = 0; !ended; k += long_run() ? 1 : 9) {
      stage.restore();
      {
        SteppedChild broker([&] {
          uint32_t index;
          if (ends) segment.destroy(stage.lock().index());
          return code(ends ? LockOutcome::kOk : segment.create(kRw, 99, 0, &index));
        });
        for (uint64_t i = 0; i < k && !ended; ++i) ended = !broker.step();
      }
      ++f->kills;
      segment.reap([](void*, uint16_t) { return true; }, nullptr);
      segment.destroy(stage.lock().index());
      LockActor a = stage.world().actor(kNewcomer), b = stage.world().actor(kNewcomer + 1);
      for (int i = 0; i < 4; ++i) {
        int told = 0;
        Lock next = stage.world().make(kRw);
        const std::string wrong = use_fully(next, a, b, &told);
        if (!wrong.empty()) return at(ends ? "ending a lock," : "making a lock,", k) + ": " + wrong;
      }
    }
  }
  return "";
}

/// Two sleep; the first is woken and stopped before it takes anything. The other one is served when
/// the scan comes by; how long that took is printed, and no maximum asked for but a far one.
std::string story_woken_then_stopped(Figures* f) {
  for (const char* name : {"mutex release, two sleep", "rw write unlock, two writers sleep",
                           "semaphore release, two sleep"}) {
    const LockScenario s = lock_scenario(name);
    LockStage stage(s);
    const bool permits = s.options.kind == LockKind::kSemaphore;
    int64_t sum_ns = 0, most_ns = 0, held_up = 0;
    const int rounds = long_run() ? 60 : 12;
    for (int round = 0; round < rounds; ++round) {
      stage.restore();
      stage.start_sleepers();
      ++f->freezes;
      const int64_t began = monotonic_ns();
      // One permit, one owner: the second sleeper is owed nothing until the first has been.
      if (permits ? stage.lock().release_permits(stage.victim(), 1) != LockOutcome::kOk
                  : s.operate(stage.lock(), stage.victim()) != LockOutcome::kOk) {
        return "no release";
      }
      kill(stage.sleeper(0), SIGSTOP);
      bool back = stage.wait_for_sleepers(1, 20);
      held_up += !back;
      for (int scan = 0; scan < 40 && !back; ++scan) {
        stage.world().segment().rescan();
        back = stage.wait_for_sleepers(1, 50);
      }
      const int64_t took = monotonic_ns() - began;
      sum_ns += took;
      most_ns = std::max(most_ns, took);
      kill(stage.sleeper(0), SIGCONT);
      if (!back) return std::string(name) + ": the other one sleeps on";
      if (!stage.wait_for_sleepers(2, 2'000)) return std::string(name) + ": one is left behind";
      stage.stop_sleepers();
    }
    std::printf("woken, then stopped: %-36s held up %lld of %d, mean %.2f ms, most %.2f ms\n", name,
                static_cast<long long>(held_up), rounds, static_cast<double>(sum_ns) / 1e6 / rounds,
                static_cast<double>(most_ns) / 1e6);
  }
  return "";
}

}  // namespace heddle::shm
