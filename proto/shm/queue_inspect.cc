// Looking without touching: sizes, browsing, the audit.
#include <algorithm>
#include <bit>
#include <cstring>

#include "proto/shm/queue_visit.h"

namespace heddle::shm {

uint64_t Queue::returned_count() const {
  if (memory_.returned_summary().load(std::memory_order_acquire) == 0) return 0;
  uint64_t n = 0;
  for (uint32_t segment = 0; segment < memory_.segments(); ++segment) {
    const uint64_t word = memory_.segment_word(segment).load(std::memory_order_acquire);
    if (SegmentWord::decode(word).state == SegmentState::kUnbacked) break;
    for (uint32_t half = 0; half < kSlotsPerSegment / 64; ++half) {
      uint64_t bits = memory_.returned(segment, half).load(std::memory_order_acquire);
      for (; bits != 0; bits &= bits - 1) {
        const uint32_t index = half * 64 + static_cast<uint32_t>(std::countr_zero(bits));
        n += SlotWord::decode(memory_.slot(segment, index).word.load()).state ==
             SlotState::kReturned;
      }
    }
  }
  return n;
}

/// By position: tail - head without what holds no message. Double collect: the tail did not move
/// meanwhile.
uint64_t Queue::size() const {
  QRing r = ring();
  for (int attempt = 0;; ++attempt) {
    const Place before = r.tail_place();
    const Place head = r.head_place();
    const uint64_t skipped = before.position > head.position ? r.skipped_between(head, before) : 0;
    const uint64_t returned = returned_count();
    const Place after = r.tail_place();
    if (before.position != after.position && attempt < 16) continue;
    const uint64_t between = after.position > head.position ? after.position - head.position : 0;
    return (between > skipped ? between - skipped : 0) + returned;
  }
}

uint64_t Queue::unfinished() const {
  // A message never leaves its slot, so a scan sees each one that stays. It is skipped only if no
  // lease was announced, held or begun while size() looked: then nothing can have hidden from it in
  // a lease.
  const Sums before = sums(true);
  if (before.leases == 0) {
    const uint64_t n = size();
    const Sums after = sums(true);
    if (after.leases == 0 && after.begun == before.begun) return n;
  }
  return counts().unfinished();
}

bool Queue::closed() const {
  const Place p = ring().tail_place();
  const SlotWord w = SlotWord::decode(ring().slot(p).word.load(std::memory_order_acquire));
  return w.state == SlotState::kEnd && w.lap == QRing::sequence_of(p);
}

QueueCounts Queue::counts() const {
  QueueCounts c{};
  each_slot([&](Place, uint64_t raw) {
    switch (SlotWord::decode(raw).state) {
      case SlotState::kReady: ++c.ready; break;
      case SlotState::kLeased: ++c.leased; break;
      case SlotState::kReturned: ++c.returned; break;
      case SlotState::kBuried: ++c.buried; break;
      case SlotState::kRevoked: ++c.revoked; break;
      default: break;
    }
  });
  const Sums sum = sums(false);
  c.bytes = sum.bytes;
  c.puts = sum.puts;
  c.takes = sum.takes;
  c.drops = sum.drops;
  const uint32_t used = header().rows_used.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < used && i < kRowsMax; ++i)
    c.producers += row_state(memory_.row(i).word.load()) == RowState::kProducer;
  c.closed = closed();
  return c;
}

/// The n smallest ids above after_id, kept as a sorted prefix of `rows`.
size_t Queue::browse(BrowseRow* rows, size_t n, uint64_t after_id, unsigned states) const {
  size_t filled = 0;
  each_slot([&](Place p, uint64_t raw) {
    const SlotWord w = SlotWord::decode(raw);
    const unsigned bit = w.state == SlotState::kReady      ? kReadyMask
                         : w.state == SlotState::kLeased   ? kLeasedMask
                         : w.state == SlotState::kReturned ? kReturnedMask
                         : w.state == SlotState::kBuried   ? kBuriedMask
                                                           : 0u;
    if ((states & bit) == 0) return;
    const Slot& slot = memory_.slot(p.segment, QRing::index_of(p));
    BrowseRow row{};
    row.id = slot.id.load(std::memory_order_relaxed);
    if (row.id <= after_id || (filled == n && row.id >= rows[n - 1].id)) return;
    const bool in_chunk = slot.flags.load(std::memory_order_relaxed) & kSlotChunk;
    row.length = slot.length.load(std::memory_order_relaxed);
    row.state = w.state;
    row.kind = slot.kind.load(std::memory_order_relaxed);
    row.count = w.count;
    row.owner = w.state == SlotState::kLeased ? w.owner : 0;
    row.leased_ms = slot.leased_ms.load(std::memory_order_relaxed);
    const uint32_t chunk = in_chunk ? slot.chunk.load(std::memory_order_relaxed) : kChunkNone;
    row.ticket = {row.id, p.encode(), chunk, row.owner, 0};
    if (slot.word.load(std::memory_order_acquire) != raw || n == 0) return;
    BrowseRow* at = std::upper_bound(rows, rows + filled, row,
                                     [](const auto& x, const auto& y) { return x.id < y.id; });
    if (filled < n) ++filled;
    std::move_backward(at, rows + filled - 1, rows + filled);
    *at = row;
  });
  return filled;
}

