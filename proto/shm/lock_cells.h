// Walking the cells of a lock. Included by the .cc files of the kinds that have cells.
#pragma once

#include "proto/shm/lock.h"

namespace heddle::shm {

template <class Visit>
bool Lock::each_cell(Visit visit) const {
  const uint32_t blocks_max = segment_->geometry().blocks_max;
  uint32_t next = line_->blocks.load(std::memory_order_acquire);
  // Bounded: a chain that bites its tail is somebody's scribbling.
  for (uint32_t i = 0; i < blocks_max && next != kNoBlock && next <= blocks_max; ++i) {
    const LinkWord word =
        LinkWord::decode(segment_->link(next - 1).load(std::memory_order_acquire));
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
