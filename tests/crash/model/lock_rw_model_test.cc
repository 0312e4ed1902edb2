// The rw lock: TRY, HELD and REFUSED of the readers' cells against a writer's claim that can be
// taken away, with a process that dies at any operation. A lost wake is a deadlock. The steps are
// those of proto/shm/lock_rw.cc, times apart: who may take a claim away does so by lot.
#include "tests/crash/model/lock_model.h"

namespace heddle::model {
namespace {

using namespace shm;  // the bits of lock words, the states of cells

template <unsigned kReaders, unsigned kWriters, unsigned kRounds>
class RwModel : public rl::test_suite<RwModel<kReaders, kWriters, kRounds>, kReaders + kWriters> {
 public:
  static constexpr unsigned kThreads = kReaders + kWriters;

  void before() {
    fate = Fate{};
    word_.store(0);
    drain_.store(0);
    for (auto& cell : cells_) cell.store(0);
    data_(RL_INFO) = 0;
    draw_death(kThreads, 16 * kRounds);
  }

  void thread(unsigned i) {
    try {
      for (unsigned round = 0; round < kRounds; ++round) i < kReaders ? read(i) : write();
    } catch (Stopped) {
      fate.victim = -1;
      reap(i);
    }
  }

  void after() {
    RL_ASSERT((word_.peek() & kHolderMask) == 0);
    for (auto& cell : cells_) RL_ASSERT(state_in(cell.peek()) == CellState::kEmpty);
  }

 private:
  static bool open(uint64_t word) { return holder_in(word) == 0; }

  void read(unsigned i) {
    while (!try_read(i)) {
      uint64_t word = word_.load();
      if (open(word)) continue;
      if ((word & kClaimed) != 0 && lot(3) == 1 && !readers_inside()) {
        withdraw(word);
        continue;
      }
      const uint64_t want = word | kSleepers;
      if (want != word && !word_.compare_exchange_strong(word, want)) continue;
      // A claim is looked at again after a millisecond.
      word_.wait_low(want, (want & kClaimed) != 0);
    }
    reading_[i] = true;
    RL_ASSERT(!writing_);
    (void)static_cast<int>(data_(RL_INFO));
    reading_[i] = false;
    uint64_t held = cells_[i].load();
    RL_ASSERT(state_in(held) == CellState::kHeld);
    RL_ASSERT(cells_[i].compare_exchange_strong(held, cell_emptied(held)));
    const uint64_t word = word_.load();
    const bool waits = holder_in(word) != 0 && (word & kClaimed) != 0;
    if (waits && keeps(LockRule::kRingAfterLeave)) ring();
  }

  bool try_read(unsigned i) {
    if (!open(word_.load(std::memory_order_acquire))) return false;
    const bool at_once = !keeps(LockRule::kTryBeforeHeld);
    uint64_t seen = cells_[i].load(std::memory_order_acquire);
    uint64_t mine =
        cell_word(seq_in(seen) + 1, at_once ? CellState::kHeld : CellState::kTry, model_holder());
    RL_ASSERT(cells_[i].compare_exchange_strong(seen, mine));
    const bool still = !keeps(LockRule::kLookAgainAfterTry) || open(word_.load());
    const uint64_t held = cell_in_state(mine, CellState::kHeld);
    if (still && cells_[i].compare_exchange_strong(mine, held)) return true;
    mine = cells_[i].load();
    while (!cells_[i].compare_exchange_strong(mine, cell_emptied(mine))) {
    }
    return false;
  }

  void write() {
    for (;;) {
      const uint64_t word = word_.load(std::memory_order_acquire);
      if (holder_in(word) == 0) {
        uint64_t seen = word;
        const uint64_t mine =
            ((word & ~kLowMask) + kTokenOne) | (word & kSleepers) | kClaimed | model_holder();
        if (word_.compare_exchange_strong(seen, mine) && drain()) break;
        continue;
      }
      if ((word & kClaimed) != 0 && lot(3) == 1 && !readers_inside()) {
        withdraw(word);
        continue;
      }
      uint64_t seen = word;
      const uint64_t want = word | kSleepers;
      if (want != word && !word_.compare_exchange_strong(seen, want)) continue;
      word_.wait_low(want, (want & kClaimed) != 0);
    }
    RL_ASSERT(!writing_);
    for (const bool reads : reading_) RL_ASSERT(!reads);
    writing_ = true;
    data_(RL_INFO) = data_(RL_INFO) + 1;
    uint64_t held = word_.load();
    // A cell that says HELD is a grant, also for those who only look.
    for (auto& cell : cells_) RL_ASSERT(state_in(cell.peek()) != CellState::kHeld);
    writing_ = false;
    while (!word_.compare_exchange_strong(held, held & (~kLowMask | kSleepers))) {
    }
    wake(held & (~kLowMask | kSleepers));
  }

