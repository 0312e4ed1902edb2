// What a queue's memory may grow to. The story is in queue_grant.h.
#include "proto/shm/queue_grant.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "proto/shm/queue.h"

namespace heddle::shm {
namespace {

constexpr uint32_t kFirstExtents = 2, kFirstSegments = 4;
constexpr uint64_t kGrantPage = 4096;

constexpr uint64_t pages(uint64_t bytes) {
  return (bytes + kGrantPage - 1) / kGrantPage * kGrantPage;
}

}  // namespace

QueueGrant queue_first_grant(const QueueLimits& limits) {
  const QueueGrant most = queue_largest_grant(limits);
  return {std::min(kFirstExtents, most.extents), std::min(kFirstSegments, most.segments)};
}

QueueGrant queue_largest_grant(const QueueLimits& limits) {
  const QueueGeometry g = QueueGeometry::of(limits);
  return {g.extents, g.segments};
}

uint64_t queue_granted_bytes(const QueueLimits& limits, const QueueGrant& grant,
                             uint32_t extents_ever) {
  const QueueGeometry g = QueueGeometry::of(limits);
  const uint64_t extents = std::min(grant.extents, g.extents);
  const uint64_t ever = std::clamp<uint64_t>(extents_ever, extents, g.extents);
  // With the one for an END. A walk ends at the first control word that is not in use.
  const uint64_t segments = std::min<uint64_t>(uint64_t{grant.segments} + 1, g.segments);
  uint64_t bytes = g.segments_at;  // header and rows: looking for a free row reads all of them
  bytes += pages((segments + 1) * sizeof(SegmentControl));
  bytes += segments * kSlotsPerSegment * sizeof(Slot);
  bytes += pages(ever * sizeof(uint64_t)) + pages(ever * kChunksPerExtent * sizeof(uint64_t));
  return bytes + extents * kExtentBytes;
}

/// WITHHELD -> EMPTY, then the word.
void ChunkPool::grant(uint32_t extents) {
  const uint64_t withheld = ExtentWord{ExtentState::kWithheld, 0, 0, 0}.encode();
  const uint32_t to = std::min(extents, geometry_.extents);
  const uint32_t from = granted();
  for (uint32_t e = from; e < to; ++e) cas_word(extent(e), withheld, kExtentEmpty);
  if (to > from) header().extents_granted.store(to, std::memory_order_release);
}

uint32_t ChunkPool::in_use() const {
  for (uint32_t e = used(); e > 0; --e) {
    const ExtentWord w = ExtentWord::decode(extent(e - 1).load(std::memory_order_acquire));
    if (w.state != ExtentState::kEmpty && w.state != ExtentState::kWithheld) return e;
  }
  return 0;
}

/// The word, EMPTY -> WITHHELD, then the memory.
uint32_t ChunkPool::withhold(uint32_t extents) {
  const uint64_t withheld = ExtentWord{ExtentState::kWithheld, 0, 0, 0}.encode();
  const uint32_t from = granted();
  uint32_t to = std::max(extents, in_use());
  if (to >= from) return from;
  header().extents_granted.store(to, std::memory_order_seq_cst);
  uint32_t e = from;
  while (e > to && cas_word(extent(e - 1), kExtentEmpty, withheld)) --e;
  if (e > to) {  // claimed by somebody who had read the word before
    to = e;
    header().extents_granted.store(to, std::memory_order_seq_cst);
  }
  if (fd_ >= 0 && from > to) {
    (void)fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    static_cast<off_t>(geometry_.area_at + uint64_t{to} * kExtentBytes),
                    static_cast<off_t>(uint64_t{from - to} * kExtentBytes));
  }
  return to;
}

QueueGrant Queue::granted() const {
  const QueueHeader& h = header();
  return {std::min(h.extents_granted.load(std::memory_order_acquire), pool_.extents()),
          std::min(h.segments_granted.load(std::memory_order_acquire), memory_.segments())};
}

void Queue::raise_grant(const QueueGrant& to) {
  pool_.grant(to.extents);
  const uint32_t segments = std::min(to.segments, memory_.segments());
  if (segments > granted().segments)
    header().segments_granted.store(segments, std::memory_order_release);
}

bool Queue::reserve_used() const {
  const uint32_t granted = this->granted().segments;
  if (granted >= memory_.segments()) return false;
  const SegmentState state =
      SegmentWord::decode(memory_.segment_word(granted).load(std::memory_order_acquire)).state;
  return state == SegmentState::kClaimed || state == SegmentState::kLinked;
}

QueueGrant Queue::lacking(Actor& a) const {
  const uint32_t extents = std::exchange(a.cursors.extents_lacking, 0);
  if (std::exchange(a.cursors.machine_lacking, false)) return {};
  if (extents != 0) return {extents, 0};
  const uint32_t granted = this->granted().segments;
  if (granted == 0 || granted >= memory_.segments()) return {};
  // Segments are backed from the lowest on: one that is not is what the machine had no memory for,
  // or it was granted just now.
  const uint64_t last = memory_.segment_word(granted - 1).load(std::memory_order_acquire);
  if (SegmentWord::decode(last).state == SegmentState::kUnbacked) return {};
  return {0, granted + 1};
}

}  // namespace heddle::shm
