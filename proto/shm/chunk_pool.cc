#include "proto/shm/chunk_pool.h"

#include <fcntl.h>

#include <bit>
#include <cerrno>

namespace heddle::shm {
namespace {

uint64_t extent_word(ExtentState state, uint16_t owner = 0, uint32_t size_class = 0,
                     uint32_t run = 0) {
  return ExtentWord{state, owner, static_cast<uint8_t>(size_class), run}.encode();
}

uint32_t class_of(uint64_t bytes) {
  if (bytes <= chunk_bytes(0)) return 0;
  return static_cast<uint32_t>(std::bit_width((bytes - 1) >> 8));
}

}  // namespace

std::atomic<uint64_t>& ChunkPool::extent(uint32_t e) const {
  return reinterpret_cast<std::atomic<uint64_t>*>(base_ + geometry_.extents_at)[e];
}

std::atomic<uint64_t>& ChunkPool::chunk_word(uint32_t e, uint32_t i) const {
  return reinterpret_cast<std::atomic<uint64_t>*>(
      base_ + geometry_.chunk_words_at)[uint64_t{e} * kChunksPerExtent + chunk_word_index(i)];
}

uint32_t ChunkPool::granted() const {
  const uint32_t granted = header().extents_granted.load(std::memory_order_relaxed);
  return granted < geometry_.extents ? granted : geometry_.extents;
}

uint32_t ChunkPool::used() const {
  const uint32_t used = header().extents_used.load(std::memory_order_acquire);
  return used < geometry_.extents ? used : geometry_.extents;
}

ChunkPool::Span ChunkPool::locate(uint32_t chunk) const {
  const uint32_t e = chunk / kChunksPerExtent, i = chunk % kChunksPerExtent;
  if (e >= geometry_.extents) return {nullptr, 0};
  std::byte* at = base_ + geometry_.area_at + uint64_t{e} * kExtentBytes;
  const ExtentWord w = ExtentWord::decode(extent(e).load(std::memory_order_acquire));
  if (w.state == ExtentState::kCarved && w.size_class < kChunkClasses &&
      i < chunks_in_extent(w.size_class))
    return {at + i * chunk_stride(w.size_class), chunk_bytes(w.size_class)};
  if (w.state == ExtentState::kRunHead && i == 0 && w.run <= geometry_.extents - e)
    return {at, uint64_t{w.run} * kExtentBytes};
  return {nullptr, 0};
}

uint64_t ChunkPool::word(uint32_t chunk) const {
  return chunk_word(chunk / kChunksPerExtent, chunk % kChunksPerExtent)
      .load(std::memory_order_acquire);
}

void ChunkPool::note_used(uint32_t extents) {
  auto& used = header().extents_used;
  uint32_t seen = used.load(std::memory_order_relaxed);
  while (seen < extents && !used.compare_exchange_weak(seen, extents)) {
  }
}

uint32_t ChunkPool::take(uint16_t owner, uint64_t bytes, ChunkCursors* cursors) {
  const uint32_t size_class = class_of(bytes);
  if (size_class < kChunkClasses) {
    uint32_t chunk = take_offered(owner, size_class, cursors);
    if (chunk == kChunkNone) chunk = take_hinted(owner, size_class, 0);
    if (chunk == kChunkNone) chunk = take_carved(owner, size_class, cursors);
    if (chunk == kChunkNone) chunk = carve(owner, size_class, cursors);
    if (chunk != kChunkNone) return chunk;
    cursors->scans_owed = 0;
    chunk = take_carved(owner, size_class, cursors);
    if (chunk == kChunkNone && reclaim(owner)) chunk = carve(owner, size_class, cursors);
    return chunk != kChunkNone ? chunk : lack(1, cursors);
  }
  const uint32_t run = static_cast<uint32_t>((bytes + kExtentBytes - 1) / kExtentBytes);
  uint32_t chunk = take_hinted(owner, kClassRun, run);
  if (chunk == kChunkNone) chunk = take_free_run(owner, run);
  if (chunk == kChunkNone) chunk = make_run(owner, run, cursors);
  if (chunk == kChunkNone && reclaim(owner)) chunk = make_run(owner, run, cursors);
  return chunk != kChunkNone ? chunk : lack(run, cursors);
}

/// What the failed one would have needed, for Queue::lacking().
uint32_t ChunkPool::lack(uint32_t run, ChunkCursors* cursors) const {
  const uint32_t granted = this->granted();
  const uint32_t left = geometry_.extents - granted;
  cursors->extents_lacking = left == 0 ? 0 : granted + (run < left ? run : left);
  return kChunkNone;
}

/// The chunk that the last claimed slot held one lap ago: long free again, and no other thread
/// looks there.
uint32_t ChunkPool::take_offered(uint16_t owner, uint32_t size_class, ChunkCursors* cursors) {
  const uint32_t chunk = cursors->offered;
  cursors->offered = kChunkNone;
  const uint32_t e = chunk / kChunksPerExtent;
  if (e >= geometry_.extents) return kChunkNone;
  const uint64_t shape = extent_word(ExtentState::kCarved, 0, size_class);
  if (extent(e).load(std::memory_order_acquire) != shape) return kChunkNone;
  auto& word = chunk_word(e, chunk % kChunksPerExtent);
  if (!cas_word(word, kChunkFree, chunk_owned(owner))) return kChunkNone;
  if (extent(e).load(std::memory_order_acquire) == shape) return chunk;
  word.store(kChunkFree, std::memory_order_release);
  return kChunkNone;
}

uint32_t ChunkPool::take_hinted(uint16_t owner, uint32_t size_class, uint32_t run) {
  for (auto& cell : header().chunk_hints[size_class]) {
    const uint32_t hint = cell.load(std::memory_order_relaxed);
    if (hint == 0) continue;
    const uint32_t chunk = hint - 1, e = chunk / kChunksPerExtent;
    if (e >= geometry_.extents) {
      cell.store(0, std::memory_order_relaxed);
      continue;
    }
    const uint64_t shape = run == 0 ? extent_word(ExtentState::kCarved, 0, size_class)
                                    : extent_word(ExtentState::kRunHead, 0, kClassRun, run);
    if (run != 0 && extent(e).load(std::memory_order_acquire) != shape) continue;
    cell.store(0, std::memory_order_relaxed);
    auto& word = chunk_word(e, chunk % kChunksPerExtent);
    if (!cas_word(word, kChunkFree, chunk_owned(owner))) continue;
    if (extent(e).load(std::memory_order_acquire) == shape) return chunk;
    word.store(kChunkFree, std::memory_order_release);
  }
  return kChunkNone;
}

uint32_t ChunkPool::search_extent(uint16_t owner, uint32_t e, uint32_t from, uint32_t size_class) {
  const uint64_t shape = extent_word(ExtentState::kCarved, 0, size_class);
  if (extent(e).load(std::memory_order_acquire) != shape) return kChunkNone;
  for (uint32_t i = from; i < chunks_in_extent(size_class); ++i) {
    auto& word = chunk_word(e, i);
    if (word.load(std::memory_order_relaxed) != kChunkFree) continue;
    if (!cas_word(word, kChunkFree, chunk_owned(owner))) continue;
    if (extent(e).load(std::memory_order_acquire) == shape) return e * kChunksPerExtent + i;
    word.store(kChunkFree, std::memory_order_release);
    return kChunkNone;
  }
  return kChunkNone;
}

uint32_t ChunkPool::take_carved(uint16_t owner, uint32_t size_class, ChunkCursors* cursors) {
  const uint32_t start = cursors->extent[size_class];
  uint32_t chunk = search_extent(owner, start, cursors->chunk[size_class], size_class);
  if (chunk == kChunkNone && cursors->scans_owed > 0) return kChunkNone;
  const uint32_t n = used();
  for (uint32_t e = 0; e < n && chunk == kChunkNone; ++e)
    chunk = search_extent(owner, e, 0, size_class);
  if (chunk == kChunkNone) return kChunkNone;
  cursors->extent[size_class] = chunk / kChunksPerExtent;
  cursors->chunk[size_class] = chunk % kChunksPerExtent + 1;
  return chunk;
}

bool ChunkPool::back(uint32_t e, uint32_t count) {
  if (fd_ < 0) return true;
  const QueueGeometry& g = geometry_;
  const uint64_t words = uint64_t{kChunksPerExtent} * sizeof(uint64_t);
  const auto reserve = [this](uint64_t at, uint64_t bytes) {
    int result;
    do {
      result = fallocate(fd_, 0, static_cast<off_t>(at), static_cast<off_t>(bytes));
    } while (result != 0 && errno == EINTR);
    return result == 0;
  };
  return reserve(g.chunk_words_at + e * words, count * words) &&
         reserve(g.area_at + uint64_t{e} * kExtentBytes, uint64_t{count} * kExtentBytes);
}

uint32_t ChunkPool::carve(uint16_t owner, uint32_t size_class, ChunkCursors* cursors) {
  const uint64_t claimed = extent_word(ExtentState::kClaimed, owner, size_class);
  const uint32_t n = granted();
  for (uint32_t step = 0; step < n; ++step) {
    const uint32_t e = (cursors->empty + step) % n;
    if (extent(e).load(std::memory_order_relaxed) != kExtentEmpty) continue;
    note_used(e + 1);
    if (!cas_word(extent(e), kExtentEmpty, claimed)) continue;
    if (!back(e, 1)) {
      cursors->machine_lacking = true;
      cas_word(extent(e), claimed, kExtentEmpty);
      return kChunkNone;
    }
    const bool mine = cas_word(chunk_word(e, 0), kChunkFree, chunk_owned(owner));
    cas_word(extent(e), claimed, extent_word(ExtentState::kCarved, 0, size_class));
    cursors->empty = e + 1 < n ? e + 1 : 0;
    cursors->extent[size_class] = e;
    cursors->chunk[size_class] = 1;
    // A failed search of everything is not repeated before an eighth more has been carved.
    cursors->scans_owed = cursors->scans_owed > 0 ? cursors->scans_owed - 1
                                                  : header().extents_used.load() / 8;
    if (mine) return e * kChunksPerExtent;
    return search_extent(owner, e, 1, size_class);
  }
  return kChunkNone;
}

uint32_t ChunkPool::take_free_run(uint16_t owner, uint32_t run) {
  const uint32_t n = used();
  const uint64_t shape = extent_word(ExtentState::kRunHead, 0, kClassRun, run);
  for (uint32_t e = 0; e < n; ++e) {
    if (extent(e).load(std::memory_order_relaxed) != shape) continue;
    if (!cas_word(chunk_word(e, 0), kChunkFree, chunk_owned(owner))) continue;
    if (extent(e).load(std::memory_order_acquire) == shape) return e * kChunksPerExtent;
    chunk_word(e, 0).store(kChunkFree, std::memory_order_release);
  }
  return kChunkNone;
}

void ChunkPool::abandon_run(uint16_t owner, uint32_t e, uint32_t members) {
  const uint64_t member = extent_word(ExtentState::kClaimed, owner, kClassRun);
  for (uint32_t j = members; j > 0; --j) cas_word(extent(e + j), member, kExtentEmpty);
  const uint64_t head = extent(e).load(std::memory_order_acquire);
  const ExtentWord w = ExtentWord::decode(head);
  if (w.state == ExtentState::kClaimed && w.owner == owner) cas_word(extent(e), head, kExtentEmpty);
}

/// Claims [e, e + run). Returns 0, or how far the caller must go on to look again.
uint32_t ChunkPool::claim_run(uint16_t owner, uint32_t e, uint32_t run) {
  if (extent(e).load(std::memory_order_relaxed) != kExtentEmpty) return 1;
  note_used(e + run);
  if (!cas_word(extent(e), kExtentEmpty, extent_word(ExtentState::kClaimed, owner, kClassRun, run)))
    return 1;
  for (uint32_t j = 1; j < run; ++j) {
    if (cas_word(extent(e + j), kExtentEmpty, extent_word(ExtentState::kClaimed, owner, kClassRun)))
      continue;
    abandon_run(owner, e, j - 1);
    return j + 1;
  }
  return 0;
}

uint32_t ChunkPool::make_run(uint16_t owner, uint32_t run, ChunkCursors* cursors) {
  const uint32_t n = granted();
  for (uint32_t e = 0; e < n && run <= n - e;) {
    const uint32_t further = claim_run(owner, e, run);
    if (further != 0) {
      e += further;
      continue;
    }
    if (!back(e, run)) {
      cursors->machine_lacking = true;
      abandon_run(owner, e, run - 1);
      return kChunkNone;
    }
    const uint64_t member = extent_word(ExtentState::kClaimed, owner, kClassRun);
    for (uint32_t j = 1; j < run; ++j)
      cas_word(extent(e + j), member, extent_word(ExtentState::kRunPart, 0, kClassRun));
    // A thawed stranger may hold the word for an instant (C3); it gives it back. Only damage holds
    // it.
    for (uint32_t tries = 0; !cas_word(chunk_word(e, 0), kChunkFree, chunk_owned(owner)); ++tries) {
      if (tries < kTriesMax) continue;
      unmake_run(e, run);
      abandon_run(owner, e, 0);
      return kChunkNone;
    }
    cas_word(extent(e), extent_word(ExtentState::kClaimed, owner, kClassRun, run),
        extent_word(ExtentState::kRunHead, 0, kClassRun, run));
    return e * kChunksPerExtent;
  }
  return kChunkNone;
}

void ChunkPool::queue(uint32_t chunk, uint64_t id) {
  chunk_word(chunk / kChunksPerExtent, chunk % kChunksPerExtent)
      .store(chunk_queued(id), std::memory_order_release);
}

void ChunkPool::unqueue(uint32_t chunk, uint16_t owner) {
  chunk_word(chunk / kChunksPerExtent, chunk % kChunksPerExtent)
      .store(chunk_owned(owner), std::memory_order_release);
}

void ChunkPool::note_free(uint32_t chunk, uint32_t size_class) {
  for (auto& cell : header().chunk_hints[size_class]) {
    if (cell.load(std::memory_order_relaxed) != 0) continue;
    cell.store(chunk + 1, std::memory_order_relaxed);
    return;
  }
}

bool ChunkPool::release(uint32_t chunk, uint64_t expected) {
  const uint32_t e = chunk / kChunksPerExtent;
  if (e >= geometry_.extents) return false;
  const ExtentWord w = ExtentWord::decode(extent(e).load(std::memory_order_acquire));
  if (!cas_word(chunk_word(e, chunk % kChunksPerExtent), expected, kChunkFree)) return false;
  note_free(chunk, w.state == ExtentState::kCarved && w.size_class < kChunkClasses ? w.size_class
                                                                                  : kClassRun);
  return true;
}

}  // namespace heddle::shm