  /// False: the claim was taken away.
  bool drain() {
    for (;;) {
      uint32_t bell = drain_.load();
      uint64_t word = word_.load();
      if (holder_in(word) != model_holder() || (word & kClaimed) == 0) return false;
      if (!refuse_readers()) {
        if (word_.compare_exchange_strong(word, word & ~kClaimed)) return true;
        continue;
      }
      if (!keeps(LockRule::kDrainBeforeScan)) bell = drain_.load();
      drain_.wait(bell);
    }
  }

  bool refuse_readers() {
    bool held = false;
    for (auto& cell : cells_) {
      uint64_t seen = cell.load();
      if (state_in(seen) == CellState::kTry && keeps(LockRule::kRefuseTries)) {
        cell.compare_exchange_strong(seen, cell_in_state(seen, CellState::kRefused));
      }
      held = held || state_in(seen) == CellState::kHeld;
    }
    return held;
  }

  bool readers_inside() {
    for (auto& cell : cells_) {
      if (state_in(cell.load(std::memory_order_acquire)) == CellState::kHeld) return true;
    }
    return false;
  }

  void withdraw(uint64_t claim) {
    uint64_t seen = claim;
    const uint64_t without = claim & ~(kClaimed | kHolderMask);
    if (!word_.compare_exchange_strong(seen, without)) return;
    if (keeps(LockRule::kRingDrain)) ring();
    wake(without);
  }

  void ring() {
    drain_.fetch_add(1);
    drain_.wake(kThreads);
  }

  void wake(uint64_t stored) {
    if ((stored & kSleepers) == 0 || word_.wake(kThreads) != 0) return;
    if (word_.compare_exchange_strong(stored, stored & ~kSleepers)) word_.wake(kThreads);
  }

  void reap(unsigned i) {
    uint64_t word = word_.load();
    while (holder_in(word) == model_holder()) {
      if (word_.compare_exchange_strong(word, word & (~kLowMask | kSleepers))) break;
    }
    writing_ = writing_ && holder_in(word) != model_holder();
    if (i < kReaders) {
      reading_[i] = false;
      uint64_t seen = cells_[i].load();
      while (holder_in(seen) == model_holder()) {
        if (cells_[i].compare_exchange_strong(seen, cell_emptied(seen))) break;
      }
    }
    ring();
    word_.wake(kThreads);
  }

  LockWordAtomic word_;
  Atomic<uint32_t> drain_;
  Atomic<uint64_t> cells_[kReaders];
  rl::var<int> data_;
  bool reading_[kReaders] = {};
  bool writing_ = false;
};

using OneToOne = RwModel<1, 1, 2>;
using TwoToOne = RwModel<2, 1, 2>;
using OneToTwo = RwModel<1, 2, 2>;
using TwoToTwo = RwModel<2, 2, 1>;

TEST(LockRwModel, TwoReadersOneWriter) { EXPECT_HOLDS(run_random<TwoToOne>(40'000)); }
TEST(LockRwModel, OneReaderTwoWriters) { EXPECT_HOLDS(run_random<OneToTwo>(40'000)); }
TEST(LockRwModel, TwoReadersTwoWriters) { EXPECT_HOLDS(run_random<TwoToTwo>(40'000)); }
TEST(LockRwModel, AllSchedulesWithTwoPreemptions) { EXPECT_HOLDS(run_bounded<OneToOne>(2)); }

TEST(LockRwMutant, HeldAtOnce) {
  EXPECT_CAUGHT(run_broken<OneToTwo>(60'000, LockRule::kTryBeforeHeld));
}
TEST(LockRwMutant, NoSecondLook) {
  EXPECT_CAUGHT(run_broken<OneToTwo>(60'000, LockRule::kLookAgainAfterTry));
}
TEST(LockRwMutant, TriesNotRefused) {
  EXPECT_CAUGHT(run_broken<OneToTwo>(60'000, LockRule::kRefuseTries));
}
TEST(LockRwMutant, DrainNotRung) {
  EXPECT_CAUGHT(run_broken<TwoToTwo>(60'000, LockRule::kRingDrain));
}
TEST(LockRwMutant, LeavesWithoutABell) {
  EXPECT_CAUGHT(run_broken<OneToOne>(60'000, LockRule::kRingAfterLeave));
}
TEST(LockRwMutant, BellAfterTheScan) {
  EXPECT_CAUGHT(run_broken<OneToOne>(60'000, LockRule::kDrainBeforeScan));
}

}  // namespace
}  // namespace heddle::model
