// Sleeping and waking: SLEEPERS is set by the sleeper, cleared by a waker that found nobody, and
// whoever takes one thing wakes the next if there is more. A lost wake shows as a deadlock. The
// steps are those of Queue::wait() and Queue::wake(); the thing waited for is a plain number.
#include "proto/shm/queue_layout.h"
#include "tests/crash/model/model_check.h"

namespace heddle::model {
namespace {

using shm::kWakeSleepers;
using shm::kWakeStep;

/// Each sleeper is owed its share, so a lost wake leaves one asleep for ever: a deadlock to the
/// checker. Any of them may die anywhere, a sleeper also with a wake that was meant for another;
/// the reaper then wakes everybody and another process goes on in its place.
template <unsigned kWakers, unsigned kSleepers, unsigned kThings>
class SleepModel
    : public rl::test_suite<SleepModel<kWakers, kSleepers, kThings>, kWakers + kSleepers> {
 public:
  static constexpr unsigned kThreads = kWakers + kSleepers;
  static_assert(kWakers * kThings % kSleepers == 0);

  void before() {
    fate = Fate{};
    word_.store(0);
    things_.store(0);
    if (lot(2) == 0) return;
    fate.victim = static_cast<int>(rl::rand(kThreads));
    fate.dies = true;
    fate.stop_at = 1 + rl::rand(8 * kThings);
  }

  void thread(unsigned i) {
    const unsigned share = i < kWakers ? kThings : kWakers * kThings / kSleepers;
    for (unsigned done = 0; done < share;) {
      try {
        i < kWakers ? give_one(&done) : wait_for_one(&done);
      } catch (Stopped) {
        if (mutant != Mutant::kNobodyWokenForTheDead) wake_all();
      }
    }
  }

  void after() { RL_ASSERT(things_.peek() == 0); }

 private:
  /// `done` counts what has happened, also to one who dies right after.
  void give_one(unsigned* done) {
    things_.fetch_add(1);
    ++*done;
    wake();
  }

  /// As Queue::wait().
  void wait_for_one(unsigned* done) {
    if (attempt(done)) return;
    for (;;) {
      uint32_t seen = word_.load();
      if ((seen & kWakeSleepers) == 0) {
        if (!word_.compare_exchange_strong(seen, seen | kWakeSleepers)) continue;
        seen |= kWakeSleepers;
      }
      if (mutant != Mutant::kSleepWithoutLook && attempt(done)) return;
      word_.wait(seen);
      if (mutant == Mutant::kSleepWithoutLook && attempt(done)) return;
    }
  }

  bool attempt(unsigned* done) {
    uint32_t n = things_.load();
    while (n != 0) {
      if (!things_.compare_exchange_strong(n, n - 1)) continue;
      ++*done;
      if ((word_.load() & kWakeSleepers) != 0 && things_.load() != 0) wake();
      return true;
    }
    return false;
  }

  /// As Queue::wake().
  void wake() {
    const uint32_t seen = word_.load();
    if ((seen & kWakeSleepers) == 0) return;
    uint32_t stepped = word_.fetch_add(kWakeStep) + kWakeStep;
    if (word_.wake(1) != 0 || (stepped & kWakeSleepers) == 0) return;
    if (mutant == Mutant::kClearBlindly) {
      word_.fetch_and(~kWakeSleepers);
    } else if (word_.compare_exchange_strong(stepped, stepped & ~kWakeSleepers)) {
      if (mutant != Mutant::kClearWithoutRewake) word_.wake(kThreads);
    }
  }

  void wake_all() {
    word_.fetch_add(kWakeStep);
    word_.wake(kThreads);
  }

  Atomic<uint32_t> word_;
  Atomic<uint32_t> things_;
};

using OneToTwo = SleepModel<1, 2, 2>;
using TwoToTwo = SleepModel<2, 2, 2>;

TEST(SleepModel, OneWakerTwoSleepers) { EXPECT_HOLDS(run_random<OneToTwo>(200'000)); }
TEST(SleepModel, TwoWakersTwoSleepers) { EXPECT_HOLDS(run_random<TwoToTwo>(100'000)); }
TEST(SleepModel, AllSchedulesWithThreePreemptions) { EXPECT_HOLDS(run_bounded<OneToTwo>(3)); }

TEST(SleepMutant, ClearBlindly) {
  EXPECT_CAUGHT(run_random<TwoToTwo>(100'000, Mutant::kClearBlindly));
}
TEST(SleepMutant, ClearWithoutAnotherWake) {
  EXPECT_CAUGHT(run_random<TwoToTwo>(100'000, Mutant::kClearWithoutRewake));
}
TEST(SleepMutant, SleepWithoutAnotherLook) {
  EXPECT_CAUGHT(run_random<OneToTwo>(100'000, Mutant::kSleepWithoutLook));
}

TEST(SleepMutant, NobodyWokenForTheDead) {
  EXPECT_CAUGHT(run_random<TwoToTwo>(100'000, Mutant::kNobodyWokenForTheDead));
}

}  // namespace
}  // namespace heddle::model
