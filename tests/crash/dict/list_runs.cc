// What the step tests of lists do with a scenario; one scenario per operation and path.
#include <algorithm>
#include <unordered_set>

#include "tests/crash/dict/list_stage.h"
#include "tests/support/states.h"

namespace heddle::shm {
namespace {

using test::states_of;
using test::SteppedChild;

std::string complaint(const ListScenario& s, const char* what, uint64_t n,
                      const std::string& wrong) {
  return std::string(s.name) + ", " + what + " " + std::to_string(n) + ": " + wrong;
}

size_t stride_for(size_t all, size_t most) {
  if (most == 0) return all + 1;
  return all > most ? (all + most - 1) / most : 1;
}

std::function<int()> body_of(ListStage& stage) {
  return [&stage] { return static_cast<int>(stage.operate()); };
}

/// Two who change the list while somebody is stopped; every revision is theirs or the stopped
/// one's.
class ListOthers {
 public:
  explicit ListOthers(ListStage& stage)
      : stage_(stage), a_(stage.newcomer(21)), b_(stage.newcomer(22)) {}

  std::string laps(int n) {
    for (int i = 0; i < n; ++i) {
      const ListStep step{i % 4 == 1   ? ListOp::kSet
                          : i % 4 == 3 ? ListOp::kRemove
                                       : ListOp::kInsert,
                          i % 3 == 0 ? -1 : i * 11 % 40, "other's " + std::to_string(i) + "."};
      ListWritten w;
      const Outcome outcome = perform(stage_.list(), i % 2 ? a_ : b_, step, &w);
      if (outcome == Outcome::kOk) log_.push_back({w.revision, step});
      if (outcome != Outcome::kOk && outcome != Outcome::kOutOfRange &&
          outcome != Outcome::kEmpty) {
        return "others get " + std::to_string(static_cast<int>(outcome)) + "; ";
      }
    }
    return "";
  }

  /// All changes by revision, the victim's where one is missing, give what is there.
  std::string replay() {
    stage_.list().leave(a_);
    stage_.list().leave(b_);
    std::vector<std::string> now = stage_.before();
    uint64_t revision = stage_.revision();
    size_t next = 0;
    const auto catch_up = [&](uint64_t to) {
      for (++revision; revision < to; ++revision) {
        if (next == stage_.steps().size()) return false;
        apply(stage_.steps()[next++], &now);
      }
      return true;
    };
    for (const auto& [r, step] : log_) {
      if (!catch_up(r)) return "a revision is nobody's; ";
      apply(step, &now);
    }
    ListAudit audit(stage_.list());
    std::string wrong = audit.run();
    if (!catch_up(audit.revision() + 1)) wrong += "a revision at the end is nobody's; ";
    if (audit.values() != now) wrong += "other elements than by replay; ";
    return wrong;
  }

