// Kills a user of a pipe after every instruction of every operation, and the reaper in the middle
// of repairing it; stops it after every instruction that changed something.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <unordered_set>

#include "tests/crash/pipes/pipe_stage.h"
#include "tests/support/states.h"
#include "tests/support/watchdog.h"

namespace heddle::shm {
namespace {

using test::states_of;
using test::SteppedChild;

class PipeKill : public ::testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    const char* why;
    if (!test::can_step(&why)) {
      if (std::getenv("CI") != nullptr) FAIL() << why;
      GTEST_SKIP() << why;
    }
  }
  void report(const char* what, uint64_t points, uint64_t kills, uint64_t states) const {
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    std::printf("shown: %s; %s; %llu points, %llu kills, %llu states, %.2f s\n", what,
                scenario_.name, static_cast<unsigned long long>(points),
                static_cast<unsigned long long>(kills), static_cast<unsigned long long>(states),
                seconds);
  }

  const PipeScenario scenario_ = pipe_scenarios()[GetParam()];
  PipeStage stage_{scenario_};
  const std::function<int()> operate_ = [this] {
    return static_cast<int>(
        scenario_.operate(stage_.victim_end(), stage_.victim(), stage_.report()));
  };

 private:
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

size_t bytes_of(const Bodies& bodies) {
  size_t bytes = 0;
  for (const std::string& body : bodies) bytes += body.size();
  return bytes;
}

TEST_P(PipeKill, NothingIsLostOrLeftBehind) {
  uint64_t points = 0, kills = 0, distinct = 0;
  const auto images = states_of(stage_, operate_, &points, &distinct);
  for (size_t i = 0; i < images.size(); ++i) {
    stage_.restore(images[i]);
    stage_.reap_victim();
    ASSERT_EQ(stage_.check_after_death(), "") << scenario_.name << ", state " << i;
  }
  const uint64_t every = std::getenv("HEDDLE_LONG") != nullptr ? 1 : 16;
  std::unordered_set<uint64_t> seen;
  for (uint64_t k = GetParam() % every; points <= 2000 && k < points; k += every) {
    stage_.restore();
    {
      SteppedChild child(operate_);
      for (uint64_t i = 0; i < k && child.step(); ++i) {
      }
      child.kill();
    }
    ++kills;
    if (!seen.insert(stage_.hash()).second) continue;
    stage_.reap_victim();
    ASSERT_EQ(stage_.check_after_death(), "") << scenario_.name << ", killed after " << k;
  }
  report("client", points, kills, images.size());
}

// What the broker itself does. The next one is asked again, or finds the user dead.
TEST(PipeBrokerKill, AnInterruptedEntryIsFinishedOrTakenBack) {
  const char* why;
  if (!test::can_step(&why)) {
    if (std::getenv("CI") != nullptr) FAIL() << why;
    GTEST_SKIP() << why;
  }
  // Each kill steps there anew: half a million steps, at the pace of the machine.
  const test::Watchdog watchdog("an entry killed at any step", 300);
  for (const bool asked_again : {true, false}) {
    PipeActor sender = pipe_actor(kSharer), receiver = pipe_actor(kVictim);
    uint64_t points = 0;
    bool more = true;
    for (uint64_t stop = 0; more; ++stop, ++points) {
      PipeSegment fresh(small_pipe());
      Pipe near = fresh.enter(PipeSide::kA, kSharer), far = fresh.view(PipeSide::kB);
      ASSERT_EQ(send(near, sender, "sent before"), Outcome::kOk);
      {
        SteppedChild child([&] { return static_cast<int>(far.enter(kVictim)); });
        for (uint64_t i = 0; i < stop && more; ++i) more = child.step();
        child.kill();
      }
      if (!asked_again) {
        far.reap(kVictim, {77, 9});
        ASSERT_EQ(far.info(PipeSide::kB).user_count, 0u) << stop;
        continue;
      }
      ASSERT_EQ(far.enter(kVictim), Outcome::kOk) << stop;
      ASSERT_EQ(far.info(PipeSide::kB).user_count, 1u) << stop;
      ASSERT_EQ(far.info(PipeSide::kB).state, EndState::kOpen) << stop;
      ASSERT_EQ(receive(far, receiver), "sent before");
      far.leave(receiver);
      ASSERT_TRUE(far.ended(PipeSide::kB)) << stop;
    }
    EXPECT_GT(points, 50u);
  }
}

TEST_P(PipeKill, AReaperThatDiesIsFollowed) {
  uint64_t ignored = 0, points = 0, states = 0;
  const auto images = states_of(stage_, operate_, &ignored, &ignored);
  const size_t most = std::getenv("HEDDLE_LONG") != nullptr ? images.size() : 8;
  const size_t stride = images.size() > most ? images.size() / most : 1;
  for (size_t i = 0; i < images.size(); i += stride) {
    stage_.restore(images[i]);
    const auto halves = states_of(
        stage_,
        [this] {
          stage_.reap_victim();
          return 0;
        },
        &points, &states);
    for (size_t half = 0; half < halves.size(); ++half) {
      stage_.restore(halves[half]);
      stage_.reap_victim();
      ASSERT_EQ(stage_.check_after_death(), "")
          << scenario_.name << ", victim state " << i << ", reaper state " << half;
    }
  }
  report("reaper", points, 0, states);
}

TEST_P(PipeKill, AStoppedOneHoldsUpNobodyUnlessItHolds) {
  std::vector<uint64_t> stops{0};
  {
    SteppedChild child(operate_);
    for (uint64_t last = stage_.hash(); child.step();) {
      const uint64_t now = stage_.hash();
      if (now != last) stops.push_back(child.steps());
      last = now;
    }
  }
  for (const uint64_t stop : stops) {
    SCOPED_TRACE(std::string(scenario_.name) + ", stopped after " + std::to_string(stop));
    stage_.restore();
    SteppedChild child(operate_);
    while (child.steps() < stop && child.step()) {
    }
    Bodies sent, got;
    if (!scenario_.alone) {
      const bool sending = stage_.info(PipeSide::kA).sending == kVictim;
      const bool receiving = stage_.info(PipeSide::kB).receiving == kVictim;
      const bool shut = stage_.info(PipeSide::kA).shut;
      stage_.laps(200, &sent, &got);
      if (!sending && !receiving && !shut) {
        ASSERT_GT(sent.size(), 150u) << "others are held up by one that holds nothing";
      }
      if (!receiving) {
        ASSERT_GE(got.size(), sent.size()) << "what was sent does not come";
      }
    }
    ASSERT_GE(child.finish(5000), 0) << "the resumed operation hangs";
    Outcome last;
    if (!(scenario_.alone && scenario_.side == PipeSide::kB)) {
      for (std::string& body : stage_.drain(&last)) got.push_back(std::move(body));
    }
    stage_.reap_victim();
    ASSERT_STREQ(stage_.audit(), nullptr);
    if (scenario_.alone && scenario_.side == PipeSide::kB) continue;
    for (std::string& body : stage_.drain(&last)) got.push_back(std::move(body));
    // Each once: what there was, what the sharer sent, and what the victim did.
    const bool took = stage_.report()->took != 0;
    if (took) got.emplace_back(stage_.report()->body, stage_.report()->length);
    size_t theirs = 0, rest = 0;
    for (const std::string& body : got) {
      const bool known = std::find(sent.begin(), sent.end(), body) != sent.end();
      ++(known ? theirs : rest);
    }
    if (scenario_.mode == PipeMode::kBytes) {
      const size_t certain = bytes_of(sent) + bytes_of(stage_.before());
      ASSERT_GE(bytes_of(got) + (took ? 0 : scenario_.takes), certain);
      ASSERT_LE(bytes_of(got), certain + bytes_of(scenario_.sends));
      continue;
    }
    ASSERT_EQ(theirs, sent.size());
    const size_t most = stage_.before().size() + scenario_.sends.size();
    ASSERT_GE(rest + (took ? 0 : scenario_.takes), stage_.before().size());
    ASSERT_LE(rest, most);
  }
  report("freeze", stops.size(), 0, stops.size());
}

INSTANTIATE_TEST_SUITE_P(Pipe, PipeKill, ::testing::Range<size_t>(0, pipe_scenarios().size()),
                         [](const auto& p) {
                           std::string name = pipe_scenarios()[p.param].name;
                           for (char& c : name)
                             if (!isalnum(static_cast<unsigned char>(c))) c = '_';
                           return name;
                         });

}  // namespace
}  // namespace heddle::shm