bool Queue::read_body(const BrowseRow& row, void* to, uint64_t capacity) const {
  const Place p = Place::decode(row.ticket.place);
  if (p.segment >= memory_.segments()) return false;
  const Slot& slot = ring().slot(p);
  const uint64_t raw = slot.word.load(std::memory_order_acquire);
  if (slot.id.load(std::memory_order_relaxed) != row.id) return false;
  uint64_t n = row.length < capacity ? row.length : capacity;
  if (row.ticket.chunk == kChunkNone) {
    copy_inline(p, n < kInlineBytes ? n : kInlineBytes, to);
  } else {
    const ChunkPool::Span span = pool_.locate(row.ticket.chunk);
    if (span.capacity < n) return false;
    // The message may be taken and its chunk written again while this copies; the word tells
    // afterwards.
    const auto* from = reinterpret_cast<const std::atomic<uint64_t>*>(span.data);
    for (uint64_t i = 0; i * 8 < n; ++i) {
      const uint64_t word = from[i].load(std::memory_order_relaxed);
      std::memcpy(static_cast<std::byte*>(to) + i * 8, &word, n - i * 8 < 8 ? n - i * 8 : 8);
    }
  }
  std::atomic_thread_fence(std::memory_order_acquire);
  return slot.word.load(std::memory_order_acquire) == raw &&
         slot.id.load(std::memory_order_relaxed) == row.id;
}

const char* Queue::audit_slot(Place p, uint64_t raw) const {
  const Slot& slot = memory_.slot(p.segment, QRing::index_of(p));
  const SlotState state = SlotWord::decode(raw).state;
  if (state == SlotState::kWriting) return "a claim is left over";
  if (state == SlotState::kTomb) return "a tomb is left over";
  if (state == SlotState::kEnd) return nullptr;
  if (state == SlotState::kReturned &&
      (memory_.returned(p.segment, QRing::index_of(p) / 64).load() >>
           (QRing::index_of(p) % 64) & 1) == 0)
    return "a returned message is not in the bitmap";
  if (slot.flags.load() & kSlotChunk) {
    const uint32_t chunk = slot.chunk.load();
    if (pool_.capacity(chunk) < slot.length.load()) return "a body is larger than its chunk";
    if (pool_.word(chunk) != chunk_queued(slot.id.load()))
      return "a chunk does not name its message";
  }
  return nullptr;
}

const char* Queue::audit() const {
  const char* wrong = nullptr;
  uint64_t bytes = 0, chunks = 0;
  each_slot([&](Place p, uint64_t raw) {
    if (const char* found = audit_slot(p, raw)) wrong = found;
    const Slot& slot = memory_.slot(p.segment, QRing::index_of(p));
    const SlotState state = SlotWord::decode(raw).state;
    if (state == SlotState::kEnd) return;
    chunks += (slot.flags.load() & kSlotChunk) != 0;
    if (state != SlotState::kRevoked) bytes += slot.length.load();
  });
  if (wrong != nullptr) return wrong;
  const QueueCounts c = counts();
  if (c.bytes != bytes) return "the rows' bytes are not the messages' bytes";
  if (sums(false).leases != c.leased + c.buried)
    return "the rows' leases are not the leased messages";
  if (size() != c.size()) return "size() is not the number of messages";
  const ChunkPool::Usage usage = pool_.usage();
  if (usage.queued_chunks != chunks) return "a queued chunk belongs to no message";
  for (uint32_t i = 0; i < memory_.segments(); ++i) {
    const SegmentState state = SegmentWord::decode(memory_.segment_word(i).load()).state;
    if (state == SegmentState::kUnbacked) break;
    if (state == SegmentState::kClaimed) return "a claimed segment is left over";
  }
  return nullptr;
}

}  // namespace heddle::shm
