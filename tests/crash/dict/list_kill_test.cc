// Kills a client after every instruction of every list operation and of a block's write, and the
// reaper in the middle of repairing it; stops clients while others go on. By default a sample;
// everything with HEDDLE_LONG.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "proto/shm/futex.h"
#include "tests/crash/dict/list_stage.h"
#include "tests/support/stepper.h"
#include "tests/support/watchdog.h"
#include "tests/unit/shm/block_fixture.h"

namespace heddle::shm {
namespace {

bool long_run() { return std::getenv("HEDDLE_LONG") != nullptr; }

class ListKill : public ::testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    const char* why;
    if (!test::can_step(&why)) {
      if (std::getenv("CI") != nullptr) FAIL() << why;
      GTEST_SKIP() << why;
    }
  }
};

ListSample sample() {
  return long_run() ? ListSample{} : ListSample{.states = 16, .kills = 1, .stops = 2, .victims = 1};
}

class ListReaperKill : public ListKill {};
class ListFreeze : public ListKill {};
class BlockKill : public ListKill {};

void report(const char* what, const char* scenario, const ListFigures& f, int64_t start_ns) {
  std::printf("shown: list, %s; %s; %llu points, %llu kills, %llu states, %llu freezes, %.2f s\n",
              what, scenario, static_cast<unsigned long long>(f.points),
              static_cast<unsigned long long>(f.kills), static_cast<unsigned long long>(f.states),
              static_cast<unsigned long long>(f.freezes),
              static_cast<double>(monotonic_ns() - start_ns) / 1e9);
}

using Run = std::string (*)(const ListScenario&, const ListSample&, ListFigures*);

void show(const char* what, size_t scenario, Run run) {
  test::Watchdog dog("list steps", long_run() ? 1800 : 60);
  const int64_t start_ns = monotonic_ns();
  const ListScenario s = list_scenarios()[scenario];
  ListFigures f;
  EXPECT_EQ(run(s, sample(), &f), "");
  report(what, s.name, f, start_ns);
}

TEST_P(ListKill, ClientLosesNothing) { show("client", GetParam(), run_killed); }
TEST_P(ListReaperKill, AnotherGoesOn) { show("reaper", GetParam(), run_reaper_killed); }
TEST_P(ListFreeze, OthersGoOnAndTheLateOneHarmsNothing) { show("freeze", GetParam(), run_frozen); }

/// Some change of each kind loses its CAS.
TEST_P(ListReaperKill, WhoLosesTheRaceIsKilled) {
  const ListScenario s = list_scenarios()[GetParam()];
  if (s.steps.empty() || s.extents != 0 || s.steps[0].index == -1) return;
  show("overtaken", GetParam(), run_overtaken);
}

std::string name_of(const ::testing::TestParamInfo<size_t>& p) {
  std::string name = list_scenarios()[p.param].name;
  for (char& c : name)
    if (!isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

std::vector<size_t> all_or_third() {
  std::vector<size_t> some;
  const size_t all = list_scenarios().size();
  for (size_t i = 0; i < all; i += long_run() ? 1 : 3) some.push_back(i);
  return some;
}

/// Others need memory.
std::vector<size_t> with_memory() {
  std::vector<size_t> some;
  const std::vector<ListScenario> all = list_scenarios();
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].extents == 0) some.push_back(i);
  }
  return some;
}

INSTANTIATE_TEST_SUITE_P(List, ListKill, ::testing::Range<size_t>(0, list_scenarios().size()),
                         name_of);
INSTANTIATE_TEST_SUITE_P(List, ListReaperKill, ::testing::ValuesIn(all_or_third()), name_of);
INSTANTIATE_TEST_SUITE_P(List, ListFreeze, ::testing::ValuesIn(with_memory()), name_of);

// ---- blocks ----

constexpr uint64_t kAt = 100, kBytes = 64;

