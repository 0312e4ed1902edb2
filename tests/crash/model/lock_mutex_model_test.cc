// The lock word: taking it, letting go, sleeping, waking and the end of a wait by the clock, with a
// process that dies at any operation. A lost wake is a deadlock. The steps are those of
// proto/shm/lock_mutex.cc, times apart: whoever might be starving is so by lot.
#include "tests/crash/model/lock_model.h"

namespace heddle::model {
namespace {

using namespace shm;  // the bits of lock words

template <unsigned kThreads, unsigned kRounds>
class MutexModel : public rl::test_suite<MutexModel<kThreads, kRounds>, kThreads> {
 public:
  void before() {
    fate = Fate{};
    word_.store(uint64_t{0xfffffffe} << 32);  // close to the wrap
    data_(RL_INFO) = 0;
    draw_death(kThreads, 14 * kRounds);
  }

  void thread(unsigned) {
    try {
      for (unsigned round = 0; round < kRounds; ++round) {
        if (!acquire()) continue;
        RL_ASSERT(++inside_ == 1);
        data_(RL_INFO) = data_(RL_INFO) + 1;
        --inside_;
        release();
      }
    } catch (Stopped) {
      fate.victim = -1;
      reap(model_holder());
    }
  }

  void after() {
    RL_ASSERT((word_.peek() & kHolderMask) == 0);
    RL_ASSERT(told_ + ((word_.peek() & kAbandoned) != 0) == owed_);
  }

 private:
  /// False: the time was over.
  bool acquire() {
    const bool timed = lot(4) == 1;
    bool slept = false, over = false;
    for (;;) {
      const uint64_t word = word_.load(std::memory_order_acquire);
      if (over && !keeps(LockRule::kTakeBeforeClock)) return false;
      if (holder_in(word) == 0) {
        if ((word & kHandOff) == 0 || slept) {
          if (take(word, slept)) return true;
          continue;
        }
        rl::yield(1, RL_INFO);  // a newcomer sleeps for a moment, then counts as a sleeper
        slept = true;
        continue;
      }
      if (over) return false;
      const uint64_t want = word | kSleepers | (slept && lot(2) == 1 ? kStarving : 0);
      uint64_t seen = word;
      if (want != word && !word_.compare_exchange_strong(seen, want)) continue;
      word_.wait_low(want, timed);
      slept = true;
      over = timed;
    }
  }

  bool take(uint64_t seen, bool slept) {
    uint64_t keep = seen & kSleepers;
    if (slept && keep != 0 && lot(2) == 1) keep |= kStarving;
    const uint64_t mine = ((seen & ~kLowMask) + kTokenOne) | keep | model_holder();
    const bool abandoned = (seen & kAbandoned) != 0;
    // The checker stops threads before an operation: what follows belongs to this one.
    if (!word_.compare_exchange_strong(seen, mine)) return false;
    told_ += abandoned;
    RL_ASSERT(static_cast<int32_t>(token_low(mine) - last_token_) > 0);
    last_token_ = token_low(mine);
    return true;
  }

  void release() {
    uint64_t held = word_.load(std::memory_order_relaxed);
    uint64_t free;
    do {
      RL_ASSERT(holder_in(held) == model_holder());
      free = held & (~kLowMask | kSleepers);
      if ((held & kStarving) != 0 && (held & kSleepers) != 0) free |= kHandOff;
      if (!keeps(LockRule::kKeepSleepers)) free &= ~(kSleepers | kHandOff);
    } while (!word_.compare_exchange_strong(held, free));
    if ((held & kSleepers) != 0) wake(free);
  }

  void wake(uint64_t stored) {
    if (word_.wake(1) != 0) return;
    const uint64_t bits = kSleepers | kHandOff | kStarving;
    if (!keeps(LockRule::kClearByCompare)) {
      word_.fetch_and(~bits);
      return;
    }
    if (!word_.compare_exchange_strong(stored, stored & ~bits)) return;
    if (keeps(LockRule::kWakeAfterClear)) word_.wake(kThreads);
  }

  /// Lock::reap_word(), then everybody is woken; who slept through the dead one's wake as well.
  void reap(uint32_t dead) {
    uint64_t word = word_.load();
    for (;;) {
      uint64_t free = word & (~kLowMask | kSleepers | kAbandoned);
      if (holder_in(word) == dead) free |= kAbandoned;
      if (holder_in(word) != dead && (holder_in(word) != 0 || (word & kHandOff) == 0)) break;
      const bool owned = holder_in(word) == dead;
      if (!word_.compare_exchange_strong(word, free)) continue;
      owed_ += owned;
      if (owned) inside_ = 0;
      break;
    }
    if (keeps(LockRule::kReaperWakes)) word_.wake(kThreads);
  }

  LockWordAtomic word_;
  rl::var<int> data_;
  int inside_ = 0;
  uint32_t last_token_ = 0xfffffffe;
  unsigned told_ = 0, owed_ = 0;
};

using Two = MutexModel<2, 3>;
using Three = MutexModel<3, 2>;
using Four = MutexModel<4, 1>;

TEST(LockMutexModel, TwoProcesses) { EXPECT_HOLDS(run_random<Two>(60'000)); }
TEST(LockMutexModel, ThreeProcesses) { EXPECT_HOLDS(run_random<Three>(60'000)); }
TEST(LockMutexModel, FourProcesses) { EXPECT_HOLDS(run_random<Four>(40'000)); }
TEST(LockMutexModel, AllSchedulesWithTwoPreemptions) { EXPECT_HOLDS(run_bounded<Two>(2)); }

TEST(LockMutexMutant, ClearBlindly) {
  EXPECT_CAUGHT(run_broken<Three>(60'000, LockRule::kClearByCompare));
}
TEST(LockMutexMutant, ReleaseClears) {
  EXPECT_CAUGHT(run_broken<Three>(60'000, LockRule::kKeepSleepers));
}
TEST(LockMutexMutant, ClockFirst) {
  EXPECT_CAUGHT(run_broken<Three>(60'000, LockRule::kTakeBeforeClock));
}
TEST(LockMutexMutant, ReaperSilent) {
  EXPECT_CAUGHT(run_broken<Three>(60'000, LockRule::kReaperWakes));
}

}  // namespace
}  // namespace heddle::model
