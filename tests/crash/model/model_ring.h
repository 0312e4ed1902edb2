// The words of a small queue for Ring: two slots a segment, a few segments, every word a modelled
// atomic.
#pragma once

#include "tests/crash/model/model_atomic.h"

#include "proto/shm/queue_ring.h"

namespace heddle::model {

using shm::Found;
using shm::Place;
using shm::SegmentState;
using shm::SegmentWord;
using shm::SlotState;
using shm::SlotWord;
using shm::Walk;

/// The truth word of a slot, with the mutants that concern it.
class SlotAtomic : public Atomic<uint64_t> {
 public:
  bool compare_exchange_strong(uint64_t& expected, uint64_t desired,
                               std::memory_order o = std::memory_order_seq_cst) {
    const SlotWord from = SlotWord::decode(expected), to = SlotWord::decode(desired);
    const bool publish = from.state == SlotState::kWriting && to.state == SlotState::kReady;
    const bool entomb = from.state == SlotState::kWriting && to.state == SlotState::kTomb;
    if ((mutant == Mutant::kPublishByStore && publish) ||
        (mutant == Mutant::kEntombByStore && entomb)) {
      store(desired);
      return true;
    }
    const bool done = Atomic::compare_exchange_strong(expected, desired, o);
    const bool bump = shm::is_pinned(from.state) && to.state == from.state && to.lap > from.lap;
    return done || (mutant == Mutant::kBumpStepsOver && bump);
  }
};

class HintAtomic : public Atomic<uint64_t> {
 public:
  void store(uint64_t v, std::memory_order o = std::memory_order_seq_cst) {
    Place p = Place::decode(v);
    if (mutant == Mutant::kHintLeads && p.position % 2 == 0) ++p.position;
    Atomic::store(p.encode(), o);
  }
};

template <uint32_t kSegments>
class ModelMemory {
 public:
  static constexpr uint32_t kSlots = 2;

  struct Slot {
    SlotAtomic word;
    Atomic<uint64_t> id;
    Atomic<uint64_t> value;
  };

  /// As queue_format().
  void format() {
    for (auto& segment : slots_) {
      for (auto& slot : segment) {
        slot.word.store(0);
        slot.id.store(0);
        slot.value.store(0);
      }
    }
    for (uint32_t i = 0; i < kSegments; ++i) {
      words_[i].store(0);
      nexts_[i].memory = this;
      nexts_[i].segment = i;
      nexts_[i].store(0);
      returned_[i].store(0);
      skips_[i].store(0);
      skips_before_[i].store(0);
    }
    summary_.store(0);
    skips_at_.store(0);
    nexts_[0].store(shm::ring_next_word(1, shm::kSegmentNone));
    words_[0].store(SegmentWord{1, 0, SegmentState::kLinked}.encode());
    tail_.Atomic::store(Place{kSlots, 0}.encode());
    head_.Atomic::store(Place{kSlots, 0}.encode());
  }

  Slot& slot(uint32_t segment, uint32_t index) { return slots_[segment][index]; }
  uint32_t segments() const { return kSegments; }
  uint32_t segments_granted(bool) const { return kSegments; }
  uint32_t steps_max() const { return 500; }
  auto& tail_hint() { return tail_; }
  auto& head_hint() { return head_; }
  auto& returned(uint32_t segment, uint32_t) { return returned_[segment]; }
  auto& returned_summary() { return summary_; }
  auto& skips_at() { return skips_at_; }
  auto& segment_skips(uint32_t segment) { return skips_[segment]; }
  auto& skips_before(uint32_t segment) { return skips_before_[segment]; }
  auto& segment_word(uint32_t segment) { return words_[segment]; }
  auto& next(uint32_t segment) { return nexts_[segment]; }
  uint32_t segment_hint() const { return 0; }
  void segment_became_free(uint32_t) {}
  void segment_was_claimed(uint32_t) {}
  bool crowded(uint32_t, uint64_t) const { return false; }
  void mark_crowded(uint32_t, uint64_t) {}
  bool back_segment(uint32_t) { return true; }
  template <class Word>
  bool wait_for_publish(Word& word, uint64_t raw) {
    return word.load(std::memory_order_acquire) != raw;
  }

  /// The thread's role, for the mutant that passes a segment too early.
  bool consumer[8] = {};

 private:
  struct NextAtomic : Atomic<uint64_t> {
    ModelMemory* memory;
    uint32_t segment;
    uint64_t load(std::memory_order o = std::memory_order_seq_cst) const {
      const uint64_t v = Atomic::load(o);
      if (mutant == Mutant::kPassedEarly && memory->consumer[rl::thread_index()] &&
          (v & ((1u << 21) - 1)) == shm::kSegmentNone) {
        uint64_t linked = SegmentWord{v >> 21, 0, SegmentState::kLinked}.encode();
        memory->words_[segment].compare_exchange_strong(
            linked, SegmentWord{v >> 21, 0, SegmentState::kPassed}.encode());
      }
      return v;
    }
  };

  Slot slots_[kSegments][kSlots];
  Atomic<uint64_t> words_[kSegments];
  NextAtomic nexts_[kSegments];
  Atomic<uint64_t> returned_[kSegments];
  Atomic<uint64_t> skips_[kSegments];
  Atomic<uint64_t> skips_before_[kSegments];
  Atomic<uint64_t> summary_;
  Atomic<uint64_t> skips_at_;
  HintAtomic tail_;
  HintAtomic head_;
};

}  // namespace heddle::model
