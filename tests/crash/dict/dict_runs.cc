// What the step tests do with a scenario.
#include <algorithm>
#include <unordered_set>

#include "tests/crash/dict/dict_stage.h"
#include "tests/support/states.h"

namespace heddle::shm {
namespace {

using test::states_of;
using test::SteppedChild;

std::string complaint(const DictScenario& s, const char* what, uint64_t n,
                      const std::string& wrong) {
  return std::string(s.name) + ", " + what + " " + std::to_string(n) + ": " + wrong;
}

/// Between samples; more than `all` for none.
size_t stride_for(size_t all, size_t most) {
  if (most == 0) return all + 1;
  return all > most ? (all + most - 1) / most : 1;
}

class Others {
 public:
  explicit Others(DictStage& stage)
      : stage_(stage), a_(stage.newcomer(21)), b_(stage.newcomer(22)) {
    for (const auto& [key, entry] : stage.before()) keys_.push_back(key);
    for (const auto& [key, entry] : stage.after()) keys_.push_back(key);
    keys_.push_back("others'");
  }

  /// Operations in turns, never waiting; the log is followed after each.
  std::string laps(int operations) {
    for (int i = 0; i < operations; ++i) {
      const std::string& key = keys_[static_cast<size_t>(i * 7) % keys_.size()];
      DictActor& actor = i % 2 ? a_ : b_;
      DictWritten w;
      const std::string value = "o" + std::to_string(i) + key + std::string(40, '.');
      const bool erase = i % 5 == 4;
      const Outcome outcome =
          erase ? drop(stage_.dict(), actor, key, &w) : put(stage_.dict(), actor, key, value, &w);
      const bool refused = outcome == Outcome::kFull || (erase && outcome == Outcome::kNotFound);
      if (outcome != Outcome::kOk && !refused) {
        return "others get " + std::to_string(static_cast<int>(outcome)) + " at " +
               std::to_string(i) + "; ";
      }
      if (std::string wrong = stage_.follow(&log_); !wrong.empty()) return wrong;
      if (outcome != Outcome::kOk) continue;
      const auto told = [&](const Change& c) {
        return c.revision == w.revision && c.key == key && (erase || c.value == value);
      };
      if (std::none_of(log_.rbegin(), log_.rend(), told)) {
        return "a change has not the revision that its writer was told; ";
      }
    }
    return "";
  }

  std::vector<Change>& log() { return log_; }
  void leave() {
    stage_.dict().leave(a_);
    stage_.dict().leave(b_);
  }

