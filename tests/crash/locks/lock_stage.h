// The stage of the lock step tests: one lock, its state that can be put back, and sleepers in
// processes of their own.
#pragma once

#include <sys/types.h>

#include <unordered_set>
#include <vector>

#include "tests/crash/locks/lock_scenarios.h"

namespace heddle::shm {

class LockStage {
 public:
  explicit LockStage(const LockScenario& scenario);
  ~LockStage();

  Lock& lock() { return lock_; }
  LockActor& victim() { return victim_; }
  LockActor& other() { return other_; }
  LockActor& second_victim() { return second_; }
  LockWorld& world() { return world_; }

  using Image = std::vector<std::byte>;
  Image save();
  void restore(const Image& image);
  void restore() { restore(prepared_); }
  uint64_t hash() const;

  /// Starts the scenario's sleepers; returns when all of them sleep in the kernel.
  void start_sleepers();
  size_t sleepers_back() const;
  pid_t sleeper(size_t i) const { return sleepers_[i]; }
  /// Until that many are back; false when `timeout_ms` passes.
  bool wait_for_sleepers(size_t n, int timeout_ms);
  /// Those that are left are killed and repaired.
  void stop_sleepers();

  /// True when the word says that the victim owns it by a grant.
  bool victim_owns() const;
  void reap(uint16_t owner = kVictim) { world_.reap(owner); }
  /// Both victims died before this one reap.
  void reap_both();
  /// Checks everything that must be true after the repair; a complaint or nothing. `owned`: what
  /// victim_owns() said at the death.
  std::string check(bool owned, bool told_before);

 private:
  const LockScenario& scenario_;
  LockWorld world_;
  Lock lock_;
  LockActor victim_, other_, second_;
  Image prepared_;
  std::vector<pid_t> sleepers_;
  struct Shared {
    std::atomic<uint32_t> back;
    std::atomic<uint32_t> told;  // sleepers that got the lock with word of a death
  };
  Shared* shared_;
};

}  // namespace heddle::shm
