// A queue's segment: geometry, formatting, attaching, and reserving its memory.
#include <fcntl.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "proto/shm/cpu_pause.h"
#include "proto/shm/queue.h"

namespace heddle::shm {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t round_up(uint64_t n, uint64_t unit) { return (n + unit - 1) / unit * unit; }

}  // namespace

QueueGeometry QueueGeometry::of(const QueueLimits& limits) {
  QueueGeometry g{};
  // Every message, every pinned slot and every thread's claim at once, and some to walk with.
  g.segments = (limits.max_len + limits.max_leases + kRowsMax) / kSlotsPerSegment + 8;
  // A body takes at most four times its size (17 KiB in a 64 KiB extent); threads hold private
  // chunks.
  const uint64_t largest = (limits.max_msg_bytes + kExtentBytes - 1) / kExtentBytes + 1;
  g.extents = static_cast<uint32_t>(4 * (limits.max_bytes / kExtentBytes + 1) + 4 * largest + 64);
  g.rows_at = sizeof(QueueHeader);
  g.rows_at = round_up(g.rows_at, kPage);
  g.segments_at = g.rows_at + uint64_t{kRowsMax} * sizeof(Row);
  g.extents_at = round_up(g.segments_at + uint64_t{g.segments} * sizeof(SegmentControl), kPage);
  g.chunk_words_at = round_up(g.extents_at + uint64_t{g.extents} * 8, kPage);
  g.slots_at = round_up(g.chunk_words_at + uint64_t{g.extents} * kChunksPerExtent * 8, kPage);
  g.area_at = round_up(g.slots_at + uint64_t{g.segments} * kSlotsPerSegment * sizeof(Slot),
                       kExtentBytes);
  g.bytes = g.area_at + uint64_t{g.extents} * kExtentBytes;
  return g;
}

const char* queue_limits_invalid(const QueueLimits& l) {
  if (l.max_len == 0 || l.max_len > kQueueLenMax) return "max_len";
  if (l.max_leases == 0 || l.max_leases > kQueueLenMax) return "max_leases";
  if (l.max_bytes == 0 || l.max_bytes > (uint64_t{1} << 40)) return "max_bytes";
  if (l.max_msg_bytes == 0 || l.max_msg_bytes > kMessageBytesMax) return "max_msg_bytes";
  if (l.max_deliveries > kCountMax) return "max_deliveries";
  if (l.overflow > Overflow::kDropOldest) return "overflow";
  if (l.eos > Eos::kLastProducer) return "eos";
  if (l.on_producer_death > OnProducerDeath::kError) return "on_producer_death";
  return nullptr;
}

uint64_t queue_segment_bytes(const QueueLimits& limits) { return QueueGeometry::of(limits).bytes; }

uint64_t queue_control_bytes(const QueueLimits& limits) {
  return QueueGeometry::of(limits).rows_at + kPage;
}

void queue_format(void* base, const QueueLimits& limits, uint64_t object_id,
                  const QueueGrant& grant) {
  auto& h = *new (base) QueueHeader{};
  h.segment = {kSegmentMagic, kQueueVersion, SegmentKind::kQueue, object_id, 0, {}};
  h.created = limits;
  h.geometry = QueueGeometry::of(limits);
  h.segment.bytes = h.geometry.bytes;
  h.max_len = limits.max_len;
  h.max_leases = limits.max_leases;
  h.max_bytes = limits.max_bytes;
  h.max_deliveries = limits.max_deliveries;
  h.extents_granted = std::min(grant.extents, h.geometry.extents);
  h.segments_granted = std::min(grant.segments, h.geometry.segments);
  QueueMemory memory(static_cast<std::byte*>(base), h.geometry, -1);
  const Place first{kSlotsPerSegment, 0};
  memory.next(0).store(next_word(1, kSegmentNone));
  memory.segment_word(0).store(SegmentWord{1, 0, SegmentState::kLinked}.encode());
  h.tail.place.store(first.encode());
  h.head.place.store(first.encode());
}