/// What a reader may see after a writer of 'n' over 'o' has died: all old, all new, or torn.
std::string judge(Block& b) {
  char to[300];
  uint64_t version;
  const Outcome outcome = b.read(0, to, sizeof to, kTry, &version);
  if (outcome == Outcome::kTorn) {
    const BlockInfo i = b.info();
    if (i.torn_at != kAt || i.torn_end != kAt + kBytes) return "another range is torn";
  } else if (outcome != Outcome::kOk) {
    return "a read says " + std::to_string(static_cast<int>(outcome));
  }
  const std::string all(to, sizeof to), range = all.substr(kAt, kBytes);
  const bool whole = range == std::string(kBytes, 'o') || range == std::string(kBytes, 'n');
  if (outcome == Outcome::kOk && !whole) return "a torn copy is called whole";
  if (all.substr(0, kAt) != std::string(kAt, 'o')) return "bytes before it have changed";
  if (all.substr(kAt + kBytes) != std::string(300 - kAt - kBytes, 'o')) return "bytes behind it";
  BlockActor next = block_actor(8);
  if (b.write(next, 0, std::string(300, 'x').data(), 300, kTry, &version) != Outcome::kOk) {
    return "the next write is refused";
  }
  return b.read(0, to, sizeof to, kTry, &version) == Outcome::kOk ? "" : "still torn";
}

TEST_P(BlockKill, WhatIsTornIsTold) {
  const bool reaper = GetParam() == 1;
  BlockSegment s(300);
  Block& b = s.block();
  BlockActor other = block_actor(8), victim = block_actor(7);
  uint64_t version;
  ASSERT_EQ(b.write(other, 0, std::string(300, 'o').data(), 300, kTry, &version), Outcome::kOk);
  const std::vector<std::byte> before(s.base(), s.base() + s.bytes());
  const auto restore = [&] { std::memcpy(s.base(), before.data(), before.size()); };
  char fresh[kBytes];
  std::memset(fresh, 'n', sizeof fresh);
  uint64_t torn = 0, kills = 0;
  const auto body = [&] {
    // By single bytes, so that it can be stopped between any two.
    if (b.begin(victim, kAt, kBytes, kTry) != Outcome::kOk) return 1;
    auto* to = reinterpret_cast<volatile char*>(b.data()) + kAt;
    for (uint64_t i = 0; i < kBytes; ++i) to[i] = fresh[i];
    return static_cast<int>(b.end(victim, &version));
  };
  const auto die_after = [&](uint64_t k, const std::function<int()>& what) {
    test::SteppedChild child(what);
    while (child.steps() < k && child.step()) {
    }
    const bool ended = child.steps() < k;
    child.kill();
    return ended;
  };
  bool ended = false;
  for (uint64_t k = 0; !ended; k += long_run() ? 1 : 7) {
    restore();
    ended = die_after(k, body);
    ++kills;
    if (!reaper) {
      b.reap(7);
      torn += b.info().torn;
      ASSERT_EQ(judge(b), "") << "killed after " << k;
      continue;
    }
    if (k % 49 != 0) continue;
    const std::vector<std::byte> dead(s.base(), s.base() + s.bytes());
    bool reaped = false;
    for (uint64_t r = 0; !reaped; r += long_run() ? 1 : 5) {
      std::memcpy(s.base(), dead.data(), dead.size());
      reaped = die_after(r, [&] { return static_cast<int>(b.reap(7)); });
      b.reap(7);
      torn += b.info().torn;
      ASSERT_EQ(judge(b), "") << "killed after " << k << ", its reaper after " << r;
    }
  }
  EXPECT_GT(torn, 0u);
  std::printf("shown: block, %s; %llu kills, %llu torn and told\n", reaper ? "reaper" : "writer",
              static_cast<unsigned long long>(kills), static_cast<unsigned long long>(torn));
}

INSTANTIATE_TEST_SUITE_P(Block, BlockKill, ::testing::Values<size_t>(0, 1));

}  // namespace
}  // namespace heddle::shm
