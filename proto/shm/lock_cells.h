// Walking the cells of a lock. Included by the .cc files of the kinds that have cells.
#pragma once

#include "proto/shm/lock.h"
#include "proto/shm/lock_mutant.h"

namespace heddle::shm {

/// Ends a walk along a chain that bites its tail, which is somebody's scribbling, within three
/// times its length: a walk is as long as the blocks that name its line, whatever they say.
class ChainWalk {
 public:
  bool bites(uint32_t next) {
    if (next == mark_) return true;
    if (++steps_ == limit_) mark_ = next, steps_ = 0, limit_ *= 2;
    return false;
  }

 private:
  uint32_t mark_ = 0, steps_ = 0, limit_ = 1;
};

template <class Visit>
bool Lock::each_cell(Visit visit) const {
  const uint32_t blocks_max = segment_->geometry().blocks_max;
  uint32_t next = line_->blocks.load();
  for (ChainWalk walk; next != kNoBlock && next <= blocks_max && !walk.bites(next);) {
    const LinkWord word = LinkWord::decode(segment_->link(next - 1).load());
    if (word.line != index_ || word.state == LinkState::kFree) return true;
    for (Cell& cell : segment_->block(next - 1).cells) {
      if (!visit(cell)) return false;
    }
    next = word.next;
  }
  return true;
}

inline Cell* Lock::first_cell(uint32_t number) const {
  const uint32_t block = line_->blocks.load(std::memory_order_acquire);
  if (block == kNoBlock || block > segment_->geometry().blocks_max) return nullptr;
  return &segment_->block(block - 1).cells[number % kCellsPerBlock];
}

}  // namespace heddle::shm