 private:
  ListStage& stage_;
  ListActor a_, b_;
  std::vector<std::pair<uint64_t, ListStep>> log_;
};

}  // namespace

std::string run_killed(const ListScenario& scenario, const ListSample& most, ListFigures* f) {
  ListStage stage(scenario);
  if (!stage.unsound().empty()) return complaint(scenario, "kills", 0, stage.unsound());
  const uint64_t before = f->points;
  const std::vector<ListStage::Image> images =
      states_of(stage, body_of(stage), &f->points, &f->states, most.images());
  const uint64_t steps = f->points - before;
  std::unordered_set<uint64_t> seen;
  const size_t stride = stride_for(images.size(), most.states);
  for (size_t i = images.size() % stride; i < images.size(); i += stride) {
    stage.restore(images[i]);
    seen.insert(stage.hash());
    stage.reap_all(kListReaper, i % 2 == 0);
    const std::string wrong = stage.check_after_death();
    if (!wrong.empty()) return complaint(scenario, "state", i, wrong);
  }
  const uint64_t every = stride_for(steps, most.kills);
  for (uint64_t k = steps % every; k < steps; k += every) {
    stage.restore();
    {
      SteppedChild child(body_of(stage));
      for (uint64_t i = 0; i < k && child.step(); ++i) {
      }
      child.kill();
    }
    ++f->kills;
    if (!seen.insert(stage.hash()).second) continue;
    ++f->states;
    stage.reap_all(kListReaper);
    const std::string wrong = stage.check_after_death();
    if (!wrong.empty()) return complaint(scenario, "killed after", k, wrong);
  }
  return "";
}

std::string run_reaper_killed(const ListScenario& scenario, const ListSample& most,
                              ListFigures* f) {
  ListStage stage(scenario);
  if (!stage.unsound().empty()) return complaint(scenario, "kills", 0, stage.unsound());
  ListFigures ignored;
  const std::vector<ListStage::Image> images =
      states_of(stage, body_of(stage), &ignored.points, &ignored.states, most.images());
  const size_t stride = stride_for(images.size(), most.victims);
  for (size_t i = stride / 2; i < images.size(); i += stride) {
    stage.restore(images[i]);
    const auto reap = [&] {
      stage.reap_all(kListReaper);
      return 0;
    };
    const std::vector<ListStage::Image> halves =
        states_of(stage, reap, &f->points, &f->states, most.images());
    const size_t step = stride_for(halves.size(), most.states);
    for (size_t half = halves.size() % step; half < halves.size(); half += step) {
      stage.restore(halves[half]);
      ListActor second = stage.newcomer(kListReaper2);
      if (half % 2 == 0) stage.list().reap(second, kListReaper);
      if (half % 4 < 2) stage.list().reap(second, kListSecond);
      stage.list().reap(second, kListVictim);
      stage.list().reap(second, kListSecond);
      stage.list().reap(second, kListReaper);
      stage.list().leave(second);
      const std::string wrong = stage.check_after_death();
      if (!wrong.empty()) {
        return complaint(scenario, "victim state", i,
                         "reaper state " + std::to_string(half) + ": " + wrong);
      }
    }
  }
  return "";
}

std::string run_overtaken(const ListScenario& scenario, const ListSample& most, ListFigures* f) {
  ListStage stage(scenario);
  if (!stage.unsound().empty()) return complaint(scenario, "kills", 0, stage.unsound());
  const ListStep other{ListOp::kInsert, 5, "other's."};
  std::vector<std::vector<std::string>> may{stage.before()};
  apply(other, &may[0]);
  for (const ListStep& step : stage.steps()) {
    may.push_back(may.back());
    apply(step, &may.back());
  }
  std::vector<ListStage::Image> images;
  {
    SteppedChild child(body_of(stage));
    while (!ListAudit::is_announced(stage.list()) && child.step()) {
    }
    ListWritten w;
    ListActor a = stage.newcomer(21);
    if (perform(stage.list(), a, other, &w) != Outcome::kOk) return "the other is refused";
    stage.list().leave(a);
    std::unordered_set<uint64_t> seen;
    do {
      ++f->points;
      if (seen.insert(stage.hash()).second) images.push_back(stage.save());
    } while (child.step());
  }
  f->states += images.size();
  const size_t stride = stride_for(images.size(), most.states);
  for (size_t i = images.size() % stride; i < images.size(); i += stride) {
    stage.restore(images[i]);
    stage.reap_all(kListReaper);
    ListAudit audit(stage.list());
    std::string wrong = audit.run();
    if (std::find(may.begin(), may.end(), audit.values()) == may.end()) {
      wrong += "the elements are neither those before nor those after; ";
    }
    if (wrong.empty()) wrong = stage.use_fully();
    if (!wrong.empty()) return complaint(scenario, "overtaken, state", i, wrong);
  }
  return "";
}

std::string run_frozen(const ListScenario& scenario, const ListSample& most, ListFigures* f) {
  ListStage stage(scenario);
  if (!stage.unsound().empty()) return complaint(scenario, "kills", 0, stage.unsound());
  std::vector<uint64_t> stops{0};
  {
    SteppedChild child(body_of(stage));
    for (uint64_t last = stage.hash(); child.step();) {
      const uint64_t now = stage.hash();
      if (now != last) stops.push_back(child.steps());
      last = now;
    }
    // One that stores nothing is stopped anywhere.
    for (uint64_t k = 1; stops.size() == k && k < child.steps(); ++k) stops.push_back(k);
  }
  const size_t every = stride_for(stops.size(), most.stops);
  for (size_t i = stops.size() % every; i < stops.size(); i += every) {
    stage.restore();
    SteppedChild child(body_of(stage));
    while (child.steps() < stops[i] && child.step()) {
    }
    ++f->freezes;
    f->points += stops[i];
    ListOthers others(stage);
    std::string wrong = others.laps(120);
    const int status = child.finish(5000);
    if (status < 0) wrong += "the resumed operation hangs; ";
    if (status == static_cast<int>(Outcome::kCorrupt)) wrong += "the resumed one says corrupt; ";
    stage.reap_all(kListReaper);
    if (wrong.empty()) wrong = others.laps(20);
    wrong += others.replay();
    if (wrong.empty()) wrong = stage.use_fully();
    if (!wrong.empty()) return complaint(scenario, "stopped after", stops[i], wrong);
  }
  return "";
}

namespace {

void fill(ListStage& s, int n, const std::string& value = "the value of one.") {
  for (int i = 0; i < n; ++i) {
    EXPECT_EQ(append(s.list(), s.other(), "k" + std::to_string(i) + value), Outcome::kOk);
  }
}

std::function<void(ListStage&)> filled(int n, bool warm = true) {
  return [n, warm](ListStage& s) {
    fill(s, n);
    for (int i = 0; warm && i < 3; ++i) {
      EXPECT_EQ(append(s.list(), s.victim(), "warm up."), Outcome::kOk);
      EXPECT_EQ(pop(s.list(), s.victim()), Outcome::kOk);
    }
  };
}

/// The second stops when its change is visible, or, `early`, when its head is in its journal.
std::function<void(ListStage&)> beside(int n, const ListStep& step, bool early) {
  return [n, step, early](ListStage& s) {
    fill(s, n);
    const uint64_t revision = s.list().revision();
    s.interrupt(step, [revision, early](List& l) {
      return early ? ListAudit::is_announced(l) : l.revision() > revision;
    });
  };
}

}  // namespace

std::vector<ListScenario> list_scenarios() {
  const ListStep append_one{ListOp::kInsert, kListEnd, "victim's."},
      pop_last{ListOp::kRemove, -1, ""};
  const ListStep in_tree{ListOp::kInsert, 20, "victim's."},
      set_in_tree{ListOp::kSet, 20, "victim's."};
  const ListStep pop_in_tree{ListOp::kRemove, 20, ""}, clear{ListOp::kClear, 0, ""};
  const std::string large(100'000, 'L');
  std::vector<ListScenario> all;
  all.push_back({"append, cold", filled(17, false), {append_one}});
  all.push_back({"append", filled(17), {append_one}});
  all.push_back({"append to an empty list", filled(0), {append_one}});
  all.push_back({"append that makes a tree", filled(26), {append_one}});
  all.push_back({"append that makes a level", filled(52), {append_one}});
  all.push_back({"append that splits the level", filled(26 * 20), {append_one}});
  all.push_back({"set", filled(17), {{ListOp::kSet, 3, "victim's."}}});
  all.push_back({"set in the tree", filled(100), {set_in_tree}});
  all.push_back({"set, cold", filled(600, false), {set_in_tree}});
  all.push_back({"insert", filled(17), {{ListOp::kInsert, 3, "victim's."}}});
  all.push_back({"insert in the tree", filled(100), {in_tree}});
  all.push_back({"insert that splits up to the top", filled(26 * 20), {in_tree}});
  all.push_back({"pop", filled(17), {pop_last}});
  all.push_back({"pop, cold", filled(17, false), {pop_last}});
  all.push_back({"pop the only one", filled(1), {pop_last}});
  all.push_back({"pop that takes a leaf", filled(27), {pop_last, pop_last, append_one}});
  all.push_back({"pop in the tree", filled(100), {pop_in_tree}});
  all.push_back({"pops that merge",
                 [](ListStage& s) {
                   filled(100)(s);
                   for (int i = 0; i < 40; ++i) pop(s.list(), s.other(), 4);
                 },
                 {{ListOp::kRemove, 0, ""}, {ListOp::kRemove, 0, ""}}});
  all.push_back({"pop of nothing", filled(0), {pop_last}});
  all.push_back({"clear", filled(60), {clear}});
  all.push_back({"append of a large value", filled(3), {{ListOp::kInsert, kListEnd, large}}});
  all.push_back({"set of a large value",
                 [large](ListStage& s) {
                   fill(s, 3);
                   EXPECT_EQ(append(s.list(), s.other(), large), Outcome::kOk);
                 },
                 {{ListOp::kSet, 3, large}, {ListOp::kRemove, 3, ""}}});
  all.push_back({"memory is exhausted",
                 [large](ListStage& s) {
                   fill(s, 5);
                   while (append(s.list(), s.other(), large) == Outcome::kOk) {
                   }
                 },
                 {{ListOp::kInsert, kListEnd, large}},
                 14});
  all.push_back({"pop when memory is exhausted",
                 [](ListStage& s) {
                   while (append(s.list(), s.other(), "one of many.") == Outcome::kOk) {
                   }
                 },
                 {pop_in_tree},
                 8});
  all.push_back({"append over a stopped one", beside(17, append_one, false), {append_one}});
  all.push_back({"append beside a stopped one", beside(17, append_one, true), {append_one}});
  all.push_back({"pop over a stopped clear", beside(60, clear, false), {append_one, pop_last}});
  all.push_back({"pop beside a stopped set", beside(100, set_in_tree, true), {pop_in_tree}});
  all.push_back({"page", filled(60), {}});
  return all;
}

}  // namespace heddle::shm
