// A pipe that can be put back into an earlier state, its users, and the oracle of the step tests.
//
// End a is used by the sharer and, unless the scenario says otherwise, by the victim; end b by the
// receiver. The victim is the one that is killed or stopped.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/unit/shm/pipe_fixture.h"

namespace heddle::shm {

inline constexpr uint16_t kSharer = 1, kReceiver = 2, kVictim = 5;

using Bodies = std::vector<std::string>;

struct PipeReport {
  uint32_t took;
  uint32_t length;
  char body[8192];
};

struct PipeScenario {
  const char* name;
  PipeMode mode = PipeMode::kMessage;
  PipeSide side = PipeSide::kA;  // the victim's
  bool alone = false;            // nobody shares the victim's end
  /// Brings the pipe into the state before the operation.
  std::function<void(Pipe& a, PipeActor& sharer)> prepare = [](Pipe&, PipeActor&) {};
  /// The operation, in the victim's process; its result becomes the exit status.
  std::function<Outcome(Pipe&, PipeActor&, PipeReport*)> operate;
  /// Bodies that the operation sends, in order, each whole or not at all; of raw bytes any prefix.
  Bodies sends = {};
  /// How many messages, or of raw bytes how many bytes, it takes out at most.
  size_t takes = 0;
  bool shuts = false;  // nobody can send at end a afterwards
};

class PipeStage {
 public:
  explicit PipeStage(const PipeScenario& scenario);

  Pipe& victim_end() { return victim_end_; }
  PipeActor& victim() { return victim_; }
  PipeReport* report() { return report_; }
  /// What can be received before the operation.
  const Bodies& before() const { return before_; }

  using Image = std::vector<std::byte>;
  Image save();
  void restore(const Image& image);
  void restore() { restore(prepared_); }
  uint64_t hash();

  void reap_victim() { far_.reap(kVictim, {77, 9}); }
  /// Empty if every promise holds after the reap; the state is used up.
  std::string check_after_death();
  /// What the receiver gets until there is no more; *last is the outcome that ended it.
  Bodies drain(Outcome* last);
  /// Sharer and receiver, in turns and without waiting. Messages that the sharer could send are
  /// added to *sent, those that came to *got.
  void laps(int messages, Bodies* sent, Bodies* got);
  std::string use_fully();
  const char* audit() { return far_.audit(); }
  PipeEndInfo info(PipeSide side) { return far_.info(side); }
  /// Whether `got` is `before`, less what was taken, and what was sent.
  std::string compare(const Bodies& got, size_t taken_at_least) const;

 private:
  const PipeScenario& scenario_;
  PipeSegment segment_;
  Pipe near_, far_, victim_end_;
  PipeActor sharer_, receiver_, victim_;
  PipeReport* report_;
  Bodies before_;
  Image prepared_;
};

std::vector<PipeScenario> pipe_scenarios();

}  // namespace heddle::shm