 private:
  DictStage& stage_;
  DictActor a_, b_;
  std::vector<std::string> keys_;
  std::vector<Change> log_;
};

}  // namespace

std::string run_killed(const DictScenario& scenario, const DictSample& most, DictFigures* f) {
  DictStage stage(scenario);
  if (!stage.unsound().empty()) return complaint(scenario, "kills", 0, stage.unsound());
  const auto body = [&] {
    return static_cast<int>(scenario.operate(stage.dict(), stage.victim()));
  };
  const uint64_t before = f->points;
  const std::vector<DictStage::Image> images =
      states_of(stage, body, &f->points, &f->states, most.images());
  const uint64_t steps = f->points - before;
  std::unordered_set<uint64_t> seen;
  const size_t stride = stride_for(images.size(), most.states);
  for (size_t i = images.size() % stride; i < images.size(); i += stride) {
    stage.restore(images[i]);
    seen.insert(stage.hash());
    stage.reap_all(kReaper, i % 2 == 0);
    const std::string wrong = stage.check_after_death();
    if (!wrong.empty()) return complaint(scenario, "state", i, wrong);
  }
  const uint64_t every = stride_for(steps, most.kills);
  for (uint64_t k = steps % every; k < steps; k += every) {
    stage.restore();
    {
      SteppedChild child(body);
      for (uint64_t i = 0; i < k && child.step(); ++i) {
      }
      child.kill();
    }
    ++f->kills;
    if (!seen.insert(stage.hash()).second) continue;
    ++f->states;
    stage.reap_all(kReaper);
    const std::string wrong = stage.check_after_death();
    if (!wrong.empty()) return complaint(scenario, "killed after", k, wrong);
  }
  return "";
}

std::string run_reaper_killed(const DictScenario& scenario, const DictSample& most,
                              DictFigures* f) {
  DictStage stage(scenario);
  if (!stage.unsound().empty()) return complaint(scenario, "kills", 0, stage.unsound());
  DictFigures ignored;
  const std::vector<DictStage::Image> images = states_of(
      stage, [&] { return static_cast<int>(scenario.operate(stage.dict(), stage.victim())); },
      &ignored.points, &ignored.states, most.images());
  const size_t first = images.size() * most.victims_from / 100;
  const size_t stride = stride_for(images.size() - first, most.victims);
  for (size_t i = first + stride / 2; i < images.size(); i += stride) {
    stage.restore(images[i]);
    const std::vector<DictStage::Image> halves = states_of(
        stage,
        [&] {
          stage.reap_all(kReaper);
          return 0;
        },
        &f->points, &f->states, most.images());
    const size_t step = stride_for(halves.size(), most.states);
    for (size_t half = halves.size() % step; half < halves.size(); half += step) {
      stage.restore(halves[half]);
      DictActor second = stage.newcomer(kSecondReaper);
      const bool reaper_first = half % 2 == 0;
      if (reaper_first) stage.dict().reap(second, kReaper);
      if (half % 4 < 2) stage.dict().reap(second, kSecond);
      stage.dict().reap(second, kVictim);
      stage.dict().reap(second, kSecond);
      if (!reaper_first) stage.dict().reap(second, kReaper);
      stage.dict().leave(second);
      const std::string wrong = stage.check_after_death();
      if (!wrong.empty()) {
        return complaint(scenario, "victim state", i,
                         "reaper state " + std::to_string(half) + ": " + wrong);
      }
    }
  }
  return "";
}

std::string run_two_reapers(const DictScenario& scenario, const DictSample& most, DictFigures* f) {
  DictStage stage(scenario);
  if (!stage.unsound().empty()) return complaint(scenario, "kills", 0, stage.unsound());
  DictFigures ignored;
  const std::vector<DictStage::Image> images = states_of(
      stage, [&] { return static_cast<int>(scenario.operate(stage.dict(), stage.victim())); },
      &ignored.points, &ignored.states, most.images());
  const size_t stride = stride_for(images.size(), most.victims);
  const auto reap = [&] {
    stage.reap_all(kReaper);
    return 0;
  };
  for (size_t i = stride / 2; i < images.size(); i += stride) {
    stage.restore(images[i]);
    uint64_t steps = 0;
    {
      SteppedChild whole(reap);
      while (whole.step()) ++steps;
    }
    const uint64_t every = stride_for(steps, most.stops);
    for (uint64_t k = steps % every; k < steps; k += every) {
      stage.restore(images[i]);
      SteppedChild first(reap);
      while (first.steps() < k && first.step()) {
      }
      ++f->freezes;
      stage.reap_all(kSecondReaper, k % 2 == 0);
      if (first.finish(5000) < 0) return complaint(scenario, "victim state", i, "a reaper hangs");
      const std::string wrong = stage.check_after_death();
      if (!wrong.empty()) {
        return complaint(scenario, "victim state", i,
                         "reaper stopped after " + std::to_string(k) + ": " + wrong);
      }
    }
  }
  return "";
}

namespace {

/// Instructions after which the memory was different.
std::vector<uint64_t> stops_of(DictStage& stage, const std::function<int()>& body,
                               const DictSample& most) {
  std::vector<uint64_t> stops{0};
  const auto& place = stage.dict().memory().row(stage.victim().row).journal.hplace;
  const uint64_t place_before = place.load();
  SteppedChild child(body);
  for (uint64_t last = stage.hash(); child.step();) {
    const uint64_t now = stage.hash();
    if (now != last) stops.push_back(child.steps());
    last = now;
    if (most.before_history == 0 || place.load() == place_before) continue;
    stops.clear();
    for (uint64_t k = 0; k < most.before_history && k < child.steps(); k += 6) {
      stops.push_back(child.steps() - k);
    }
    break;
  }
  // One that stores nothing is stopped anywhere.
  for (uint64_t k = 1; stops.size() == k && k < child.steps(); ++k) stops.push_back(k);
  return stops;
}

}  // namespace

std::string run_frozen(const DictScenario& scenario, const DictSample& most, DictFigures* f) {
  DictStage stage(scenario);
  if (!stage.unsound().empty()) return complaint(scenario, "kills", 0, stage.unsound());
  const auto body = [&] {
    return static_cast<int>(scenario.operate(stage.dict(), stage.victim()));
  };
  const std::vector<uint64_t> stops = stops_of(stage, body, most);
  const size_t every = stride_for(stops.size(), most.stops);
  for (size_t i = stops.size() % every; i < stops.size(); i += every) {
    stage.restore();
    SteppedChild child(body);
    while (child.steps() < stops[i] && child.step()) {
    }
    ++f->freezes;
    f->points += stops[i];
    std::string wrong = i % 3 == 0 ? stage.help() : "";
    Others others(stage);
    wrong += others.laps(120);
    const int status = child.finish(5000);
    if (status < 0) wrong += "the resumed operation hangs; ";
    if (status == static_cast<int>(Outcome::kCorrupt)) wrong += "the resumed one says corrupt; ";
    wrong += stage.follow(&others.log());
    stage.reap_all(kReaper);
    wrong += stage.follow(&others.log());
    if (wrong.empty()) wrong += others.laps(20);
    others.leave();
    wrong += stage.replay(others.log());
    size_t times = 0;
    for (const Change& c : others.log()) times += c.value == "victim's";
    if (times > 1) wrong += "the victim's change is there twice; ";
    if (wrong.empty()) wrong = stage.use_fully();
    if (!wrong.empty()) return complaint(scenario, "stopped after", stops[i], wrong);
  }
  return "";
}

}  // namespace heddle::shm
