// Put and automatic take over a ring of two-slot segments that are used again and again, with a
// thread that dies or freezes at any operation: nothing lost, nothing twice, exact order, no false
// corruption.
#include "tests/crash/model/model_check.h"
#include "tests/crash/model/model_ring.h"

namespace heddle::model {
namespace {

constexpr uint16_t kReaper = 9;
constexpr unsigned kPositionsMax = 256;

template <unsigned kProducers, unsigned kConsumers, unsigned kMessages, uint32_t kSegments,
          unsigned kMaxLen>
class FifoModel
    : public rl::test_suite<FifoModel<kProducers, kConsumers, kMessages, kSegments, kMaxLen>,
                            kProducers + kConsumers> {
 public:
  using Memory = ModelMemory<kSegments>;
  using Ring = shm::Ring<Memory>;
  static constexpr unsigned kThreads = kProducers + kConsumers;

  void before() {
    fate = Fate{};
    memory_.format();
    for (unsigned i = 0; i < kThreads; ++i) {
      memory_.consumer[i] = i >= kProducers;
      journal_[i].op.store(0);
      journal_[i].phase.store(0);
      journal_[i].place.store(0);
    }
    dead_.store(0, rl::mo_relaxed, RL_INFO);
    fate.draw(kThreads, 12 * kMessages, kMessages * kProducers);
  }

  void thread(unsigned i) {
    try {
      if (i < kProducers) {
        produce(i);
      } else {
        consume(i);
      }
    } catch (Stopped) {
      dead_.store(1, rl::mo_release, RL_INFO);
    }
    ++fate.finished;
  }

  void after() {
    const bool died = fate.stopped && fate.dies;
    const auto dead = static_cast<uint16_t>(fate.victim + 1);
    fate.victim = -1;
    if (died) {
      reap(dead);
      reap(dead);
    }
    for (uint32_t i = 0; i < kSegments; ++i)
      RL_ASSERT(SegmentWord::decode(memory_.segment_word(i).load()).state !=
                SegmentState::kClaimed);
    check_size();
    drain();
    RL_ASSERT(taken_count_ == published_count_);
    for (unsigned k = 1; k <= 4 * kSegments; ++k) {  // and it goes on for two laps
      RL_ASSERT(put(0, 1000 + k));
      drain();
      RL_ASSERT(taken_count_ == published_count_);
    }
  }

 private:
  struct Journal {
    Atomic<uint32_t> op;
    Atomic<uint32_t> phase;
    Atomic<uint64_t> place;
  };

  Ring ring() { return Ring(&memory_); }
  static uint16_t owner_of(unsigned thread) { return static_cast<uint16_t>(thread + 1); }

  void produce(unsigned i) {
    for (unsigned k = 1; k <= kMessages; ++k)
      if (!put(i, (i + 1) * 100 + k)) return;
  }

  /// As Queue::claim_publish(). False: full for too long.
  bool put(unsigned i, uint64_t value) {
    Ring r = ring();
    Journal& j = journal_[i];
    published_now_[i] = false;
    j.place.store(0, std::memory_order_relaxed);
    j.phase.store(0, std::memory_order_relaxed);
    j.op.store(1, std::memory_order_release);
    bool done = false;
    for (unsigned tries = 0; tries < (draws ? 50 : 3) && !done; ++tries) {
      const Found at = r.find_tail(owner_of(i));
      RL_ASSERT(at.walk == Walk::kFound || at.walk == Walk::kNoMemory);
      if (at.walk != Walk::kFound || !room_at(i, at.place)) {
        rl::yield(1, RL_INFO);
        continue;
      }
      j.place.store(at.place.encode(), std::memory_order_relaxed);
      if (!r.claim(at.place, at.word, owner_of(i))) continue;
      j.phase.store(1, std::memory_order_release);
      auto& slot = r.slot(at.place);
      slot.id.store(Ring::message_id(at.place), std::memory_order_relaxed);
      slot.value.store(value, std::memory_order_relaxed);
      if (r.publish(at.place, owner_of(i))) {
        note_published(i, at.place, value);
        r.store_tail_hint(at.place);
        done = true;
        break;
      }
      j.phase.store(0, std::memory_order_release);
      r.withdraw(at.place, owner_of(i));
    }
    j.op.store(0, std::memory_order_release);
    return done;
  }

  bool room_at(unsigned i, Place at) {
    if (at.position < head_seen_[i] + kMaxLen) return true;
    Ring r = ring();
    const Place head = r.head_place();
    head_seen_[i] = head.position;
    if (at.position <= head.position) return true;
    return at.position - head.position - r.skipped_between(head, at) < kMaxLen;
  }

  void consume(unsigned i) {
    for (unsigned empty = 0; empty < (draws ? 12 : 2);) {
      if (take(i)) continue;
      ++empty;
      if (dead_.load(rl::mo_acquire, RL_INFO) == 1 && !reaped_) {
        reaped_ = true;  // one reaper at a time
        reap(static_cast<uint16_t>(fate.victim + 1));
      } else if (lot(4) == 1) {
        rescan();
      }
      rl::yield(1, RL_INFO);
    }
  }

  /// As Queue::take_found() for a small body.
  bool take(unsigned i) {
    Ring r = ring();
    for (;;) {
      const Found at = r.find_head();
      RL_ASSERT(at.walk == Walk::kFound || at.walk == Walk::kEmpty);
      if (at.walk != Walk::kFound) return false;
      auto& slot = r.slot(at.place);
      const uint64_t id = slot.id.load(std::memory_order_relaxed);
      const uint64_t value = slot.value.load(std::memory_order_relaxed);
      if (!r.consume(at.place, at.word, owner_of(i))) continue;
      note_taken(at.place, id, value);
      r.store_head_hint(at.place);
      return true;
    }
  }

  void rescan() {
    Ring r = ring();
    Place p;
    if (r.search(&p, true)) memory_.tail_hint().store(p.encode(), std::memory_order_release);
    if (r.search(&p, false)) memory_.head_hint().store(p.encode(), std::memory_order_release);
  }

  /// As Queue::reap(): the journal decides, then every word that names the dead is repaired.
  void reap(uint16_t dead) {
    Ring r = ring();
    Journal& j = journal_[dead - 1];
    if (j.op.load() == 1) {
      const Place p = Place::decode(j.place.load());
      bool published = false;
      if (p.position != 0) {
        const SlotWord w = SlotWord::decode(r.slot(p).word.load(std::memory_order_acquire));
        const bool still_mine =
            w.owner == dead && (w.state == SlotState::kWriting || w.state == SlotState::kTomb);
        published = j.phase.load() == 1 && !still_mine;
        if (still_mine) r.withdraw(p, dead);
      }
      RL_ASSERT(published == published_now_[dead - 1]);
      j.op.store(0);
    }
    for (uint32_t s = 0; s < kSegments; ++s) {
      for (uint32_t i = 0; i < Memory::kSlots; ++i) {
        const SlotWord w = SlotWord::decode(memory_.slot(s, i).word.load());
        if (w.owner == dead && (w.state == SlotState::kWriting || w.state == SlotState::kTomb))
          r.withdraw(Place{w.lap * Memory::kSlots + i, s}, dead);
      }
      const uint64_t raw = memory_.segment_word(s).load();
      const SegmentWord w = SegmentWord::decode(raw);
      if (w.state == SegmentState::kClaimed && w.owner == dead) r.resolve_claimed_segment(s, raw);
    }
  }

  void note_published(unsigned i, Place p, uint64_t value) {
    RL_ASSERT(p.position < kPositionsMax && value_at_[p.position] == 0);
    value_at_[p.position] = value;
    published_now_[i] = true;
    ++published_count_;
  }

  /// Takes follow one another in the order of the positions, which is the order of the puts.
  void note_taken(Place p, uint64_t id, uint64_t value) {
    RL_ASSERT(p.position < kPositionsMax && p.position > last_taken_);
    RL_ASSERT(id == Ring::message_id(p) && value == value_at_[p.position] && value != 0);
    for (uint64_t q = last_taken_ + 1; q < p.position; ++q) RL_ASSERT(value_at_[q] == 0);
    last_taken_ = p.position;
    ++taken_count_;
    ++fate.progress;
  }

  /// As Queue::size().
  void check_size() {
    Ring r = ring();
    const Place head = r.head_place(), tail = r.tail_place();
    RL_ASSERT(tail.position >= head.position);
    RL_ASSERT(tail.position - head.position - r.skipped_between(head, tail) ==
              published_count_ - taken_count_);
  }

  void drain() {
    while (take(kReaper)) {
    }
  }

  Memory memory_;
  Journal journal_[kThreads];
  rl::atomic<int> dead_;
  uint64_t head_seen_[kThreads] = {};
  bool published_now_[kThreads] = {};
  uint64_t value_at_[kPositionsMax] = {};
  uint64_t last_taken_ = 0;
  unsigned published_count_ = 0, taken_count_ = 0;
  bool reaped_ = false;
};

using OneToTwo = FifoModel<1, 2, 12, 3, 3>;
using TwoToOne = FifoModel<2, 1, 6, 4, 3>;
using TwoToTwo = FifoModel<2, 2, 6, 4, 2>;
using Tiny = FifoModel<1, 1, 2, 2, 2>;

TEST(FifoModel, OneProducerTwoConsumers) { EXPECT_HOLDS(run_random<OneToTwo>(12'000)); }
TEST(FifoModel, TwoProducersOneConsumer) { EXPECT_HOLDS(run_random<TwoToOne>(12'000)); }
TEST(FifoModel, TwoProducersTwoConsumers) { EXPECT_HOLDS(run_random<TwoToTwo>(12'000)); }
TEST(FifoModel, AllSchedulesWithTwoPreemptions) { EXPECT_HOLDS(run_bounded<Tiny>(2)); }

TEST(FifoMutant, PublishByStore) {
  EXPECT_CAUGHT(run_random<TwoToOne>(12'000, Mutant::kPublishByStore));
}
TEST(FifoMutant, BumpStepsOver) {
  EXPECT_CAUGHT(run_random<TwoToTwo>(12'000, Mutant::kBumpStepsOver));
}
TEST(FifoMutant, EntombByStore) {
  EXPECT_CAUGHT(run_random<TwoToOne>(12'000, Mutant::kEntombByStore));
}
TEST(FifoMutant, PassedBeforeItsSuccessor) {
  EXPECT_CAUGHT(run_random<OneToTwo>(12'000, Mutant::kPassedEarly));
}
TEST(FifoMutant, HintLeads) { EXPECT_CAUGHT(run_random<OneToTwo>(12'000, Mutant::kHintLeads)); }

}  // namespace
}  // namespace heddle::model
