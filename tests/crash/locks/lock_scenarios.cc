#include "tests/crash/locks/lock_scenarios.h"

#include "proto/shm/futex.h"

namespace heddle::shm {
namespace {

using enum LockMode;

constexpr uint64_t kHalf = uint64_t{1} << 31, kWhole = uint64_t{1} << 32;
constexpr LockOptions kMutex{.kind = LockKind::kMutex};
constexpr LockOptions kSilent{.kind = LockKind::kMutex, .policy = DeathPolicy::kSilent};
constexpr LockOptions kRlock{.kind = LockKind::kRlock};
constexpr LockOptions kStrict{.kind = LockKind::kMutex, .fair = Fairness::kStrict};
constexpr LockOptions kStrictRw{.kind = LockKind::kRw, .fair = Fairness::kStrict};
constexpr LockOptions kRw{.kind = LockKind::kRw};
constexpr LockOptions kTwo{.kind = LockKind::kSemaphore, .count = 2};
constexpr LockOptions kThree{.kind = LockKind::kSemaphore, .count = 3};
constexpr LockOptions kNumber{.kind = LockKind::kCounting, .count = 1};
constexpr LockOptions kCondition{.kind = LockKind::kCondition};
constexpr LockOptions kEvent{.kind = LockKind::kEvent};
constexpr LockOptions kBarrier{.kind = LockKind::kBarrier, .count = 3};

int64_t soon() { return monotonic_ns() + 300'000; }

LockOutcome lock(Lock& l, LockActor& a, int64_t deadline_ns = kLockTry) {
  Grant grant;
  return l.acquire(a, deadline_ns, &grant);
}
LockOutcome rw(Lock& l, LockActor& a, LockMode mode, int64_t deadline_ns = kLockTry) {
  Grant grant;
  return l.acquire_rw(a, mode, deadline_ns, &grant);
}
LockOutcome permits(Lock& l, LockActor& a, uint32_t n, int64_t deadline_ns = kLockTry) {
  Grant grant;
  return l.acquire_permits(a, n, deadline_ns, &grant);
}
LockOutcome convert(Lock& l, LockActor& a, LockMode from, LockMode to, int64_t deadline_ns) {
  Grant grant;
  return l.convert(a, from, to, deadline_ns, &grant);
}
void nothing(Lock&, LockActor&, LockActor&) {}

// --- sleepers: each gives back what it got ---
LockOutcome locks(Lock& l, LockActor& a) {
  const LockOutcome outcome = lock(l, a, kLockForever);
  return outcome == LockOutcome::kOk ? l.release(a) : outcome;
}
LockOutcome reads(Lock& l, LockActor& a) {
  const LockOutcome outcome = rw(l, a, kShared, kLockForever);
  return outcome == LockOutcome::kOk ? l.release_rw(a, kShared) : outcome;
}
LockOutcome writes(Lock& l, LockActor& a) {
  const LockOutcome outcome = rw(l, a, kExclusive, kLockForever);
  return outcome == LockOutcome::kOk ? l.release_rw(a, kExclusive) : outcome;
}
LockOutcome takes_one(Lock& l, LockActor& a) {
  const LockOutcome outcome = permits(l, a, 1, kLockForever);
  return outcome == LockOutcome::kOk ? l.release_permits(a, 1) : outcome;
}
LockOutcome waits(Lock& l, LockActor& a) {
  LockOutcome outcome = lock(l, a, kLockForever);
  if (outcome == LockOutcome::kOk) outcome = l.wait(a, l, kLockForever);
  return outcome == LockOutcome::kOk ? l.release(a) : outcome;
}
LockOutcome awaits(Lock& l, LockActor& a) { return l.wait_event(a, kLockForever); }
LockOutcome arrives(Lock& l, LockActor& a) {
  uint32_t index;
  return l.arrive(a, false, kLockForever, &index);
}

void victim_locks(Lock& l, LockActor& v, LockActor&) { EXPECT_EQ(lock(l, v), LockOutcome::kOk); }
void other_locks(Lock& l, LockActor&, LockActor& o) { EXPECT_EQ(lock(l, o), LockOutcome::kOk); }
void other_releases(Lock& l, LockActor& o) { l.release(o); }
void victim_writes(Lock& l, LockActor& v, LockActor&) {
  EXPECT_EQ(rw(l, v, kExclusive), LockOutcome::kOk);
}
void victim_reads(Lock& l, LockActor& v, LockActor&) {
  EXPECT_EQ(rw(l, v, kShared), LockOutcome::kOk);
}
void victim_updates(Lock& l, LockActor& v, LockActor&) {
  EXPECT_EQ(rw(l, v, kUpdate), LockOutcome::kOk);
}
void other_reads(Lock& l, LockActor&, LockActor& o) {
  EXPECT_EQ(rw(l, o, kShared), LockOutcome::kOk);
}
void other_ends_reading(Lock& l, LockActor& o) { l.release_rw(o, kShared); }
LockOutcome release(Lock& l, LockActor& a) { return l.release(a); }
LockOutcome locks_and_releases(Lock& l, LockActor& a) {
  const LockOutcome outcome = lock(l, a, soon());
  return outcome == LockOutcome::kOk ? l.release(a) : outcome;
}

// --- how many sleepers a state owes a wake ---
size_t one_if_free(Lock& l) { return holder_in(l.line().word.load()) == 0; }
size_t one_if_counted(Lock& l) { return l.permits_free() > 0; }
size_t all_if_begun(Lock& l) { return (l.line().head.load() & kLowMask) > kHeadSleepers ? 2 : 0; }
size_t one_if_begun(Lock& l) { return all_if_begun(l) / 2; }
size_t notified(Lock& l) { return l.notified(); }
/// One that is told and another that is not: that is not all.
size_t all_if_notified(Lock& l) {
  return l.line().all_upto.load() != 0 || l.notified() != 0 ? 2 : 0;
}
size_t none(Lock&) { return 0; }

std::vector<LockScenario> mutex_scenarios() {
  std::vector<LockScenario> all = {
      {"mutex pair", kMutex, 0, nothing, locks_and_releases},
      {"mutex pair at the half", kMutex, kHalf - 2, nothing, locks_and_releases},
      {"mutex pair at the wrap", kMutex, kWhole - 2, nothing, locks_and_releases},
      {"mutex held by another", kMutex, 0, other_locks, locks_and_releases, {}, other_releases},
      {"mutex release, one sleeps", kMutex, 0, victim_locks, release, {locks}},
      {"mutex release, two sleep", kMutex, 0, victim_locks, release, {locks, locks}},
      {"mutex hand-off",
       kMutex,
       0,
       [](Lock& l, LockActor& v, LockActor&) {
         victim_locks(l, v, v);
         l.line().word.fetch_or(kStarving | kSleepers);
       },
       release,
       {locks}},
      {"mutex release for another",
       kMutex,
       0,
       other_locks,
       [](Lock& l, LockActor& a) { return l.release(a, holder_of(kOther, 1)); },
       {locks},
       other_releases,
       one_if_free},
      {"silent mutex", kSilent, 0, nothing, locks_and_releases},
      {"rlock twice", kRlock, 0, nothing,
       [](Lock& l, LockActor& a) {
         lock(l, a);
         lock(l, a);
         l.release(a);
         return l.release(a);
       }},
      {"strict pair", kStrict, 0, nothing, locks_and_releases},
      {"strict held by another", kStrict, 0, other_locks, locks_and_releases, {}, other_releases},
      {"strict release, two sleep", kStrict, 0, victim_locks, release, {locks, locks}},
      {"forced release",
       kSilent,
       0,
       other_locks,
       [](Lock& l, LockActor&) { return l.force_release(0); },
       {locks},
       other_releases,
       one_if_free},
  };
  return all;
}

const auto reads_and_leaves = [](Lock& l, LockActor& a) {
  const LockOutcome outcome = rw(l, a, kShared, soon());
  return outcome == LockOutcome::kOk ? l.release_rw(a, kShared) : outcome;
};
const auto writes_and_leaves = [](Lock& l, LockActor& a) {
  const LockOutcome outcome = rw(l, a, kExclusive, soon());
  return outcome == LockOutcome::kOk ? l.release_rw(a, kExclusive) : outcome;
};
const auto end = [](LockMode mode) {
  return [mode](Lock& l, LockActor& a) { return l.release_rw(a, mode); };
};
const auto turn = [](LockMode from, LockMode to) {
  return [from, to](Lock& l, LockActor& a) { return convert(l, a, from, to, soon()); };
};
const auto eight_readers = [](Lock& l, LockActor&, LockActor& o) {
  for (int i = 0; i < 8; ++i) EXPECT_EQ(rw(l, o, kShared), LockOutcome::kOk);
};
const auto eight_leave = [](Lock& l, LockActor& o) {
  while (l.release_rw(o, kShared) == LockOutcome::kOk) {
  }
};

std::vector<LockScenario> rw_scenarios() {
  return {
      {"rw read", kRw, 0, nothing, reads_and_leaves},
      {"rw read beside a reader", kRw, 0, other_reads, reads_and_leaves, {}, other_ends_reading},
      {"rw read, a block more", kRw, 0, eight_readers, reads_and_leaves, {}, eight_leave},
      {"rw read unlock, a writer sleeps", kRw, 0, victim_reads, end(kShared), {writes}},
      {"rw read unlock, writer and reader sleep",
       kRw,
       0,
       victim_reads,
       end(kShared),
       {writes, reads}},
      {"rw write", kRw, kWhole - 2, nothing, writes_and_leaves},
      {"rw write against a reader", kRw, 0, other_reads, writes_and_leaves, {}, other_ends_reading},
      {"rw write unlock, a reader sleeps", kRw, 0, victim_writes, end(kExclusive), {reads}},
      {"rw write unlock, two writers sleep",
       kRw,
       0,
       victim_writes,
       end(kExclusive),
       {writes, writes}},
      {"rw write unlock, all sleep",
       kRw,
       0,
       victim_writes,
       end(kExclusive),
       {reads, writes, reads}},
  };
}

std::vector<LockScenario> conversion_scenarios() {
  return {
      {"rw upgrade", kRw, kHalf - 2, victim_updates, turn(kUpdate, kExclusive)},
      {"rw upgrade against a reader",
       kRw,
       0,
       [](Lock& l, LockActor& v, LockActor& o) {
         victim_updates(l, v, v);
         other_reads(l, v, o);
       },
       turn(kUpdate, kExclusive),
       {},
       other_ends_reading},
      {"rw upgrade of a reader", kRw, 0, victim_reads, turn(kShared, kExclusive)},
      {"rw reader to update", kRw, 0, victim_reads, turn(kShared, kUpdate)},
      {"rw write to read, a reader sleeps",
       kRw,
       0,
       victim_writes,
       turn(kExclusive, kShared),
       {reads}},
      {"rw write to update, a reader sleeps",
       kRw,
       0,
       victim_writes,
       turn(kExclusive, kUpdate),
       {reads}},
      {"rw update to read, a writer sleeps",
       kRw,
       0,
       victim_updates,
       turn(kUpdate, kShared),
       {writes},
       {},
       {},
       [](Lock& l, LockActor& v) { l.release_rw(v, kShared); }},
      {"rw upgrade times out, a writer sleeps",
       kRw,
       0,
       [](Lock& l, LockActor& v, LockActor& o) {
         victim_updates(l, v, v);
         other_reads(l, v, o);
         v.spins_max = 0;
         // Left by one that has given up.
         l.line().word.fetch_or(kSleepers);
       },
       turn(kUpdate, kExclusive),
       {writes},
       other_ends_reading,
       none,
       [](Lock& l, LockActor& v) { l.release_rw(v, kUpdate); }},
      {"rw strict, read by another",
       kStrictRw,
       0,
       other_reads,
       writes_and_leaves,
       {},
       other_ends_reading},
      {"rw update unlock, a writer sleeps", kRw, 0, victim_updates, end(kUpdate), {writes}},
  };
}

/// As above, but no clock decides how many steps it takes.
LockScenario upgrade_refused() {
  return {
      .name = "rw upgrade refused, a writer sleeps",
      .options = kRw,
      .prepare =
          [](Lock& l, LockActor& v, LockActor& o) {
            victim_updates(l, v, v);
            other_reads(l, v, o);
            l.line().word.fetch_or(kSleepers);
          },
      .operate = [](Lock& l, LockActor& a) { return convert(l, a, kUpdate, kExclusive, kLockTry); },
      .sleepers = {writes},
      .settle = other_ends_reading,
      .due = none,
      .late_settle = [](Lock& l, LockActor& v) { l.release_rw(v, kUpdate); },
      .dense_after_wake = true};
}

std::vector<LockScenario> semaphore_scenarios() {
  const auto takes = [](uint32_t n) {
    return [n](Lock& l, LockActor& a) {
      const LockOutcome outcome = permits(l, a, n, soon());
      return outcome == LockOutcome::kOk ? l.release_permits(a, n) : outcome;
    };
  };
  const auto holds = [](uint32_t n) {
    return
        [n](Lock& l, LockActor& v, LockActor&) { EXPECT_EQ(permits(l, v, n), LockOutcome::kOk); };
  };
  const auto gives = [](uint32_t n) {
    return [n](Lock& l, LockActor& a) { return l.release_permits(a, n); };
  };
  return {
      {"semaphore pair", kTwo, 0, nothing, takes(1)},
      {"semaphore two at once", kThree, kWhole - 2, nothing, takes(2)},
      {"semaphore all taken",
       kTwo,
       0,
       [](Lock& l, LockActor&, LockActor& o) { EXPECT_EQ(permits(l, o, 2), LockOutcome::kOk); },
       takes(1),
       {},
       [](Lock& l, LockActor& o) { l.release_permits(o, 2); }},
      {"semaphore release, one sleeps", kTwo, 0, holds(2), gives(1), {takes_one}},
      {"semaphore release, two sleep", kTwo, 0, holds(2), gives(2), {takes_one, takes_one}},
      {"count pair", kNumber, 0, nothing,
       [](Lock& l, LockActor& a) {
         // What a dead acquirer took is gone, so raise first.
         l.release_permits(a, 1);
         return permits(l, a, 1);
       }},
      {"count raise, one sleeps",
       {.kind = LockKind::kCounting, .count = 0},
       0,
       nothing,
       gives(1),
       {takes_one},
       [](Lock& l, LockActor& o) { l.release_permits(o, 2); },
       one_if_counted},
  };
}

const auto all = [](Lock& l, LockActor& a) {
  l.notify_all(a);
  return LockOutcome::kOk;
};
const auto one = [](Lock& l, LockActor& a) {
  l.notify(a, 1);
  return LockOutcome::kOk;
};
const auto settle_condition = [](Lock& l, LockActor& o) { l.notify_all(o); };
const auto wait_a_little = [](Lock& l, LockActor& a) {
  LockOutcome outcome = lock(l, a);
  if (outcome == LockOutcome::kOk) outcome = l.wait(a, l, soon());
  l.release(a);
  return outcome;
};
const auto arrive = [](Lock& l, LockActor& a) {
  uint32_t index;
  return l.arrive(a, false, kLockForever, &index);
};
const auto lead = [](Lock& l, LockActor& a) {
  uint32_t index;
  const LockOutcome outcome = l.arrive(a, true, kLockForever, &index);
  return outcome == LockOutcome::kLead ? l.finish_action(a) : outcome;
};
const auto breaks = [](Lock& l, LockActor&) {
  l.break_barrier(false);
  return LockOutcome::kOk;
};
const auto resets = [](Lock& l, LockActor&) {
  l.reset_barrier();
  return LockOutcome::kOk;
};
const auto settle_barrier = [](Lock& l, LockActor&) { l.reset_barrier(); };

std::vector<LockScenario> other_scenarios() {
  return {
      {"condition wait", kCondition, 0, nothing, wait_a_little},
      {"condition notify one of two",
       kCondition,
       0,
       nothing,
       one,
       {waits, waits},
       settle_condition,
       notified},
      {"condition notify all",
       kCondition,
       0,
       nothing,
       all,
       {waits, waits},
       settle_condition,
       all_if_notified},
      {"event set, two sleep",
       kEvent,
       0,
       nothing,
       [](Lock& l, LockActor& a) {
         l.set_event(a);
         return LockOutcome::kOk;
       },
       {awaits, awaits},
       [](Lock& l, LockActor& o) { l.set_event(o); },
       all_if_begun},
      {"event set and clear",
       kEvent,
       0,
       nothing,
       [](Lock& l, LockActor& a) {
         l.set_event(a);
         l.clear_event();
         return l.wait_event(a, kLockTry);
       },
       {awaits},
       [](Lock& l, LockActor& o) { l.set_event(o); },
       one_if_begun},
  };
}

std::vector<LockScenario> barrier_scenarios() {
  return {
      {"barrier last",
       kBarrier,
       0,
       nothing,
       arrive,
       {arrives, arrives},
       settle_barrier,
       all_if_begun},
      {"barrier last with action",
       kBarrier,
       0,
       nothing,
       lead,
       {arrives, arrives},
       settle_barrier,
       all_if_begun},
      {"barrier not last",
       kBarrier,
       0,
       nothing,
       [](Lock& l, LockActor& a) {
         uint32_t index;
         return l.arrive(a, false, soon(), &index);
       },
       {arrives},
       settle_barrier,
       one_if_begun},
      {"barrier break",
       kBarrier,
       0,
       nothing,
       breaks,
       {arrives, arrives},
       settle_barrier,
       all_if_begun},
      {"barrier reset", kBarrier, 0, nothing, resets, {arrives}, settle_barrier, one_if_begun},
      {"barrier member",
       kBarrier,
       0,
       [](Lock& l, LockActor& v, LockActor&) { EXPECT_EQ(l.join(v), LockOutcome::kOk); },
       arrive,
       {arrives, arrives},
       settle_barrier,
       all_if_begun},
  };
}

std::string wrong(const char* what, LockOutcome outcome) {
  return std::string(what) + " says " + std::to_string(static_cast<int>(outcome)) + "; ";
}

std::string use_word(Lock& l, LockActor& a, LockActor& b, int* abandoned) {
  uint64_t last = l.token();
  for (int i = 0; i < 6; ++i) {
    LockActor& me = i % 2 == 0 ? a : b;
    LockActor& you = i % 2 == 0 ? b : a;
    Grant grant;
    LockOutcome outcome = l.acquire(me, kLockTry, &grant);
    if (outcome != LockOutcome::kOk) return wrong("acquire", outcome);
    if (grant.token <= last) return "a token does not rise; ";
    last = grant.token;
    *abandoned += grant.abandoned;
    outcome = l.acquire(you, kLockTry, &grant);
    if (outcome != LockOutcome::kTimedOut) return wrong("second acquire", outcome);
    outcome = l.release(me);
    if (outcome != LockOutcome::kOk) return wrong("release", outcome);
  }
  return "";
}

std::string use_rw(Lock& l, LockActor& a, LockActor& b, int* abandoned) {
  for (int i = 0; i < 4; ++i) {
    Grant grant;
    LockOutcome outcome = l.acquire_rw(a, kExclusive, kLockTry, &grant);
    if (outcome != LockOutcome::kOk) return wrong("write", outcome);
    *abandoned += grant.abandoned;
    if (l.acquire_rw(b, kShared, kLockTry, &grant) == LockOutcome::kOk) return "reader beside; ";
    l.release_rw(a, kExclusive);
    outcome = l.acquire_rw(a, kShared, kLockTry, &grant);
    if (outcome != LockOutcome::kOk) return wrong("read", outcome);
    if (l.acquire_rw(b, kExclusive, kLockTry, &grant) == LockOutcome::kOk) return "writer beside; ";
    outcome = l.acquire_rw(b, kUpdate, kLockTry, &grant);
    if (outcome != LockOutcome::kOk) return wrong("update", outcome);
    l.release_rw(b, kUpdate);
    l.release_rw(a, kShared);
  }
  return "";
}

std::string use_permits(Lock& l, LockActor& a) {
  Grant grant;
  const uint32_t all = l.permits_free();
  if (l.kind() == LockKind::kSemaphore && all != l.line().limit.load()) {
    return "permits are missing: " + std::to_string(all) + "; ";
  }
  for (uint32_t i = 0; i < all; ++i) {
    const LockOutcome outcome = l.acquire_permits(a, 1, kLockTry, &grant);
    if (outcome != LockOutcome::kOk) return wrong("permit", outcome);
  }
  if (l.acquire_permits(a, 1, kLockTry, &grant) == LockOutcome::kOk) return "a permit too many; ";
  for (uint32_t i = 0; i < all; ++i) l.release_permits(a, 1);
  return l.permits_free() == all ? "" : "permits are lost; ";
}

}  // namespace

std::vector<LockScenario> lock_scenarios() {
  std::vector<LockScenario> all;
  for (auto&& part : {mutex_scenarios(), rw_scenarios(), conversion_scenarios(),
                      semaphore_scenarios(), other_scenarios(), barrier_scenarios()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  all.push_back(upgrade_refused());
  for (LockScenario& s : all) {
    for (const char* name : {"mutex pair", "rlock twice", "strict pair", "silent mutex", "rw read",
                             "rw write", "semaphore pair", "semaphore two at once", "count pair",
                             "condition wait", "rw strict, read by another"}) {
      s.enters = s.enters || s.name == name;
    }
  }
  return all;
}

LockScenario lock_scenario(const std::string& name) {
  for (const LockScenario& s : lock_scenarios()) {
    if (s.name == name) return s;
  }
  ADD_FAILURE() << "no scenario " << name;
  return {};
}

std::string scenario_name(const std::string& name) {
  std::string plain = name;
  for (char& c : plain) {
    if (!isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return plain;
}

std::string use_fully(Lock& l, LockActor& a, LockActor& b, int* abandoned) {
  switch (l.kind()) {
    case LockKind::kRw:
      return use_rw(l, a, b, abandoned);
    case LockKind::kSemaphore:
    case LockKind::kCounting:
      return use_permits(l, a);
    case LockKind::kEvent:
      l.set_event(a);
      if (l.wait_event(b, kLockTry) != LockOutcome::kOk) return "set, but not seen; ";
      l.clear_event();
      return l.wait_event(b, kLockTry) == LockOutcome::kOk ? "cleared, but set; " : "";
    case LockKind::kBarrier: {
      if (l.arrived() != 0) return "somebody has arrived; ";
      Standing s[3];
      LockActor c = a;
      c.thread = 9;
      LockActor* party[] = {&a, &b, &c};
      for (int i = 0; i < 3; ++i) {
        const LockOutcome outcome = l.begin_arrive(*party[i], false, &s[i]);
        if (outcome != LockOutcome::kOk) return wrong("arrive", outcome);
      }
      for (int i = 0; i < 3; ++i) {
        const LockOutcome outcome = l.look_arrive(*party[i], s[i]);
        if (outcome != LockOutcome::kOk) return wrong("barrier", outcome);
      }
      return "";
    }
    default:
      return use_word(l, a, b, abandoned);
  }
}

}  // namespace heddle::shm
