// Sleeping and waking on a WakeWord. Included by the .cc files that wait.
//
// A sleeper sets SLEEPERS by CAS, tries once more, then sleeps on the exact word. A waker has
// already done its seq_cst CAS on the slot (or a pipe's word) when it loads the wake word: either
// it sees SLEEPERS, or the sleeper's second try sees the slot. It steps the sequence, so a sleeper
// on its way does not fall asleep, and wakes one; only when nobody was there does it clear
// SLEEPERS, by CAS against that very sequence. Who takes one wakes the next if there is more,
// because the woken one may be stopped. Nobody sleeps for more than a second: the last net under a
// dead waker and a dead broker.
#pragma once

#include "proto/shm/cpu_pause.h"
#include "proto/shm/futex.h"
#include "proto/shm/outcome.h"
#include "proto/shm/wake_word.h"

namespace heddle::shm {

inline constexpr int64_t kSleepMaxNs = 1'000'000'000;
inline constexpr int64_t kSpinNs = 6'000;
inline constexpr uint32_t kSpinsFailedMax = 8;
inline constexpr uint32_t kBurst = 4;
inline constexpr int kPausesStream = 128;
inline constexpr int kPausesPingPong = 1;
inline constexpr int kLooksPerClock = 8;

/// Spinning pays only when somebody else can run meanwhile.
bool many_cpus();

/// Wakes one more sleeper without stepping the sequence: the one that passes on must not wake
/// itself.
void pass_wake_on(WakeWord& line);

/// Wakes one sleeper because something happened after `seen` was loaded with SLEEPERS in it.
void wake_one(WakeWord& line);
/// Wakes all, whoever is on the way to sleep included.
void wake_all_on(WakeWord& line);
/// A byte into the broker's pipe. It never waits: a full pipe means that the broker has enough to
/// read.
void ring_doorbell(int doorbell_fd);

/// Attempts until attempt(&done) sets done, or until the deadline: first spinning, then asleep. The
/// Actor supplies burst, spins_failed, patience_ns and interruptible.
template <class Actor, class Attempt>
Outcome wait_on(Actor& a, WakeWord& line, int64_t deadline_ns, Attempt attempt) {
  bool done = false;
  Outcome outcome = attempt(&done);
  if (done) ++a.burst;
  if (done || deadline_ns == kTry) return outcome;
  // Caught up after a run of messages: each look now takes the line away from the one who is
  // writing it, so look less often and let a few gather. In a ping-pong look at once.
  const int pauses = a.burst >= kBurst ? kPausesStream : kPausesPingPong;
  const int looks = a.burst >= kBurst ? 1 : kLooksPerClock;
  a.burst = 0;
  // After eight spins in vain only each sixteenth wait spins.
  if (many_cpus() && (a.spins_failed < kSpinsFailedMax || a.spins_failed % 16 == 0)) {
    int64_t now = 0, until = 0;  // the first looks come before the clock is read
    do {
      for (int i = 0; i < looks; ++i) {
        for (int j = 0; j < pauses; ++j) cpu_pause();
        outcome = attempt(&done);
        if (done) {
          a.spins_failed = 0;
          return outcome;
        }
      }
      now = monotonic_ns();
      if (until == 0) until = now + kSpinNs;
    } while (now < until);
  }
  ++a.spins_failed;
  const int64_t now = monotonic_ns();
  const int64_t give_up = a.patience_ns < deadline_ns - now ? now + a.patience_ns : deadline_ns;
  uint32_t passed_on = line.word.load(std::memory_order_relaxed) / kWakeStep;
  for (;;) {
    uint32_t seen = line.word.load(std::memory_order_seq_cst);
    if ((seen & kWakeSleepers) == 0) {
      if (!line.word.compare_exchange_strong(seen, seen | kWakeSleepers)) continue;
      seen |= kWakeSleepers;
    }
    outcome = attempt(&done);
    if (done) return outcome;
    const int64_t left = give_up == kForever ? kSleepMaxNs : give_up - monotonic_ns();
    if (left <= 0) return Outcome::kTimedOut;
    const int result = futex_wait(&line.word, seen, left < kSleepMaxNs ? left : kSleepMaxNs);
    if (result == 0) {
      // Woken for something that this one cannot use, or that somebody else took: passed on once
      // for each step of the sequence, so that sleepers do not wake one another for ever.
      outcome = attempt(&done);
      if (done) return outcome;
      const uint32_t sequence = line.word.load(std::memory_order_relaxed) / kWakeStep;
      if (sequence != passed_on) pass_wake_on(line);
      passed_on = sequence;
    }
    if (result == EINTR && a.interruptible) {
      outcome = attempt(&done);
      return done ? outcome : Outcome::kInterrupted;
    }
  }
}

}  // namespace heddle::shm
