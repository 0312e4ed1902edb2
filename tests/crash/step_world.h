// A queue that can be put back into an earlier state, the victim's journal, and the oracle of the
// step tests.
#pragma once

#include <functional>
#include <string>
#include <unordered_set>
#include <vector>

#include "tests/unit/shm/queue_fixture.h"

namespace heddle::shm {

inline constexpr uint16_t kVictim = 5, kReaper = 9, kSecondReaper = 10;

/// What a scenario's victim reports from its own process: what it took and what it put.
struct VictimReport {
  uint32_t took;
  uint32_t length;
  char body[512];
};

using Bodies = std::vector<std::string>;

struct Scenario {
  const char* name;
  QueueLimits limits;
  /// Brings the queue into the state before the operation. `victim` has entered.
  std::function<void(Queue&, Actor& other, Actor& victim)> prepare;
  /// The operation, in the victim's process; its result becomes the exit status.
  std::function<Outcome(Queue&, Actor&, VictimReport*)> operate;
  /// What may be found by draining after the victim's death, given what was there before.
  std::function<bool(const Bodies& before, const Bodies& after)> allowed;
  /// For the frozen one: how many messages its operation may add, or remove without reporting them.
  int adds = 0;
  int removes = 0;
};

class World {
 public:
  explicit World(const Scenario& scenario);

  Queue& queue() { return segment_.queue(); }
  Actor& victim() { return victim_; }
  VictimReport* report() { return report_; }
  const Bodies& before() const { return before_; }
  JournalLine* line(uint16_t owner) { return segment_.line(owner); }

  struct Image {
    std::vector<std::byte> control, area, journal;
  };
  Image save();
  void restore(const Image& image);
  void restore() { restore(prepared_); }
  /// Of everything that an operation may change.
  uint64_t hash() const;

  /// A fresh actor, like a client that attached after the death.
  Actor newcomer(uint16_t owner) { return segment_.actor(owner); }
  void reap_victim(uint16_t reaper);
  /// Empty if every promise holds after the reap; the state is used up.
  std::string check_after_death();
  /// Takes everything; ids must rise. Appends a complaint to *wrong.
  Bodies drain(Actor& a, std::string* wrong);
  /// Laps of small and large messages by a newcomer; a complaint or nothing.
  std::string use_fully();

 private:
  const Scenario& scenario_;
  QueueSegment segment_;
  Actor other_, victim_;
  VictimReport* report_;
  Bodies before_;
  Image prepared_;
};

/// All scenarios: one per operation and per path through it.
std::vector<Scenario> scenarios();

}  // namespace heddle::shm
