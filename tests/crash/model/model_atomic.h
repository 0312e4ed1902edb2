// Atomics for the model checker with the interface of std::atomic, and threads that stop at any of
// them.
//
// One thread per iteration may be the victim: at an operation drawn by lot it stops for ever (it is
// then dead, and reaped), or it freezes until the others have made some progress. Mutants change
// what one kind of word does, so that the models can be shown to notice.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <iostream>
#include <sstream>

#include <relacy/relacy.hpp>
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef errno
#define errno (*__errno_location())
#undef memory_order_relaxed
#undef memory_order_consume
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel
#undef memory_order_seq_cst

#include "proto/shm/slot_word.h"

namespace heddle::model {

enum class Mutant {
  kNone,
  kPublishByStore,         // a late publish overwrites the tomb
  kBumpStepsOver,          // a pinned slot is stepped over although carrying it on failed
  kEntombByStore,          // a tomb over a message that was just published
  kPassedEarly,            // a segment is passed before it has a successor
  kHintLeads,              // hints name a position that nobody has seen claimed or passed
  kOwnLeaseUnseen,         // the end is believed while somebody else holds a lease
  kEndByFlag,              // the end is a flag that producers look at before they claim
  kClearBlindly,           // SLEEPERS is cleared without looking at the sequence
  kClearWithoutRewake,     // who slept between the wake and the clearing is forgotten
  kSleepWithoutLook,       // the sleeper does not try once more
  kNobodyWokenForTheDead,  // a wake that went to one who died is lost
};

struct Stopped {};  // thrown out of the body of the thread that dies

/// Off in searches over all schedules, where each lot multiplies the schedules.
inline bool draws = true;

/// One of n by lot.
inline unsigned lot(unsigned n) { return draws ? rl::rand(n) : 0; }

/// What happens to one thread in this iteration; reset in each test's before().
struct Fate {
  int victim = -1;
  bool dies = false;
  unsigned stop_at = 0;   // operations until it stops
  unsigned thaw_at = 0;   // progress of the others after which a frozen one goes on
  unsigned operations = 0;
  unsigned progress = 0;
  unsigned finished = 0;
  unsigned threads = 0;
  bool stopped = false;

  /// One in four iterations has no victim.
  void draw(unsigned thread_count, unsigned operations_max, unsigned progress_max) {
    *this = Fate{};
    threads = thread_count;
    if (!draws || rl::rand(4) == 0) return;
    victim = static_cast<int>(rl::rand(thread_count));
    dies = rl::rand(2) == 0;
    stop_at = 1 + rl::rand(operations_max);
    thaw_at = rl::rand(progress_max + 1);
  }

  void step() {
    if (victim < 0 || stopped || static_cast<int>(rl::thread_index()) != victim) return;
    if (++operations != stop_at) return;
    stopped = true;
    if (dies) throw Stopped{};
    while (progress < thaw_at && finished + 1 < threads) rl::yield(1, RL_INFO);
  }
};

inline Fate fate;
inline Mutant mutant = Mutant::kNone;

constexpr rl::memory_order order(std::memory_order o) {
  switch (o) {
    case std::memory_order_relaxed: return rl::mo_relaxed;
    case std::memory_order_consume: return rl::mo_consume;
    case std::memory_order_acquire: return rl::mo_acquire;
    case std::memory_order_release: return rl::mo_release;
    case std::memory_order_acq_rel: return rl::mo_acq_rel;
    default: return rl::mo_seq_cst;
  }
}

template <class T>
class Atomic {
 public:
  T load(std::memory_order o = std::memory_order_seq_cst) const {
    fate.step();
    return value_.load(order(o), RL_INFO);
  }
  void store(T v, std::memory_order o = std::memory_order_seq_cst) {
    fate.step();
    value_.store(v, order(o), RL_INFO);
  }
  bool compare_exchange_strong(T& expected, T desired,
                               std::memory_order o = std::memory_order_seq_cst) {
    fate.step();
    return value_.compare_exchange(rl::bool_t<false>(), expected, desired, order(o), RL_INFO);
  }
  T fetch_or(T bits, std::memory_order o = std::memory_order_seq_cst) {
    fate.step();
    return value_.fetch_or(bits, order(o), RL_INFO);
  }
  T fetch_and(T bits, std::memory_order o = std::memory_order_seq_cst) {
    fate.step();
    return value_.fetch_and(bits, order(o), RL_INFO);
  }
  T fetch_add(T n, std::memory_order o = std::memory_order_seq_cst) {
    fate.step();
    return value_.fetch_add(n, order(o), RL_INFO);
  }
  T exchange(T v, std::memory_order o = std::memory_order_seq_cst) {
    fate.step();
    return value_.exchange(v, order(o), RL_INFO);
  }
  /// What is there, without being an operation of the algorithm: for checks.
  T peek() const { return value_.debug_value(); }

  /// As FUTEX_WAIT: sleeps if the word still is `expected`. Compare and sleep are one step.
  void wait(T expected) {
    fate.step();
    if (value_.fetch_or(0, rl::mo_seq_cst, RL_INFO) != expected) return;
    value_.wait(rl::ctx(), false, false, RL_INFO);
  }
  unsigned wake(unsigned n) {
    fate.step();
    rl::ctx().sched();
    return static_cast<unsigned>(value_.wake(rl::ctx(), static_cast<int>(n), RL_INFO));
  }

 protected:
  rl::atomic<T> value_;
};

}  // namespace heddle::model
