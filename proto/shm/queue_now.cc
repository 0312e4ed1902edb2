// put, take and ack when nothing is in the way: a body that fits its slot, a fresh hint, room that
// is known of. Straight through, because what lies between two locked operations cannot hide behind
// them: a call costs as much as a tenth of a put.
//
// The steps are those of claim_publish(), take_found() and finish(), in the same order, so their
// crash story (queue.h) holds here. At the first sign of anything else nothing has been done, the
// answer is false, and the caller goes the long way.
#include "proto/shm/copy_unproved.h"
#include "proto/shm/queue.h"
#include "proto/shm/wake.h"

namespace heddle::shm {
namespace {

constexpr uint64_t kBlock = 16;

/// A body into its slot; nothing beyond `bytes` may be read.
void copy_in(std::byte* to, const std::byte* from, uint64_t bytes) {
  if (bytes < kBlock || kThreadSanitizer) return copy_unproved(to, from, bytes);
  for (uint64_t at = 0; at + kBlock <= bytes; at += kBlock) std::memcpy(to + at, from + at, kBlock);
  // The last block may begin inside the one before.
  std::memcpy(to + bytes - kBlock, from + bytes - kBlock, kBlock);
}

/// A body out of its slot: whole blocks, which both sides have room for.
void copy_out(std::byte* to, const std::byte* from, uint64_t bytes) {
  if (kThreadSanitizer) return copy_unproved(to, from, bytes);
  for (uint64_t at = 0; at < bytes; at += kBlock) std::memcpy(to + at, from + at, kBlock);
}
static_assert(kInlineBytes % kBlock == 0 && offsetof(Slot, body) % kBlock == 0);

}  // namespace

bool Queue::put_now(Actor& a, const MessageIn& m, uint64_t* id) {
  const uint64_t length = m.length;
  const QueueHeader& h = header();
  // What is allowed is within max_bytes. The last of it is given back the long way.
  if (length > kInlineBytes || length >= a.bytes_allowed || length > h.created.max_msg_bytes)
    return false;
  const Place p = Place::decode(h.tail.place.load(std::memory_order_acquire));
  if (p.segment >= memory_.segments() || p.position < kSlotsPerSegment) return false;
  Slot& slot = memory_.slot(p.segment, QRing::index_of(p));
  prefetch_for_write(&slot.body[4]);
  uint64_t raw = slot.word.load(std::memory_order_acquire);
  const SlotWord w = SlotWord::decode(raw);
  const uint64_t seq = QRing::sequence_of(p);
  if (w.state != SlotState::kFree || w.lap > seq ||
      p.position >= a.head_seen + h.max_len.load(std::memory_order_relaxed) ||
      h.returned_summary.load(std::memory_order_acquire) != 0)
    return false;

  Row& row = memory_.row(a.row);
  JournalLine& j = *a.journal;
  const uint64_t bytes = row.bytes_in.load(std::memory_order_relaxed);
  const uint64_t puts = row.puts.load(std::memory_order_relaxed);
  const uint64_t message_id = QRing::message_id(p);
  // Before the id: an idle line in phase 1 says that its put published that id.
  j.phase.store(0, std::memory_order_release);
  j.id.store(message_id, std::memory_order_release);
  j.length.store(length, std::memory_order_relaxed);
  j.chunk.store(kChunkNone, std::memory_order_relaxed);
  j.holder.store(a.owner, std::memory_order_relaxed);
  j.row_bytes.store(bytes, std::memory_order_relaxed);
  j.row_count.store(puts, std::memory_order_relaxed);
  j.place.store(p.encode(), std::memory_order_relaxed);
  j.object.store(static_cast<uint32_t>(h.segment.object_id), std::memory_order_relaxed);
  j.row.store(a.row, std::memory_order_relaxed);
  j.op.store(static_cast<uint32_t>(JournalOp::kPut), std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);

  uint64_t claimed = slot_word(seq, SlotState::kWriting, a.owner);
  if (!slot.word.compare_exchange_strong(raw, claimed)) {
    j.op.store(static_cast<uint32_t>(JournalOp::kIdle), std::memory_order_release);
    return false;
  }
  j.phase.store(1, std::memory_order_release);
  if (slot.flags.load(std::memory_order_relaxed) & kSlotChunk)
    a.cursors.offered = slot.chunk.load(std::memory_order_relaxed);
  slot.id.store(message_id, std::memory_order_relaxed);
  slot.length.store(static_cast<uint32_t>(length), std::memory_order_relaxed);
  slot.chunk.store(kChunkNone, std::memory_order_relaxed);
  slot.kind.store(m.kind, std::memory_order_relaxed);
  slot.flags.store(0, std::memory_order_relaxed);
  slot.extension_bytes.store(0, std::memory_order_relaxed);
  copy_in(reinterpret_cast<std::byte*>(slot.body), static_cast<const std::byte*>(m.data), length);
  if (!slot.word.compare_exchange_strong(claimed, slot_word(seq, SlotState::kReady, a.owner))) {
    j.phase.store(0, std::memory_order_release);
    ring().withdraw(p, a.owner);
    j.op.store(static_cast<uint32_t>(JournalOp::kIdle), std::memory_order_release);
    return false;
  }
  a.bytes_allowed -= length;
  prefetch_ahead(p);
  ring().store_tail_hint(p);
  row.bytes_in.store(bytes + length, std::memory_order_release);
  row.puts.store(puts + 1, std::memory_order_release);
  *id = message_id;
  j.op.store(static_cast<uint32_t>(JournalOp::kIdle), std::memory_order_release);
  return true;
}

template <TakeMode mode>
bool Queue::take_now(Actor& a, Taken* out) {
  constexpr bool kLeases = mode == TakeMode::kLease;
  const QueueHeader& h = header();
  // The last of what is allowed is given back the long way.
  if (h.returned_summary.load(std::memory_order_acquire) != 0 || (kLeases && a.leases_allowed < 2))
    return false;
  const Place p = Place::decode(h.head.place.load(std::memory_order_acquire));
  if (p.segment >= memory_.segments() || p.position < kSlotsPerSegment) return false;
  Slot& slot = memory_.slot(p.segment, QRing::index_of(p));
  __builtin_prefetch(&slot.body[4]);
  uint64_t raw = slot.word.load(std::memory_order_acquire);
  const SlotWord w = SlotWord::decode(raw);
  const uint64_t length = slot.length.load(std::memory_order_relaxed);
  if (w.state != SlotState::kReady || w.lap != QRing::sequence_of(p) || length > kInlineBytes ||
      (slot.flags.load(std::memory_order_relaxed) & kSlotChunk))
    return false;

  Row& row = memory_.row(a.row);
  const uint64_t before = (kLeases ? row.leases : row.bytes_out).load(std::memory_order_relaxed);
  const uint64_t takes = row.takes.load(std::memory_order_relaxed);
  JournalLine& j = *a.journal;
  journal_delivery(a, p, 0, takes);
  j.phase.store(a.owner, std::memory_order_relaxed);
  j.length.store(length, std::memory_order_relaxed);
  j.chunk.store(kChunkNone, std::memory_order_relaxed);
  j.row_bytes.store(before, std::memory_order_relaxed);
  j.op.store(static_cast<uint32_t>(kLeases ? JournalOp::kLease : JournalOp::kTakeAuto),
             std::memory_order_release);
  // All of this counts only if the CAS succeeds.
  out->id = slot.id.load(std::memory_order_relaxed);
  out->length = length;
  out->kind = slot.kind.load(std::memory_order_relaxed);
  out->count = w.count;
  out->leased = kLeases;
  out->data = out->room;
  if (kLeases) out->ticket = {out->id, p.encode(), kChunkNone, a.owner, 0};
  copy_out(out->room, reinterpret_cast<const std::byte*>(slot.body), length);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  const uint64_t next = kLeases ? slot_word(w.lap, SlotState::kLeased, a.owner, w.count)
                                : slot_word(w.lap + 1, SlotState::kFree, a.owner);
  const bool mine = slot.word.compare_exchange_strong(raw, next);
  if (mine && kLeases) {
    row.leases.store(before + 1, std::memory_order_release);
    slot.leased_ms.store(coarse_ms(), std::memory_order_relaxed);
    --a.leases_allowed;
  } else if (mine) {
    row.bytes_out.store(before + length, std::memory_order_release);
    row.takes.store(takes + 1, std::memory_order_release);
  }
  j.op.store(static_cast<uint32_t>(JournalOp::kIdle), std::memory_order_release);
  if (!mine) return false;
  if (!kLeases) after_removal(a);
  ++a.burst;
  if (a.burst >= kBurst) prefetch_ahead(p);
  ring().store_head_hint(p);
  wake_next(a);
  wake(a, header().room, kDirtyRoom);
  return true;
}

template bool Queue::take_now<TakeMode::kAuto>(Actor& a, Taken* out);
template bool Queue::take_now<TakeMode::kLease>(Actor& a, Taken* out);

bool Queue::ack_now(Actor& a, const Ticket& t) {
  const Place p = Place::decode(t.place);
  if (p.segment >= memory_.segments()) return false;
  Slot& slot = memory_.slot(p.segment, QRing::index_of(p));
  uint64_t raw = slot.word.load(std::memory_order_acquire);
  const SlotWord w = SlotWord::decode(raw);
  if (w.state != SlotState::kLeased || w.owner != t.owner ||
      slot.id.load(std::memory_order_relaxed) != t.id ||
      (slot.flags.load(std::memory_order_relaxed) & kSlotChunk))
    return false;

  const uint64_t length = slot.length.load(std::memory_order_relaxed);
  Row& row = memory_.row(a.row);
  const uint64_t bytes = row.bytes_out.load(std::memory_order_relaxed);
  const uint64_t takes = row.takes.load(std::memory_order_relaxed);
  const uint64_t ends = row.ends.load(std::memory_order_relaxed);
  JournalLine& j = *a.journal;
  journal_delivery(a, p, t.id, ends);
  j.phase.store(w.owner, std::memory_order_relaxed);
  j.length.store(length, std::memory_order_relaxed);
  j.chunk.store(kChunkNone, std::memory_order_relaxed);
  j.row_bytes.store(bytes, std::memory_order_relaxed);
  j.row_third.store(takes, std::memory_order_relaxed);
  j.op.store(static_cast<uint32_t>(JournalOp::kAck), std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  const bool mine =
      slot.word.compare_exchange_strong(raw, slot_word(w.lap + 1, SlotState::kFree, a.owner));
  if (mine) {
    row.bytes_out.store(bytes + length, std::memory_order_release);
    row.takes.store(takes + 1, std::memory_order_release);
    row.ends.store(ends + 1, std::memory_order_release);
  }
  j.op.store(static_cast<uint32_t>(JournalOp::kIdle), std::memory_order_release);
  if (!mine) return false;
  wake(a, header().room, kDirtyRoom);
  after_removal(a);
  return true;
}

}  // namespace heddle::shm
