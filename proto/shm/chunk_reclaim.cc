// The rare half of the chunk pool: taking extents apart, giving memory back, repairing after a
// death.
#include <fcntl.h>

#include "proto/shm/chunk_pool.h"

namespace heddle::shm {

/// Unmakes the parts that follow head `e` (C2), high to low. The head itself is the caller's.
void ChunkPool::unmake_run(uint32_t e, uint32_t run) {
  const uint64_t part = ExtentWord{ExtentState::kRunPart, 0, kClassRun, 0}.encode();
  const uint32_t left = geometry_.extents - e;
  uint32_t parts = 0;
  while (parts + 1 < run && parts + 1 < left &&
         extent(e + parts + 1).load(std::memory_order_acquire) == part)
    ++parts;
  for (; parts > 0; --parts) cas_word(extent(e + parts), part, kExtentEmpty);
}

/// Takes a fully free extent or run apart. False if some of it is in use.
bool ChunkPool::dissolve(uint16_t owner, uint32_t e, bool punch) {
  const uint64_t shape = extent(e).load(std::memory_order_acquire);
  const ExtentWord w = ExtentWord::decode(shape);
  const bool run = w.state == ExtentState::kRunHead;
  if (!run && (w.state != ExtentState::kCarved || w.size_class >= kChunkClasses)) return false;
  const uint32_t n = run ? 1 : chunks_in_extent(w.size_class);
  uint32_t taken = 0;
  while (taken < n && cas_word(chunk_word(e, taken), kChunkFree, chunk_owned(owner))) ++taken;
  const uint64_t punching = ExtentWord{ExtentState::kPunching, owner, w.size_class, w.run}.encode();
  const bool whole = taken == n && cas_word(extent(e), shape, punching);
  if (whole) {
    const uint64_t bytes = (run ? uint64_t{w.run} : 1) * kExtentBytes;
    if (punch && fd_ >= 0)
      (void)fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      static_cast<off_t>(geometry_.area_at + uint64_t{e} * kExtentBytes),
                      static_cast<off_t>(bytes));
    if (run) unmake_run(e, w.run);
  }
  while (taken > 0) chunk_word(e, --taken).store(kChunkFree, std::memory_order_release);
  if (whole) cas_word(extent(e), punching, kExtentEmpty);
  return whole;
}

bool ChunkPool::reclaim(uint16_t owner) {
  bool any = false;
  for (uint32_t e = 0; e < used(); ++e) any |= dissolve(owner, e, false);
  return any;
}

uint64_t ChunkPool::trim(uint16_t owner) {
  uint64_t bytes = 0;
  for (uint32_t e = 0; e < used(); ++e) {
    const ExtentWord w = ExtentWord::decode(extent(e).load(std::memory_order_acquire));
    if (dissolve(owner, e, true))
      bytes += (w.state == ExtentState::kRunHead ? uint64_t{w.run} : 1) * kExtentBytes;
  }
  return bytes;
}

void ChunkPool::reap_extent(uint16_t dead, uint32_t e) {
  const uint64_t raw = extent(e).load(std::memory_order_acquire);
  const ExtentWord w = ExtentWord::decode(raw);
  const bool dead_claim =
      w.owner == dead && (w.state == ExtentState::kClaimed || w.state == ExtentState::kPunching);
  bool run_was_owned = false;
  if (raw != kExtentEmpty) {
    const uint64_t owned = chunk_owned(dead);
    run_was_owned = w.state == ExtentState::kRunHead &&
                    chunk_word(e, 0).load(std::memory_order_acquire) == owned;
    // A dead owner of a run may have been taking it apart: finish that, it is right in either case.
    if (run_was_owned || (dead_claim && w.run > 0)) unmake_run(e, w.run);
    if (run_was_owned) {
      const uint64_t closing =
          ExtentWord{ExtentState::kPunching, dead, w.size_class, w.run}.encode();
      if (cas_word(extent(e), raw, closing)) {
        cas_word(chunk_word(e, 0), owned, kChunkFree);
        cas_word(extent(e), closing, kExtentEmpty);
      }
      return;
    }
    for (uint32_t i = 0; i < kChunksPerExtent; ++i)
      if (chunk_word(e, i).load(std::memory_order_relaxed) == owned)
        cas_word(chunk_word(e, i), owned, kChunkFree);
  }
  if (dead_claim) cas_word(extent(e), raw, kExtentEmpty);
}

void ChunkPool::reap(uint16_t dead) {
  for (uint32_t e = 0; e < used(); ++e) reap_extent(dead, e);
}

ChunkPool::Usage ChunkPool::usage() const {
  Usage usage{};
  for (uint32_t e = 0; e < used(); ++e) {
    const ExtentWord w = ExtentWord::decode(extent(e).load(std::memory_order_acquire));
    if (w.state == ExtentState::kEmpty || w.state == ExtentState::kWithheld) continue;
    usage.backed_bytes += kExtentBytes;
    const uint32_t n = w.state == ExtentState::kCarved && w.size_class < kChunkClasses
                           ? chunks_in_extent(w.size_class)
                           : w.state == ExtentState::kRunHead;
    for (uint32_t i = 0; i < n; ++i) {
      const ChunkState state = chunk_state(chunk_word(e, i).load(std::memory_order_acquire));
      usage.queued_chunks += state == ChunkState::kQueued;
      usage.owned_chunks += state == ChunkState::kOwned;
    }
  }
  return usage;
}

}  // namespace heddle::shm
