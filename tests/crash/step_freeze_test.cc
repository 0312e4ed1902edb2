// Stops a client after every instruction that changed something, for every queue operation. Two
// others then do at least two laps over the segments without waiting for anybody; the stopped one
// goes on; nothing may be lost, doubled or stuck, and a claim that was taken away must fail.
//
// Likewise a reaper, in the middle of the repair of a client that was killed in any state. Here
// nobody takes over its work: a second reaper of the same death is not there before the first is
// dead. One queue is repaired by one broker, by one thread at a time (objects::Queue::mutex_), and
// the supervisor starts the next broker only after the exit of the last one has been collected;
// another supervisor starts with other memory. So a thawed reaper meets the work of living clients,
// never that of another reaper; what a dead one leaves behind is in step_kill_test.cc.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "tests/crash/step_world.h"
#include "tests/support/stepper.h"
#include "tests/support/watchdog.h"

namespace heddle::shm {
namespace {

using test::SteppedChild;

using Count = std::map<std::string, int>;

class StepFreeze : public ::testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    const char* why;
    if (!test::can_step(&why)) {
      if (std::getenv("CI") != nullptr) FAIL() << why;
      GTEST_SKIP() << why;
    }
  }
};

/// Instructions after which the shared memory was different.
std::vector<uint64_t> stops_of(World& world, const std::function<int()>& body) {
  std::vector<uint64_t> stops{0};
  SteppedChild child(body);
  for (uint64_t last = world.hash(); child.step();) {
    const uint64_t now = world.hash();
    if (now == last) continue;
    last = now;
    stops.push_back(child.steps());
  }
  return stops;
}

class Others {
 public:
  explicit Others(World& world) : world_(world), a_(world.newcomer(21)), b_(world.newcomer(22)) {}

  /// Puts and takes in turns, never waiting. Messages found there before are taken as well.
  std::string laps(int messages) {
    int refused = 0;
    for (int i = 0; i < messages; ++i) {
      const std::string body = "o" + std::to_string(i);
      const Outcome outcome = put(world_.queue(), i % 2 ? a_ : b_, body);
      if (outcome == Outcome::kOk) {
        ++expected[body];
      } else if (outcome != Outcome::kClosed) {
        return "put says " + std::to_string(static_cast<int>(outcome));
      }
      refused += outcome == Outcome::kClosed;
      if (const std::string wrong = take_one(i % 3 ? b_ : a_); !wrong.empty()) return wrong;
    }
    const bool stuck = refused == 0 && static_cast<int>(taken.size()) < messages / 2;
    return stuck ? "nothing comes out: " + std::to_string(taken.size()) : "";
  }

  std::string take_one(Actor& actor) {
    Taken t;
    const Outcome outcome = world_.queue().take(actor, TakeMode::kLease, &t, kTry);
    if (outcome == Outcome::kOk) {
      ++taken[body_of(t)];
      return world_.queue().ack(actor, t.ticket) == Outcome::kOk ? "" : "ack refused";
    }
    const bool ordinary = outcome == Outcome::kEmpty || outcome == Outcome::kEndOfStream;
    return ordinary ? "" : "take says " + std::to_string(static_cast<int>(outcome));
  }

  void drain() {
    std::string wrong;
    for (const std::string& body : world_.drain(a_, &wrong)) ++taken[body];
  }

  Count expected, taken;

 private:
  World& world_;
  Actor a_, b_;
};

/// Everything there was, all that the others put, what the victim put if it says so; each exactly
/// once.
std::string compare(World& world, const Scenario& scenario, Others& others,
                    const VictimReport& report) {
  Count taken = others.taken;
  if (report.took) ++taken[std::string(report.body, report.length)];
  Bodies rest;  // of the scenario's own bodies: initial ones and those the victim put
  for (auto& [body, n] : taken) {
    const auto wanted = others.expected.find(body);
    if (wanted != others.expected.end()) {
      if (n != wanted->second) return body + " was seen " + std::to_string(n) + " times";
      continue;
    }
    for (int i = 0; i < n; ++i) rest.push_back(body);
  }
  Bodies before = world.before();
  Bodies lost, extra;
  for (const auto& [body, n] : others.expected)
    if (taken.count(body) == 0) lost.push_back(body);
  std::sort(before.begin(), before.end());
  std::sort(rest.begin(), rest.end());
  std::set_difference(before.begin(), before.end(), rest.begin(), rest.end(),
                      std::back_inserter(lost));
  std::set_difference(rest.begin(), rest.end(), before.begin(), before.end(),
                      std::back_inserter(extra));
  // Whatever was dropped on purpose is counted by the queue itself.
  const size_t allowed = static_cast<size_t>(scenario.removes) + world.queue().counts().drops;
  if (lost.size() > allowed) return "lost " + lost.front();
  if (extra.size() > static_cast<size_t>(scenario.adds)) return "extra " + extra.front();
  return "";
}

