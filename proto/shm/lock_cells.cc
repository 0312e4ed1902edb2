// Cells: finding one's own, claiming an empty one, hanging another block of them onto a lock.
// Blocks and their crash story: lock_layout.h.
#include "proto/shm/lock_cells.h"

#include <fcntl.h>

#include "proto/shm/wait_note.h"

namespace heddle::shm {

bool LockSegment::reserve_block(uint32_t block) const {
  const auto at = static_cast<off_t>(geometry_.blocks_at + uint64_t{block} * sizeof(CellBlock));
  return fd_ < 0 || fallocate(fd_, 0, at, sizeof(CellBlock)) == 0;
}

uint32_t LockSegment::claim_block(uint16_t owner, uint32_t line) const {
  const uint32_t start = header().block_hint.load(std::memory_order_relaxed);
  for (uint32_t i = 0; i < geometry_.blocks_max; ++i) {
    const uint32_t block = (start % geometry_.blocks_max + i) % geometry_.blocks_max;
    uint64_t seen = link(block).load(std::memory_order_relaxed);
    if (LinkWord::decode(seen).state != LinkState::kFree) continue;
    const uint64_t mine = LinkWord{LinkState::kClaimed, owner, line, 0}.encode();
    if (!link(block).compare_exchange_strong(seen, mine)) continue;
    header().block_hint.store(block + 1, std::memory_order_relaxed);
    if (reserve_block(block)) return block + 1;
    link(block).store(LinkWord{}.encode());
    return kNoBlock;
  }
  return kNoBlock;
}

bool LockSegment::chained(uint32_t block, uint32_t line_index) const {
  uint32_t next = line(line_index).blocks.load(std::memory_order_acquire);
  for (ChainWalk walk; next != kNoBlock && next <= geometry_.blocks_max && !walk.bites(next);) {
    if (next == block) return true;
    next = LinkWord::decode(link(next - 1).load(std::memory_order_acquire)).next;
  }
  return false;
}

/// CLAIMED(owner) -> LINKED, whatever was hung behind it meanwhile.
void LockSegment::settle_link(uint32_t block, uint16_t owner) const {
  uint64_t seen = link(block - 1).load();
  for (;;) {
    LinkWord word = LinkWord::decode(seen);
    if (word.state != LinkState::kClaimed || word.owner != owner) return;
    word.state = LinkState::kLinked;
    word.owner = 0;
    if (link(block - 1).compare_exchange_weak(seen, word.encode())) return;
  }
}

bool Lock::grow(LockActor& a) {
  const uint32_t block = segment_->claim_block(a.owner, index_);
  if (block == kNoBlock) return false;
  for (uint32_t i = 0; i <= segment_->geometry().blocks_max; ++i) {
    if (gone()) break;
    uint32_t last = line_->blocks.load(std::memory_order_acquire);
    if (last == kNoBlock) {
      if (!line_->blocks.compare_exchange_strong(last, block)) continue;
      segment_->settle_link(block, a.owner);
      return true;
    }
    uint64_t seen = 0;
    LinkWord word{};
    for (ChainWalk walk; last <= segment_->geometry().blocks_max;) {
      if (walk.bites(last)) {
        i = segment_->geometry().blocks_max;  // no end to hang anything behind
        break;
      }
      seen = segment_->link(last - 1).load(std::memory_order_acquire);
      word = LinkWord::decode(seen);
      if (word.next == kNoBlock || word.next > segment_->geometry().blocks_max) break;
      last = word.next;
    }
    if (word.state == LinkState::kFree || word.line != index_ || word.next != kNoBlock) continue;
    word.next = block;
    if (!segment_->link(last - 1).compare_exchange_strong(seen, word.encode())) continue;
    segment_->settle_link(block, a.owner);
    return true;
  }
  segment_->link(block - 1).store(LinkWord{}.encode());
  return false;
}

Cell* Lock::claim_cell(LockActor& a, CellState state, uint64_t* word, bool grow_if_full) {
  for (int round = 0; round < 3; ++round) {
    Cell* claimed = nullptr;
    const auto claim = [&](Cell& cell) {
      uint64_t seen = cell.word.load(std::memory_order_acquire);
      if (state_in(seen) != CellState::kEmpty) return true;
      if (gone()) return false;
      const uint64_t mine = cell_word(seq_in(seen) + 1, state, a.holder());
      if (!cell.word.compare_exchange_strong(seen, mine)) return true;
      claimed = &cell;
      *word = mine;
      return false;
    };
    // Neighbours in number start with different cells of the first block.
    if (Cell* first = first_cell(uint32_t{a.owner} + a.thread); first != nullptr) claim(*first);
    if (claimed == nullptr) each_cell(claim);
    if (claimed != nullptr) return claimed;
    if (gone() || !grow_if_full || !grow(a)) return nullptr;
  }
  return nullptr;
}

Cell* Lock::own_cell(uint32_t holder, CellState state, uint64_t* word) const {
  Cell* found = nullptr;
  const auto look = [&](Cell& cell) {
    const uint64_t seen = cell.word.load(std::memory_order_acquire);
    if (holder_in(seen) != holder || state_in(seen) != state) return true;
    found = &cell;
    *word = seen;
    return false;
  };
  Cell* first = first_cell(uint32_t{owner_in(holder)} + thread_in(holder));
  if (first == nullptr || look(*first)) each_cell(look);
  return gone() ? nullptr : found;
}

/// Empties a cell as long as it is the claim of `word`, in whatever state.
void Lock::empty_cell(Cell& cell, uint64_t word) const {
  uint64_t seen = cell.word.load();
  while (seq_in(seen) == seq_in(word) && holder_in(seen) == holder_in(word)) {
    if (cell.word.compare_exchange_weak(seen, cell_emptied(seen))) return;
  }
}

/// Says in a cell that is claimed by `word` what its claim is about. False: it is not any more.
bool Lock::write_note(Cell& cell, uint64_t word, uint32_t value) const {
  uint64_t seen = cell.note.load();
  for (;;) {
    if (gone()) return false;
    if (cell.note.compare_exchange_weak(seen, (uint64_t{seq_in(word)} << 32) | value)) return true;
  }
}

/// What the claim of `word` is about; false when it has not said so yet.
bool Lock::read_note(const Cell& cell, uint64_t word, uint32_t* value) {
  const uint64_t note = cell.note.load();
  *value = static_cast<uint32_t>(note);
  return note >> 32 == seq_in(word);
}

/// The line's bit, then `dirty`, then the bell: a ringer that dies in between leaves what the
/// broker's next look finds.
void Lock::mark_dirty() {
  if (line_->armed.load() == 0) return;
  segment_->header().dirty_lines[index_ / 64 % 128].fetch_or(uint64_t{1} << index_ % 64);
  segment_->header().dirty.store(1);
}

void Lock::ring(LockActor& a) {
  if (line_->armed.load() == 0) return;
  segment_->header().dirty_lines[index_ / 64 % 128].fetch_or(uint64_t{1} << index_ % 64);
  if (segment_->header().dirty.exchange(1) == 0) ring_doorbell(a.doorbell_fd);
}

/// After SLEEPERS (or a waiter's cell) is set, so that the broker may clear first and look then.
void Lock::note_sleeper() {
  std::atomic<uint64_t>& bits = segment_->header().sleepers[index_ / 64 % 128];
  const uint64_t bit = uint64_t{1} << index_ % 64;
  if ((bits.load() & bit) == 0) bits.fetch_or(bit);
}

}  // namespace heddle::shm
