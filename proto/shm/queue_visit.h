// Visiting every slot that may hold something; for inspection, purging and reaping, not for hot
// paths.
#pragma once

#include "proto/shm/queue.h"

namespace heddle::shm {

/// visit(Place, raw) for each slot of each segment that was ever used, in memory order (not in id
/// order). The place's sequence is the word's lap, which is all that the ring needs to find the
/// slot.
template <class Visit>
void Queue::each_slot(Visit visit) const {
  for (uint32_t segment = 0; segment < memory_.segments(); ++segment) {
    const uint64_t word = memory_.segment_word(segment).load(std::memory_order_acquire);
    if (SegmentWord::decode(word).state == SegmentState::kUnbacked) break;
    for (uint32_t index = 0; index < kSlotsPerSegment; ++index) {
      const uint64_t raw = memory_.slot(segment, index).word.load(std::memory_order_acquire);
      if (SlotWord::decode(raw).state == SlotState::kFree) continue;
      visit(Place{SlotWord::decode(raw).lap * kSlotsPerSegment + index, segment}, raw);
    }
  }
}

}  // namespace heddle::shm