TEST_P(StepFreeze, OthersGoOnAndTheLateOneFails) {
  const auto start = std::chrono::steady_clock::now();
  const Scenario scenario = scenarios()[GetParam()];
  World world(scenario);
  const auto body = [&] {
    return static_cast<int>(scenario.operate(world.queue(), world.victim(), world.report()));
  };
  const std::vector<uint64_t> stops = stops_of(world, body);
  for (const uint64_t stop : stops) {
    SCOPED_TRACE(std::string(scenario.name) + ", stopped after " + std::to_string(stop));
    world.restore();
    SteppedChild child(body);
    while (child.steps() < stop && child.step()) {
    }
    Others others(world);
    ASSERT_EQ(others.laps(2 * 3 * kSlotsPerSegment), "");
    const int status = child.finish(5000);
    ASSERT_GE(status, 0) << "the resumed operation hangs";
    ASSERT_NE(status, static_cast<int>(Outcome::kCorrupt));
    others.drain();
    ASSERT_STREQ(world.queue().audit(), nullptr);
    // What the victim still holds comes back when it ends, as in life.
    world.reap_victim(kReaper);
    others.drain();
    ASSERT_EQ(compare(world, scenario, others, *world.report()), "");
    ASSERT_EQ(world.use_fully(), "");
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("shown: freeze; %s; %zu stops, %.2f s\n", scenario.name, stops.size(), seconds);
}

/// As found by draining in the order of the queue, whatever the order in which others took it.
Bodies in_order(const Bodies& before, Bodies found) {
  Bodies ordered;
  for (const std::string& body : before) {
    const auto at = std::find(found.begin(), found.end(), body);
    if (at == found.end()) continue;
    ordered.push_back(body);
    found.erase(at);
  }
  ordered.insert(ordered.end(), found.begin(), found.end());
  return ordered;
}

/// The dead one's operation happened or did not; of everything else there is exactly one.
std::string compare_after_reap(World& world, const Scenario& scenario, const Others& others) {
  Bodies rest;
  size_t lost = 0;
  for (const auto& [body, n] : others.taken) {
    const auto wanted = others.expected.find(body);
    if (n > (wanted == others.expected.end() ? 1 : wanted->second)) {
      return body + " was seen " + std::to_string(n) + " times";
    }
    if (wanted == others.expected.end()) rest.push_back(body);
  }
  for (const auto& [body, n] : others.expected) lost += others.taken.count(body) == 0;
  const uint64_t drops = world.queue().counts().drops;
  if (lost > drops) return "lost " + std::to_string(lost) + " messages of the others";
  const Bodies after = in_order(world.before(), rest);
  // With drops on purpose any of them may be gone, but for each the queue has counted one.
  if (drops == 0 && !scenario.allowed(world.before(), after)) return "not the messages there were";
  const size_t known = world.before().size() + static_cast<size_t>(scenario.adds);
  if (after.size() > known) return "more than there were";
  if (after.size() + drops + 1 < world.before().size()) return "fewer than there were";
  return "";
}

class StepFreezeReaper : public StepFreeze {};

TEST_P(StepFreezeReaper, OthersGoOnAndTheRepairIsCompleted) {
  const test::Watchdog watchdog("a reaper stopped at any step", 1200);
  const auto start = std::chrono::steady_clock::now();
  const bool all = std::getenv("HEDDLE_LONG") != nullptr;
  const Scenario scenario = scenarios()[GetParam()];
  World world(scenario);
  std::vector<World::Image> deaths;
  {
    SteppedChild victim([&] {
      return static_cast<int>(scenario.operate(world.queue(), world.victim(), world.report()));
    });
    uint64_t last = world.hash();
    do {
      if (!deaths.empty() && world.hash() == last) continue;
      last = world.hash();
      deaths.push_back(world.save());
    } while (victim.step());
  }
  const auto repair = [&] {
    world.reap_victim(kReaper);
    return 0;
  };
  const size_t stride = all ? 1 : deaths.size() / 2 + 1;
  size_t stopped = 0;
  for (size_t death = 0; death < deaths.size(); ++death) {
    const bool sampled = (deaths.size() - 1 - death) % stride == 0;
    // For the others, a third of them by default, a reaper that comes late, when the dead one's
    // slot has been used again.
    if (!sampled && !all && death % 3 != GetParam() % 3) continue;
    world.restore(deaths[death]);
    std::vector<uint64_t> stops{0};
    if (sampled) stops = stops_of(world, repair);
    const size_t every = all ? 1 : stops.size() / 5 + 1;
    for (size_t i = GetParam() % every; i < stops.size(); i += every) {
      SCOPED_TRACE(std::string(scenario.name) + ", dead in state " + std::to_string(death) +
                   ", reaper stopped after " + std::to_string(stops[i]));
      world.restore(deaths[death]);
      SteppedChild reaper(repair);
      while (reaper.steps() < stops[i] && reaper.step()) {
      }
      Others others(world);
      ASSERT_EQ(others.laps(2 * 3 * kSlotsPerSegment), "");
      ASSERT_EQ(reaper.finish(5000), 0) << "the resumed repair hangs";
      others.drain();
      // Others were at the slot before the reaper looked: then the totals are too high until the
      // queue is idle, see proto/shm/decisions/0005.
      Actor idle = world.newcomer(23);
      world.queue().settle(idle);
      world.queue().leave(idle);
      ASSERT_STREQ(world.queue().audit(), nullptr);
      ASSERT_EQ(world.queue().usage().owned_chunks, 0u) << "a chunk is leaked";
      ASSERT_EQ(world.queue().counts().leased, 0u) << "a lease is left";
      ASSERT_EQ(compare_after_reap(world, scenario, others), "");
      ASSERT_EQ(world.use_fully(), "");
      ++stopped;
    }
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("shown: frozen reaper; %s; %zu deaths, %zu stops, %.2f s\n", scenario.name,
              deaths.size(), stopped, seconds);
}

class StepPurge : public StepFreeze {};

/// Scenarios that end what they lease. Whoever still holds something at the end keeps it until it
/// dies.
std::vector<size_t> lease_enders() {
  std::vector<size_t> found;
  const std::vector<Scenario> all = scenarios();
  for (size_t i = 0; i < all.size(); ++i)
    if (std::string(all[i].name).rfind("lease and ", 0) == 0) found.push_back(i);
  return found;
}

TEST_P(StepPurge, APurgeOfWhatItHoldsLeavesNothingBehind) {
  const Scenario scenario = scenarios()[GetParam()];
  World world(scenario);
  const auto body = [&] {
    return static_cast<int>(scenario.operate(world.queue(), world.victim(), world.report()));
  };
  for (const uint64_t stop : stops_of(world, body)) {
    SCOPED_TRACE(std::string(scenario.name) + ", stopped after " + std::to_string(stop));
    world.restore();
    SteppedChild child(body);
    while (child.steps() < stop && child.step()) {
    }
    Actor other = world.newcomer(21);
    uint64_t purged = 0;
    ASSERT_EQ(world.queue().purge(other, kAllMask, &purged), Outcome::kOk);
    ASSERT_GE(child.finish(5000), 0) << "the resumed operation hangs";
    ASSERT_EQ(world.queue().purge(other, kAllMask, &purged), Outcome::kOk);
    ASSERT_EQ(world.queue().counts().revoked, 0u);
    ASSERT_STREQ(world.queue().audit(), nullptr);
  }
}

std::string name_of(const ::testing::TestParamInfo<size_t>& p) {
  std::string name = scenarios()[p.param].name;
  for (char& c : name)
    if (!isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(Queue, StepFreeze, ::testing::Range<size_t>(0, scenarios().size()),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Queue, StepFreezeReaper, ::testing::Range<size_t>(0, scenarios().size()),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Queue, StepPurge, ::testing::ValuesIn(lease_enders()), name_of);

}  // namespace
}  // namespace heddle::shm
