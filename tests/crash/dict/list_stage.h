// A list that can be put back into an earlier state, and the oracle of the step tests: the elements
// must be those before or those after, every word must fit to every other.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/unit/shm/list_audit.h"
#include "tests/unit/shm/list_fixture.h"

namespace heddle::shm {

inline constexpr uint16_t kListVictim = 5, kListSecond = 6, kListReaper = 9, kListReaper2 = 10;

class ListStage;

/// What is done to a list, so that a model can do it as well.
struct ListStep {
  ListOp op;
  int64_t index;
  std::string value;
};

struct ListScenario {
  const char* name;
  /// Brings the list into the state before; `second` may be left in the middle of something.
  std::function<void(ListStage&)> prepare;
  /// The victim's operation; kOk's outcome becomes the exit status. No steps: it reads.
  std::vector<ListStep> steps;
  uint32_t extents = 0;  // granted; 0: plenty
};

class ListStage {
 public:
  explicit ListStage(const ListScenario& scenario);

  List& list() { return segment_.list(); }
  ListActor& victim() { return victim_; }
  ListActor& other() { return other_; }
  const std::string& unsound() const { return unsound_; }

  /// `second` begins this and is stopped for good when `when` holds.
  void interrupt(const ListStep& what, const std::function<bool(List&)>& when);
  /// The scenario's operation; kCorrupt for a value that was never there.
  Outcome operate();

  using Image = std::vector<std::byte>;
  Image save();
  void restore(const Image& image);
  void restore() { restore(prepared_); }
  uint64_t hash();

  ListActor newcomer(uint16_t owner) { return segment_.actor(owner); }
  void reap_all(uint16_t reaper, bool second_first = false);
  /// Empty if every promise holds after the reap; the state is used up.
  std::string check_after_death();
  std::string use_fully();
  /// The elements and the revision at the beginning; with what `second` may have done.
  const std::vector<std::string>& before() const { return before_; }
  uint64_t revision() const { return revision_; }
  const std::vector<ListStep>& steps() const { return scenario_.steps; }

 private:
  struct Region {
    uint64_t at, bytes, hashed;
  };
  std::vector<Region> regions(uint32_t extents) const;

  ListScenario scenario_;
  ListSegment segment_;
  ListActor other_, victim_, second_;
  bool second_stopped_ = false;
  std::string unsound_;
  uint32_t extents_dirty_ = 0;
  Image prepared_;
  std::vector<std::string> before_;
  std::vector<std::vector<std::string>> after_;  // each step of the victim
  uint64_t revision_ = 0;
};

/// What a step does to a vector; false: it is refused.
bool apply(const ListStep& step, std::vector<std::string>* to);
Outcome perform(List& l, ListActor& a, const ListStep& step, ListWritten* out);

std::vector<ListScenario> list_scenarios();

struct ListSample {
  size_t states = SIZE_MAX, kills = SIZE_MAX, stops = SIZE_MAX, victims = SIZE_MAX;
  /// How many images are kept to choose from.
  size_t images() const { return states < kImagesMin ? kImagesMin : states; }
  static constexpr size_t kImagesMin = 128;
};
struct ListFigures {
  uint64_t points = 0, kills = 0, states = 0, freezes = 0;
};
std::string run_killed(const ListScenario& scenario, const ListSample& most, ListFigures* f);
std::string run_reaper_killed(const ListScenario& scenario, const ListSample& most, ListFigures* f);
/// Somebody else publishes when the victim is about to; the victim is killed after that.
std::string run_overtaken(const ListScenario& scenario, const ListSample& most, ListFigures* f);
std::string run_frozen(const ListScenario& scenario, const ListSample& most, ListFigures* f);

}  // namespace heddle::shm