Outcome Queue::attach(void* base, uint64_t bytes, int fd, Queue* out) {
  if (bytes < sizeof(QueueHeader)) return Outcome::kCorrupt;
  const auto& h = *static_cast<const QueueHeader*>(base);
  SegmentHeader segment;
  QueueLimits created;
  std::memcpy(&segment, &h.segment, sizeof segment);
  std::memcpy(&created, &h.created, sizeof created);
  if (segment.magic != kSegmentMagic || segment.version != kQueueVersion ||
      segment.kind != SegmentKind::kQueue || queue_limits_invalid(created) != nullptr)
    return Outcome::kCorrupt;
  const QueueGeometry g = QueueGeometry::of(created);
  if (!(g == h.geometry) || g.bytes != bytes || segment.bytes != bytes) return Outcome::kCorrupt;
  out->memory_ = QueueMemory(static_cast<std::byte*>(base), g, fd);
  out->pool_ = ChunkPool(static_cast<std::byte*>(base), g, fd);
  return Outcome::kOk;
}

QueueLimits Queue::limits() const {
  QueueLimits l = header().created;
  l.max_len = header().max_len.load(std::memory_order_relaxed);
  l.max_leases = header().max_leases.load(std::memory_order_relaxed);
  l.max_bytes = header().max_bytes.load(std::memory_order_relaxed);
  l.max_deliveries = header().max_deliveries.load(std::memory_order_relaxed);
  return l;
}

void Queue::set_limits(const QueueLimits& limits) {
  const QueueLimits& created = header().created;
  header().max_len = limits.max_len < created.max_len ? limits.max_len : created.max_len;
  header().max_bytes = limits.max_bytes < created.max_bytes ? limits.max_bytes : created.max_bytes;
  header().max_leases =
      limits.max_leases < created.max_leases ? limits.max_leases : created.max_leases;
  header().max_deliveries = limits.max_deliveries;
}

uint32_t QueueMemory::segment_hint() const {
  const uint32_t hint = header().segment_hint.load(std::memory_order_relaxed);
  return hint < segments() ? hint : 0;
}

void QueueMemory::segment_became_free(uint32_t segment) {
  auto& hint = header().segment_hint;
  if (segment < hint.load(std::memory_order_relaxed))
    hint.store(segment, std::memory_order_relaxed);
}

void QueueMemory::segment_was_claimed(uint32_t segment) {
  auto& hint = header().segment_hint;
  if (segment >= hint.load(std::memory_order_relaxed))
    hint.store(segment + 1, std::memory_order_relaxed);
}

bool QueueMemory::back_segment(uint32_t segment) {
  if (fd_ < 0) return true;
  const uint64_t slots = kSlots * sizeof(Slot);
  const auto reserve = [this](uint64_t at, uint64_t bytes) {
    int result;
    do {
      result = fallocate(fd_, 0, static_cast<off_t>(at), static_cast<off_t>(bytes));
    } while (result != 0 && errno == EINTR);
    return result == 0;
  };
  return reserve(geometry_.segments_at + segment * sizeof(SegmentControl),
                 sizeof(SegmentControl)) &&
         reserve(geometry_.slots_at + segment * slots, slots);
}

/// Rows come by the page; the first of a page reserves it.
bool QueueMemory::back_row(uint32_t row) {
  constexpr uint64_t kRowsInPage = kPage / sizeof(Row);
  if (fd_ < 0 || row % kRowsInPage != 0) return true;
  return fallocate(fd_, 0, static_cast<off_t>(geometry_.rows_at + row * sizeof(Row)), kPage) == 0;
}

bool QueueMemory::wait_for_publish(std::atomic<uint64_t>& word, uint64_t raw) {
  timespec start, now;
  clock_gettime(CLOCK_MONOTONIC, &start);
  do {
    for (int i = 0; i < 8; ++i) {
      if (word.load(std::memory_order_acquire) != raw) return true;
      cpu_pause();
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while ((now.tv_sec - start.tv_sec) * 1'000'000'000 + now.tv_nsec - start.tv_nsec < 2000);
  return word.load(std::memory_order_acquire) != raw;
}

}  // namespace heddle::shm
