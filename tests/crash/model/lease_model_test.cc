// Put, lease, acknowledge, give back and the end of the stream over the same ring, with a thread
// that dies or freezes at any operation: no message has two holders or vanishes, none is stranded,
// and nobody believes in the end while a message may still come.
#include "tests/crash/model/model_check.h"
#include "tests/crash/model/model_ring.h"

namespace heddle::model {
namespace {

constexpr unsigned kIdsMax = 256;
constexpr unsigned kNobody = 255;
constexpr unsigned kMaxLen = 2;
constexpr uint16_t kReaper = 9;

enum class Take { kTaken, kLeased, kEmpty, kEnd };

/// Threads: producers, then consumers, then (if kShutdown) one that ends the stream.
template <unsigned kProducers, unsigned kConsumers, unsigned kMessages, uint32_t kSegments,
          bool kShutdown>
class LeaseModel
    : public rl::test_suite<LeaseModel<kProducers, kConsumers, kMessages, kSegments, kShutdown>,
                            kProducers + kConsumers + (kShutdown ? 1 : 0)> {
 public:
  using Memory = ModelMemory<kSegments>;
  using Ring = shm::Ring<Memory>;
  static constexpr unsigned kThreads = kProducers + kConsumers + (kShutdown ? 1 : 0);

  void before() {
    fate = Fate{};
    memory_.format();
    closed_flag_.store(0);
    dead_.store(0, rl::mo_relaxed, RL_INFO);
    for (auto& holder : holder_) holder = kNobody;
    fate.draw(kThreads, 25 * kMessages, kMessages * kProducers);
  }

  void thread(unsigned i) {
    try {
      if (i < kProducers) {
        for (unsigned k = 1; k <= kMessages && put(i, (i + 1) * 100 + k); ++k) {
        }
      } else if (i < kProducers + kConsumers) {
        consume(i);
      } else {
        shutdown(i);
      }
    } catch (Stopped) {
      dead_.store(1, rl::mo_release, RL_INFO);
    }
    ++fate.finished;
  }

  void after() {
    const bool died = fate.stopped && fate.dies;
    const auto dead = owner_of(static_cast<unsigned>(fate.victim));
    fate.victim = -1;
    if (died) {
      reap(dead);
      reap(dead);
    }
    for (uint32_t s = 0; s < kSegments; ++s) {
      for (uint32_t i = 0; i < Memory::kSlots; ++i) {
        const SlotState state = SlotWord::decode(memory_.slot(s, i).word.load()).state;
        RL_ASSERT(state != SlotState::kLeased && state != SlotState::kWriting &&
                  state != SlotState::kTomb);
      }
    }
    Found at;
    uint64_t raw;
    Take outcome;
    do {
      outcome = take(kReaper - 1, true, &at, &raw);
    } while (outcome == Take::kTaken);
    RL_ASSERT(outcome == (kShutdown && !died_before_end(dead, died) ? Take::kEnd : outcome));
    RL_ASSERT(gone_count_ == published_count_);
  }

 private:
  Ring ring() { return Ring(&memory_); }
  static uint16_t owner_of(unsigned thread) { return static_cast<uint16_t>(thread + 1); }
  bool died_before_end(uint16_t dead, bool died) const {
    return mutant == Mutant::kEndByFlag || (died && dead == kThreads) || !end_placed_;
  }

  // ---- putting, as Queue::claim_publish() ----

  bool put(unsigned i, uint64_t value) {
    Ring r = ring();
    for (unsigned tries = 0; tries < 30; ++tries) {
      if (mutant == Mutant::kEndByFlag && closed_flag_.load() != 0) return false;
      const Found at = r.find_tail(owner_of(i));
      if (at.walk == Walk::kEnd) return false;
      RL_ASSERT(at.walk == Walk::kFound || at.walk == Walk::kNoMemory);
      if (at.walk != Walk::kFound || !room_at(at.place)) {
        rl::yield(1, RL_INFO);
        continue;
      }
      if (!r.claim(at.place, at.word, owner_of(i))) continue;
      auto& slot = r.slot(at.place);
      slot.id.store(Ring::message_id(at.place), std::memory_order_relaxed);
      slot.value.store(value, std::memory_order_relaxed);
      if (r.publish(at.place, owner_of(i))) {
        note_published(at.place, value);
        r.store_tail_hint(at.place);
        return true;
      }
      r.withdraw(at.place, owner_of(i));
    }
    return false;
  }

  bool room_at(Place at) {
    Ring r = ring();
    const Place head = r.head_place();
    if (at.position <= head.position) return true;
    return at.position - head.position - r.skipped_between(head, at) < kMaxLen;
  }

  /// As Queue::place_end().
  void shutdown(unsigned i) {
    for (unsigned n = rl::rand(60); n > 0; --n) rl::yield(1, RL_INFO);
    if (mutant == Mutant::kEndByFlag) {
      closed_flag_.store(1);
      return;
    }
    for (;;) {
      const Found at = ring().find_tail(owner_of(i));
      if (at.walk == Walk::kNoMemory) return;
      RL_ASSERT(at.walk == Walk::kFound);
      if (!ring().claim_end(at, owner_of(i), 0)) continue;
      end_placed_ = true;
      return;
    }
  }

  // ---- taking, as Queue::try_take() ----

  void consume(unsigned i) {
    for (unsigned empty = 0; empty < 12;) {
      Found at;
      uint64_t raw;
      const Take outcome = take(i, rl::rand(3) == 0, &at, &raw);
      if (outcome == Take::kEnd) return;
      if (outcome == Take::kLeased) settle(i, at.place, raw);
      if (outcome != Take::kEmpty) continue;
      ++empty;
      if (dead_.load(rl::mo_acquire, RL_INFO) == 1 && !reaped_) {
        reaped_ = true;  // one reaper at a time
        reap(owner_of(static_cast<unsigned>(fate.victim)));
      }
      rl::yield(1, RL_INFO);
    }
  }

  Take take(unsigned i, bool automatic, Found* at, uint64_t* raw) {
    for (;;) {
      bool returned = false;
      if (memory_.returned_summary().load(std::memory_order_acquire) != 0)
        returned = find_returned(at);
      if (!returned) *at = ring().find_head();
      RL_ASSERT(at->walk == Walk::kFound || at->walk == Walk::kEmpty || at->walk == Walk::kEnd);
      if (at->walk == Walk::kEmpty)
        return mutant == Mutant::kEndByFlag && closed_flag_.load() != 0 ? end(i) : Take::kEmpty;
      if (at->walk == Walk::kEnd) return others_hold(i) ? Take::kEmpty : end(i);
      auto& slot = ring().slot(at->place);
      *raw = at->word;
      const uint64_t id = slot.id.load(std::memory_order_relaxed);
      const uint64_t value = slot.value.load(std::memory_order_relaxed);
      if (automatic ? !ring().consume(at->place, at->word, owner_of(i))
                    : !ring().lease(at->place, raw, owner_of(i)))
        continue;
      note_leased(i, id, value);
      if (automatic) note_gone(i, id);
      if (returned) forget_returned(at->place, automatic ? 0 : *raw);
      if (!returned) ring().store_head_hint(at->place);
      return automatic ? Take::kTaken : Take::kLeased;
    }
  }

  Take end(unsigned i) {
    ended_ = true;
    for (uint64_t id = 1; id < kIdsMax; ++id)
      RL_ASSERT(value_of_[id] == 0 || gone_[id] || holder_[id] == i);
    return Take::kEnd;
  }

  bool others_hold(unsigned i) {
    if (mutant == Mutant::kOwnLeaseUnseen) return false;
    bool held = false;
    for (uint32_t s = 0; s < kSegments; ++s) {
      for (uint32_t k = 0; k < Memory::kSlots; ++k) {
        const SlotWord w =
            SlotWord::decode(memory_.slot(s, k).word.load(std::memory_order_acquire));
        held |= w.state == SlotState::kReturned ||
                (w.state == SlotState::kLeased && w.owner != owner_of(i));
      }
    }
    return held;
  }

  bool find_returned(Found* at) {
    uint64_t best = UINT64_MAX;
    const uint64_t summary = memory_.returned_summary().load(std::memory_order_acquire);
    for (uint32_t s = 0; s < kSegments; ++s) {
      if ((summary >> s & 1) == 0) continue;
      const uint64_t bits = memory_.returned(s, 0).load(std::memory_order_acquire);
      for (uint32_t k = 0; k < Memory::kSlots; ++k) {
        if ((bits >> k & 1) == 0) continue;
        const uint64_t raw = memory_.slot(s, k).word.load(std::memory_order_acquire);
        const SlotWord w = SlotWord::decode(raw);
        const Place p{w.lap * Memory::kSlots + k, s};
        const uint64_t id = memory_.slot(s, k).id.load(std::memory_order_relaxed);
        if (w.state != SlotState::kReturned) {
          if (w.state != SlotState::kLeased) forget_returned(p, 0);
          continue;
        }
        if (id >= best) continue;
        best = id;
        *at = {Walk::kFound, p, raw};
      }
      if (bits == 0) {
        memory_.returned_summary().fetch_and(~(uint64_t{1} << s));
        if (memory_.returned(s, 0).load() != 0)
          memory_.returned_summary().fetch_or(uint64_t{1} << s);
      }
    }
    return best != UINT64_MAX;
  }

  /// `mine` is the lease that the caller has just made; every other one may be on its way back.
  void forget_returned(Place p, uint64_t mine) {
    Ring r = ring();
    r.forget_returned(p);
    const uint64_t now = r.slot(p).word.load(std::memory_order_seq_cst);
    const SlotState state = SlotWord::decode(now).state;
    if (state == SlotState::kReturned || (state == SlotState::kLeased && now != mine))
      r.note_returned(p);
  }

  // ---- the end of a lease ----

  void settle(unsigned i, Place p, uint64_t raw) {
    const uint64_t id = ring().slot(p).id.load(std::memory_order_relaxed);
    if (SlotWord::decode(raw).count < 2 && rl::rand(2) == 0) {
      RL_ASSERT(give_back(owner_of(i), p, raw, id));
    } else {
      ack(i, p, raw, id);
    }
  }

  /// As Queue::finish().
  void ack(unsigned i, Place p, uint64_t raw, uint64_t id) {
    while (!ring().release(p, raw, owner_of(i))) {
      raw = ring().slot(p).word.load(std::memory_order_acquire);
      const SlotWord w = SlotWord::decode(raw);
      RL_ASSERT(w.state == SlotState::kLeased && w.owner == owner_of(i));
    }
    note_gone(i, id);
  }

  /// As Queue::give_back().
  bool give_back(uint16_t holder, Place p, uint64_t raw, uint64_t id) {
    for (;;) {
      const SlotWord w = SlotWord::decode(raw);
      if (w.state != SlotState::kLeased || w.owner != holder ||
          ring().slot(p).id.load(std::memory_order_relaxed) != id)
        return false;
      ring().note_returned(p);
      if (ring().move(p, raw, SlotState::kReturned, 0, static_cast<uint8_t>(w.count + 1))) break;
      raw = ring().slot(p).word.load(std::memory_order_acquire);
    }
    RL_ASSERT(holder_[id] == holder - 1u && !gone_[id]);
    holder_[id] = kNobody;
    return true;
  }

  /// As Queue::reap(). The bitmap is rebuilt because the dead may have been about to set a bit
  /// again.
  void reap(uint16_t dead) {
    Ring r = ring();
    for (uint32_t s = 0; s < kSegments; ++s) {
      for (uint32_t k = 0; k < Memory::kSlots; ++k) {
        auto& slot = memory_.slot(s, k);
        const uint64_t raw = slot.word.load();
        const SlotWord w = SlotWord::decode(raw);
        const Place p{w.lap * Memory::kSlots + k, s};
        if (w.owner != dead) continue;
        if (w.state == SlotState::kWriting || w.state == SlotState::kTomb) r.withdraw(p, dead);
        if (w.state == SlotState::kLeased) give_back(dead, p, raw, slot.id.load());
      }
      const uint64_t raw = memory_.segment_word(s).load();
      const SegmentWord w = SegmentWord::decode(raw);
      if (w.state == SegmentState::kClaimed && w.owner == dead) r.resolve_claimed_segment(s, raw);
    }
    for (uint32_t s = 0; s < kSegments; ++s) {
      for (uint32_t k = 0; k < Memory::kSlots; ++k) {
        const SlotWord w = SlotWord::decode(memory_.slot(s, k).word.load());
        if (w.state == SlotState::kReturned) r.note_returned(Place{w.lap * Memory::kSlots + k, s});
      }
    }
  }

  // ---- what must hold ----

  void note_published(Place p, uint64_t value) {
    const uint64_t id = Ring::message_id(p);
    RL_ASSERT(!ended_ && id < kIdsMax && value_of_[id] == 0);
    value_of_[id] = value;
    ++published_count_;
  }

  /// First deliveries come in the order of the puts; afterwards anybody may have it again, one at a
  /// time.
  void note_leased(unsigned i, uint64_t id, uint64_t value) {
    RL_ASSERT(id < kIdsMax && value != 0 && value_of_[id] == value && !gone_[id]);
    RL_ASSERT(holder_[id] == kNobody);
    if (!delivered_[id]) {
      RL_ASSERT(id > last_first_);
      for (uint64_t q = last_first_ + 1; q < id; ++q) RL_ASSERT(value_of_[q] == 0);
      last_first_ = id;
    }
    delivered_[id] = true;
    holder_[id] = i;
    ++fate.progress;
  }

  void note_gone(unsigned i, uint64_t id) {
    RL_ASSERT(holder_[id] == i && !gone_[id]);
    holder_[id] = kNobody;
    gone_[id] = true;
    ++gone_count_;
  }

  Memory memory_;
  Atomic<int> closed_flag_;
  rl::atomic<int> dead_;
  uint64_t value_of_[kIdsMax] = {};
  unsigned holder_[kIdsMax];
  bool delivered_[kIdsMax] = {};
  bool gone_[kIdsMax] = {};
  uint64_t last_first_ = 0;
  unsigned published_count_ = 0, gone_count_ = 0;
  bool reaped_ = false, ended_ = false, end_placed_ = false;
};

using OneToTwo = LeaseModel<1, 2, 5, 3, false>;
using Ending = LeaseModel<1, 2, 4, 3, true>;
using EndingTwo = LeaseModel<2, 1, 3, 4, true>;

TEST(LeaseModel, OneProducerTwoHolders) { EXPECT_HOLDS(run_random<OneToTwo>(40'000)); }
TEST(LeaseModel, EndWithTwoHolders) { EXPECT_HOLDS(run_random<Ending>(40'000)); }
TEST(LeaseModel, EndAgainstTwoProducers) { EXPECT_HOLDS(run_random<EndingTwo>(40'000)); }

TEST(LeaseMutant, LeaseOfAnotherUnseenAtTheEnd) {
  EXPECT_CAUGHT(run_random<Ending>(20'000, Mutant::kOwnLeaseUnseen));
}
TEST(LeaseMutant, EndByFlag) { EXPECT_CAUGHT(run_random<EndingTwo>(20'000, Mutant::kEndByFlag)); }

}  // namespace
}  // namespace heddle::model
