// A dict that can be put back into an earlier state, and the oracle of the step tests: what the
// entries and the history must be after a death, by replay.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/unit/shm/dict_audit.h"
#include "tests/unit/shm/dict_fixture.h"

namespace heddle::shm {

inline constexpr int64_t kLongPast = 1;  // an expiry
inline constexpr uint16_t kVictim = 5, kSecond = 6, kReaper = 9, kSecondReaper = 10, kHelper = 23;

class DictStage;

struct DictScenario {
  const char* name;
  /// Brings the dict into the state before; `second` may be left in the middle of something.
  std::function<void(DictStage&)> prepare;
  /// The operation, in the victim's process; its result becomes the exit status.
  std::function<Outcome(Dict&, DictActor&)> operate;
  uint64_t hash_mask = ~uint64_t{0};
  uint32_t extents = 0;  // granted; 0: plenty
  bool keep_previous = true;
  std::function<void(DictLimits*)> limits = nullptr;
};

struct Change {
  uint64_t revision;
  std::string key, value;
  uint8_t kind;
  std::string previous;
  friend bool operator==(const Change&, const Change&) = default;
};

class DictStage {
 public:
  explicit DictStage(const DictScenario& scenario);

  Dict& dict() { return segment_.dict(); }
  DictActor& victim() { return victim_; }
  DictActor& second() { return second_; }
  DictActor& other() { return other_; }
  const DictScenario& scenario() const { return scenario_; }
  /// What was wrong even before anybody was killed; for the runs to report.
  const std::string& unsound() const { return unsound_; }

  /// `second` begins this and is stopped for good as soon as `when` holds.
  void interrupt(const std::function<void(Dict&, DictActor&)>& what,
                 const std::function<bool(Dict&)>& when);

  using Image = std::vector<std::byte>;
  Image save();
  void restore(const Image& image);
  void restore() { restore(prepared_); }
  uint64_t hash();

  DictActor newcomer(uint16_t owner) { return segment_.actor(owner); }
  /// What the broker does for a stopped thread; then nothing that is seen lacks its revision.
  std::string help();
  /// Whoever was in the middle of something when the victim died.
  void reap_all(uint16_t reaper, bool second_first = false);
  /// Empty if every promise holds after the reap; the state is used up.
  std::string check_after_death();
  std::string use_fully();

  /// Reads what changed since `log` ends; a complaint or nothing. At least every 16 changes.
  std::string follow(std::vector<Change>* log);
  /// What was there at first, and all changes since, are what is there now.
  std::string replay(const std::vector<Change>& log);

  const std::map<std::string, AuditedEntry>& before() const { return before_; }
  const std::map<std::string, AuditedEntry>& after() const { return after_; }

 private:
  struct Region {
    uint64_t at, bytes, hashed;
  };
  std::vector<Region> regions(uint32_t extents) const;

  DictScenario scenario_;
  DictSegment segment_;
  DictActor other_, victim_, second_;
  bool second_stopped_ = false;
  std::string unsound_;
  uint32_t extents_dirty_ = 0;
  Image prepared_;
  std::map<std::string, AuditedEntry> before_, after_;
  std::map<std::string, AuditedEntry> base_;  // at revision_before_
  uint64_t revision_before_ = 0;
  std::vector<Change> changes_;  // of the operation, when it is left alone
};

/// Keys whose hashes begin with the same `bits` as that of `like`.
std::vector<std::string> neighbours(const std::string& like, unsigned bits, size_t n,
                                    uint64_t hash_mask = ~uint64_t{0});

std::vector<DictScenario> dict_scenarios();
/// Of what expires, what is owned, what reaches a limit, and of transactions.
void add_more_scenarios(std::vector<DictScenario>* all);

/// How many states, kills, stops are tried of each scenario.
struct DictSample {
  size_t states = SIZE_MAX, kills = SIZE_MAX, stops = SIZE_MAX;
  size_t victims = SIZE_MAX;  // states of the dead that a reaper is killed over
  size_t victims_from = 0;    // the first of them, in percent of all
  size_t before_history = 0;  // stops at so many instructions before a place is chosen instead
  /// How many images are kept to choose from.
  size_t images() const { return states < kImagesMin ? kImagesMin : states; }
  static constexpr size_t kImagesMin = 128;
};
/// What the tests run; a complaint, or nothing. Figures are added to.
struct DictFigures {
  uint64_t points = 0, kills = 0, states = 0, freezes = 0;
};
std::string run_killed(const DictScenario& scenario, const DictSample& most, DictFigures* f);
std::string run_reaper_killed(const DictScenario& scenario, const DictSample& most, DictFigures* f);
/// A reaper is stopped at some instructions, another does the same work, then the first goes on.
std::string run_two_reapers(const DictScenario& scenario, const DictSample& most, DictFigures* f);
std::string run_frozen(const DictScenario& scenario, const DictSample& most, DictFigures* f);

}  // namespace heddle::shm
